//! gRPC over two roads, the peer's key proven by the transport on both.
//!
//! - **TLS**: straight to `host:port`. Mutual TLS 1.3 with certificates bound to
//!   ed25519 peer ids as libp2p's TLS handshake does it; ALPN chooses between gRPC
//!   (`h2`) and the bulk framing of blobs. The same port takes plaintext HTTP/2,
//!   without an identity, for health and reflection.
//! - **Mesh**: a stream of the mesh, which TLS of the swarm has proven.
//!
//! The parts: `identity` is a key that proves itself, `membership` proves the key of a private mesh; `dial` reaches a peer by
//! either road, [`connect()`] makes a gRPC channel of it; `listen` accepts on the TCP port,
//! `handshakes` sees to it that none of those who knock keeps the others out, [`serve()`]
//! feeds what the port and the mesh accept to tonic and to the blob service; [`Caller`] is
//! what a handler learns of who asks; `bounds` names every limit. It leaves to others what a
//! caller may do.

pub mod bounds;
mod caller;
mod connect;
mod dial;
mod error;
mod handshakes;
mod identity;
mod listen;
mod membership;
mod serve;
mod stream;
mod target;

pub use caller::Caller;
pub use connect::{Connection, connect};
pub use dial::{Opened, open};
pub use error::RoadError;
pub use identity::Identity;
pub use listen::{ListenConfig, Listener};
pub use serve::{Serving, serve};
pub use stream::RoadStream;
pub use target::{Protocol, RoadChoice, RoadKind, Target};
