//! What an operator may choose about the state machine, and the bounds that
//! nobody may choose.

use std::time::Duration;

use embermesh_crypto::ids::{NetworkName, PeerId};

/// Journal entries, attempts and revoked tokens are bounded by the crates that
/// define them; what is bounded here is what the index itself holds.
///
/// The most ended jobs kept in memory. Older ones are read from the store.
pub const ENDED_JOBS_KEPT: usize = 2_048;

/// The most idempotency keys remembered; the oldest is forgotten first. A retry
/// comes seconds after its submit, so this is hours of a busy index.
pub const IDEMPOTENCY_KEYS_KEPT: usize = 262_144;

/// The longest wait before a node that had a job and did not end it is given it again, where
/// no other takes it.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The most queued jobs looked at in one pass of placement. A longer queue is
/// walked in several, so that commands do not wait for the whole of it.
pub const PLACEMENTS_PER_PASS: usize = 1_024;

/// The most deployments in a list.
pub const DEPLOYMENTS_SHOWN: usize = 500;

/// The most nodes named in the reasons that a waiting job shows.
pub const PASSED_OVER_SHOWN: usize = 64;

/// The most issuer keys that are known at once: the one that signs, the next
/// one, and the old ones whose tokens have not expired. A rotation that would
/// exceed it is refused.
pub const ISSUER_KEYS_KEPT: usize = 16;

/// The most tokens of one client that are withdrawn and have not expired by
/// themselves. A revocation that is full voids everybody's tokens, and no single
/// client may bring that about.
pub const REVOCATIONS_PER_CLIENT: usize = 64;

// One call withdraws the tokens of every attempt of a job.
const _: () = assert!(REVOCATIONS_PER_CLIENT >= embermesh_job::spec::MAX_ATTEMPTS as usize);

/// The most holds released by time in one pass, so that commands do not wait for
/// very many of one moment.
pub const HOLDS_PER_PASS: usize = 512;

/// How long a reserved node may be silent before its reservation ends, paid until its
/// last word.
pub const RESERVED_NODE_SILENCE: Duration = Duration::from_secs(300);

/// How often silent nodes are looked for among the reserved ones.
pub const SILENCE_LOOK: Duration = Duration::from_secs(10);

/// Nodes whose round trips differ by less than this are equally near: what is
/// measured wavers, and equals are to share the load.
pub const ROUND_TRIP_STEP: Duration = Duration::from_millis(10);

/// The most checkpoint or input holders kept per blob.
pub const HOLDERS_KEPT: usize = 8;

/// The most input blobs that a report may name.
pub const INPUTS_REPORTED: usize = 64;

/// The most tasks that one heartbeat may name.
pub const TASKS_PER_HEARTBEAT: usize = 1_024;

/// How far a node's clock may be from the index's when the times of its advert
/// are looked at. Nothing about who owns a task depends on it.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// The state machine's settings: all of them are times, bounds and names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network whose adverts are accepted.
    pub network: NetworkName,
    /// How long a task is a node's without a word from it.
    pub lease: Duration,
    /// How often a node is asked to send a heartbeat.
    pub heartbeat_interval: Duration,
    /// How long an assignment may wait for the client to present it, or for the
    /// node to begin what it was ordered.
    pub assign_grace: Duration,
    /// How much longer than a lease the nodes have after a restart of the index.
    pub reregistration_grace: Duration,
    /// How long a token is good for.
    pub token_lifetime: Duration,
    /// How long one issuer key signs.
    pub rotate_after: Duration,
    /// How long a signed key set is good for. It is signed again at half time.
    pub key_set_lifetime: Duration,
    /// Keys that may rotate the issuer key, deposit, and act for any account of the
    /// ledger, beside the index's own.
    pub administrators: Vec<PeerId>,
    /// The most jobs that have not ended.
    pub open_jobs: usize,
    /// The most jobs of one client that have not ended.
    pub open_jobs_per_client: usize,
    /// The most bytes of specs of jobs that have not ended.
    pub open_spec_bytes: usize,
    /// The most nodes known at once.
    pub nodes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            network: NetworkName::default(),
            lease: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(3),
            assign_grace: Duration::from_secs(10),
            reregistration_grace: Duration::from_secs(15),
            token_lifetime: Duration::from_secs(600),
            rotate_after: Duration::from_secs(24 * 3_600),
            key_set_lifetime: Duration::from_secs(24 * 3_600),
            administrators: Vec::new(),
            open_jobs: 100_000,
            open_jobs_per_client: 10_000,
            open_spec_bytes: 256 << 20,
            nodes: 100_000,
        }
    }
}
