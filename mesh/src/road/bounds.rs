//! Every limit of the roads, by name.

use std::time::Duration;

/// TLS handshakes, and first bytes waited for, at one time on one listener. Beyond it
/// each new connection takes the place of one that has been at it for long.
pub const MAX_HANDSHAKES: usize = 256;
/// How long a connection may take from its acceptance to its proven identity.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller that is turned away has to hear why.
pub const PARTING_TIME: Duration = Duration::from_millis(500);
/// Bytes with which a client begins HTTP/2 (RFC 9113, section 3.4).
pub const PREFACE_BYTES: usize = 24;
/// How long a gRPC connection or stream may take to send them. From then on HTTP/2's
/// own pings find out whether anybody is there.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of one listener with a proven peer, over TLS, at one time, unless its owner
/// says otherwise.
pub const MAX_TLS_CONNECTIONS: usize = 1024;
/// Plaintext connections of one listener at one time, unless its owner says otherwise:
/// they serve probes, and must not be able to crowd out peers.
pub const MAX_PLAIN_CONNECTIONS: usize = 64;
/// Streams of the mesh that carry gRPC at one time.
pub const MAX_MESH_CONNECTIONS: usize = 1024;
/// Connections and streams that carry bulk blobs at one time.
pub const MAX_BULK_CONNECTIONS: usize = 128;
/// Connections that stand between acceptance and tonic's taking them.
pub const ACCEPTED_BACKLOG: usize = 16;
/// The kernel's backlog of a listener.
pub const LISTEN_BACKLOG: u32 = 1024;
/// How long to wait after an accept failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Idle time before the kernel probes a TCP connection, and between its probes.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Requests in flight on one gRPC connection.
pub const MAX_CONCURRENT_STREAMS: u32 = 256;
/// Streams of one connection that the server reset for the peer's errors, before
/// the connection is closed (CVE-2024-2758 and its kin).
pub const MAX_LOCAL_ERROR_RESETS: usize = 256;
/// Streams of one connection that the peer reset before they were taken, before the
/// connection is closed (CVE-2023-44487).
pub const MAX_PENDING_RESETS: usize = 64;
/// Bytes of the headers of one request.
pub const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// Bytes of one gRPC message that are decoded; set it on each generated service and
/// client (`max_decoding_message_size`).
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes in flight on one HTTP/2 stream, towards whoever dialled, before he has read
/// them. A window is a credit: it takes memory only while bytes wait that nobody reads.
/// This one fills 600 Mbit/s over a round trip of 100 ms.
pub const STREAM_WINDOW: u32 = 8 * 1024 * 1024;
/// The same of one HTTP/2 connection; this is the memory that one connection can claim of
/// whoever dialled, who has few.
pub const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes in flight on one HTTP/2 stream towards a server that takes blobs, before a
/// handler has read them.
pub const UPLOAD_STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// The same of one HTTP/2 connection.
pub const UPLOAD_CONNECTION_WINDOW: u32 = 6 * 1024 * 1024;
/// Bytes in flight on one HTTP/2 stream towards any other server: requests are small, and
/// those who dial in are many.
pub const REQUEST_STREAM_WINDOW: u32 = 1024 * 1024;
/// The same of one HTTP/2 connection; this is the memory that one connection can claim.
pub const REQUEST_CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes of one HTTP/2 frame that are taken.
pub const MAX_FRAME_BYTES: u32 = 32 * 1024;
/// Silence on a gRPC connection before it is asked whether it is alive.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long that answer may take before the connection is closed.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a handler may take to begin its answer. A stream once begun has no such
/// limit, and the longest upload has to fit.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long connections may take to drain once the server is told to stop.
pub const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How long one TCP connect with its handshake may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a name may take to resolve.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(4);
/// Addresses tried of those that a target lists or a name resolves to.
pub const MAX_DIALED_ADDRESSES: usize = 8;
/// Delay between one address and the next (RFC 8305's connection attempt delay).
pub const ADDRESS_STAGGER: Duration = Duration::from_millis(200);
/// Head start of the TLS road over the mesh road where either would do.
pub const TLS_HEAD_START: Duration = Duration::from_millis(250);
