//! What can go wrong between a client, an index and a node.

use std::{path::PathBuf, time::Duration};

use embermesh_crypto::ids::{JobId, PeerId};
use embermesh_job::{ask::InvalidAsk, spec::InvalidSpec};
use embermesh_mesh::{
    blob::{FetchError, StoreError},
    road::RoadError,
};

use crate::receipt::ReceiptError;

/// Why something came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The text is no address of an index.
    #[error(
        "`{text}` is not an index address ({reason}): write host:port, or host:port/p2p/PEER to pin its key"
    )]
    InvalidTarget {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What answers there is something else.
    #[error("{address} is not an Embermesh index: {reason}; check the address and the port")]
    NotAnIndex {
        /// Where.
        address: String,
        /// What it did.
        reason: String,
    },
    /// The index at this address has another key than the pinned one.
    #[error(
        "{address} is not the index {expected}, its key is {found}: check the address, or drop /p2p/… if the index was made anew"
    )]
    AnotherIndex {
        /// Where.
        address: String,
        /// The pinned key.
        expected: PeerId,
        /// Who answered.
        found: PeerId,
    },
    /// Nobody could be reached.
    #[error("cannot reach {what}: {reason}")]
    Unreachable {
        /// Whom.
        what: String,
        /// What came of it.
        reason: String,
    },
    /// Several indexes are known, and none of them does what is asked.
    #[error(
        "none of the {} indexes {what}:{}\nstart one, or give one that runs with --index",
        tried.len(),
        listed(tried)
    )]
    NoIndex {
        /// What they do not do, in words.
        what: &'static str,
        /// Each, and why not.
        tried: Vec<(String, String)>,
    },
    /// No answer in time.
    #[error("{what} did not answer within {after:?}")]
    Timeout {
        /// Whom.
        what: String,
        /// The bound of the wait.
        after: Duration,
    },
    /// A policy, a token or an owner is in the way.
    #[error("{who} refused: {message}")]
    Refused {
        /// Who said no.
        who: String,
        /// A stable word, such as `wrong_client`; empty when none was given.
        code: String,
        /// Why.
        message: String,
    },
    /// What was sent is wrong.
    #[error("{who} did not accept the request: {message}")]
    Invalid {
        /// Who said so.
        who: String,
        /// What is wrong.
        message: String,
    },
    /// Full, or out of something.
    #[error("{who} has no room: {message}")]
    Exhausted {
        /// Who.
        who: String,
        /// Of what.
        message: String,
    },
    /// There is no such thing there.
    #[error("{who}: {message}")]
    NotFound {
        /// Who.
        who: String,
        /// What.
        message: String,
    },
    /// The state of things does not allow it now.
    #[error("{who}: {message}")]
    NotNow {
        /// Who.
        who: String,
        /// Why.
        message: String,
    },
    /// The other side failed.
    #[error("{who} failed: {message}")]
    Failed {
        /// Who.
        who: String,
        /// What it said.
        message: String,
    },
    /// The other side answered with something that makes no sense.
    #[error("the answer of {who} makes no sense: {reason}; it may be of another version")]
    Wire {
        /// Who.
        who: String,
        /// What is wrong.
        reason: String,
    },
    /// The job cannot be submitted as it is.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// The ask cannot be answered by any model.
    #[error(transparent)]
    Ask(#[from] InvalidAsk),
    /// No deployment has the name or the id.
    #[error(
        "no model {0:?} is deployed that this key may ask: `embermesh models ls` shows those there are"
    )]
    NoModel(String),
    /// Several deployments have the name.
    #[error("{name:?} is the name of several deployments: give an id: {}", ids.join(", "))]
    SeveralModels {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// The deployment cannot be asked now.
    #[error(
        "the model {name:?} is not loaded now ({state}): try again in a moment, or see `embermesh jobs get {job}`"
    )]
    NotLoaded {
        /// Its name.
        name: String,
        /// Its job.
        job: JobId,
        /// Where that stands.
        state: String,
    },
    /// A local input is not what the spec says.
    #[error("the input {} is not what was hashed for the job: it was changed meanwhile; submit again", .0.display())]
    InputChanged(PathBuf),
    /// A local file cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The job has no node now.
    #[error("job {job} has no node now ({state}): `embermesh jobs watch {job}` shows when it has")]
    NoNode {
        /// The job.
        job: JobId,
        /// Its state.
        state: &'static str,
    },
    /// No node has taken the job.
    #[error(
        "job {job} has waited {} s and no node has taken it{}",
        waited.as_secs(),
        told(passed_over)
    )]
    NotPlaced {
        /// The job.
        job: JobId,
        /// How long.
        waited: Duration,
        /// Why not: each node, a stable word, and the same for people.
        passed_over: Vec<(PeerId, String, String)>,
    },
    /// The key cannot be used for a connection.
    #[error(transparent)]
    Identity(RoadError),
    /// A blob could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The client's cache of blobs cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A receipt does not hold.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// Each index that was tried, on a line of its own.
fn listed(tried: &[(String, String)]) -> String {
    let lines = tried.iter();
    lines
        .map(|(index, reason)| format!("\n  {index}: {reason}"))
        .collect()
}

/// Each node that was passed over, on a line of its own.
fn told(passed_over: &[(PeerId, String, String)]) -> String {
    if passed_over.is_empty() {
        return ": no node is known; give the address of a peer with --peer, or put it into `mesh.peers` of the configuration".to_owned();
    }
    passed_over
        .iter()
        .map(|(node, code, message)| format!("\n  node {} ({code}): {message}", node.short()))
        .collect()
}

impl ClientError {
    /// Whether the same may work a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NoIndex { .. }
            | Self::Timeout { .. }
            | Self::Exhausted { .. } => true,
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "unknown_issuer"
                    | "not_yet_valid"
                    | "expired"
                    | "stale_epoch"
                    | "replayed"
                    | "revoked"
                    | "busy"
                    | "draining"
                    | "no_device"
                    | "no_runtime"
                    | "too_little_memory"
            ),
            Self::NotFound { .. }
            | Self::NotNow { .. }
            | Self::Failed { .. }
            | Self::NoNode { .. } => true,
            _ => false,
        }
    }

    /// The stable word of a refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}
