//! Every limit of the client, by name.

use std::time::Duration;

/// How long a call to an index or a node may take that is not a stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a safe call is tried again while the index cannot be reached.
pub const RETRY_FOR: Duration = Duration::from_secs(20);
/// How long one of several indexes may take to answer before the next is asked.
pub const INDEX_WAIT: Duration = Duration::from_secs(5);
/// How long an index may take to hear that a job was cancelled whose node has heard it.
pub const CANCEL_WAIT: Duration = Duration::from_secs(3);
/// The most indexes that a client knows.
pub const MAX_INDEXES: usize = 16;
/// Jobs at indexes that are remembered.
pub const MAX_HELD: usize = 512;
/// The first wait before something is tried again.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait before something is tried again.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a node may say nothing on a stream, not even that it is idle.
pub const NODE_SILENCE: Duration = Duration::from_secs(60);
/// How long after a stream stands by the mesh a better road is first looked for.
pub const BETTER_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a better road is looked for again.
pub const BETTER_LONGEST: Duration = Duration::from_secs(300);
/// How long the stream by the old road is still read once the new one stands.
pub const OLD_ROAD_DRAIN: Duration = Duration::from_secs(2);
/// How long an index may say nothing of a watched job before it is asked.
pub const INDEX_SILENCE: Duration = Duration::from_secs(30);
/// How long a follower goes on when neither the node nor the index answers.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// How long a follower waits for the last events from the node, once the index
/// has said that the job is over.
pub const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often a hole in the numbers is asked for again before it is reported.
pub const MAX_HEALS: u32 = 3;
/// A token is renewed when less than this is left of its life.
pub const RENEW_BEFORE: Duration = Duration::from_secs(120);
/// The least wait between two renewals of a token.
pub const RENEW_PAUSE: Duration = Duration::from_secs(5);
/// Updates of a follower that wait for its reader; beyond, the node waits.
pub const UPDATE_QUEUE: usize = 256;
/// Bytes of a blob in one message on the way to a node.
pub const UPLOAD_CHUNK: usize = 256 * 1024;
/// Messages of an upload that wait for the connection.
pub const UPLOAD_QUEUE: usize = 4;
/// How long an upload may make no headway.
pub const UPLOAD_STALL: Duration = Duration::from_secs(60);
/// Jobs in one page of a list.
pub const PAGE: u32 = 200;
/// Bytes of blobs that the client's cache keeps.
pub const CACHE_QUOTA: u64 = 8 << 30;
/// Bytes of samples in one message on the way to a node.
pub const FEED_PART: usize = 256 * 1024;
/// Messages with samples that wait for the connection.
pub const FEED_QUEUE: usize = 4;
/// The most resident models that are taken from one node.
pub const MAX_MODELS: usize = 256;
/// The most deployments that are taken from an index.
pub const MAX_DEPLOYMENTS: usize = 1000;
/// How long an answer may take, where the caller does not say.
pub const ANSWER_TIME: Duration = Duration::from_secs(300);
/// How much later than its node this side notices that an answer takes too long.
pub const ANSWER_SLACK: Duration = Duration::from_secs(5);
/// Permissions to ask that a client keeps.
pub const MAX_PERMITS: usize = 256;
/// How long one node may take to answer who asks it for a permit.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(8);
/// The least wait before nodes are asked again that have not taken a job.
pub const ASK_PAUSE: Duration = Duration::from_millis(800);
/// The longest wait before they are, where nothing is heard of them: less than a node
/// keeps a place for.
pub const ASK_AGAIN: Duration = Duration::from_secs(4);
/// Nodes that are asked for a permit in one round.
pub const MAX_ASKED: usize = 8;
/// Grants that are shown to one node: as many as it looks at.
pub const MAX_GRANTS_SHOWN: usize = 4;
/// Nodes of which it is told why they do not take a job.
pub const MAX_PASSED_OVER: usize = 64;
/// How often the DHT is asked for nodes while a job waits.
pub const FIND_EVERY: Duration = Duration::from_secs(30);
/// How long the DHT may take.
pub const FIND_TIMEOUT: Duration = Duration::from_secs(3);
/// Nodes that the DHT names and that are connected with at once.
pub const MAX_FOUND: usize = 8;
/// How long a node may be gone before its job is placed again.
pub const NODE_GONE: Duration = Duration::from_secs(4);
/// Nodes that may keep a copy of a blob and are asked for it.
pub const MAX_HOLDERS: usize = 4;
/// Checkpoints of a job that its owner remembers: the newest may have no copy yet.
pub const CHECKPOINTS_KEPT: usize = 4;
/// Jobs without an index that are remembered.
pub const MAX_RECORDS: usize = 512;
/// Peers that are remembered.
pub const MAX_SEEN: usize = 64;
/// Addresses that are remembered of one peer.
pub const MAX_ADDRESSES: usize = 8;
/// A permission to ask is not used any more when less than this is left of its life.
pub const PERMIT_SLACK: Duration = Duration::from_secs(30);
/// Watches of jobs on one connection to an index, which takes
/// [`MAX_CONCURRENT_STREAMS`](embermesh_mesh::road::bounds::MAX_CONCURRENT_STREAMS): the
/// rest is for calls.
pub const WATCHES_OF_LINE: usize = 128;
