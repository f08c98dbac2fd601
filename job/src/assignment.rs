//! The permission to run a task on a node, with the way there.

use embermesh_crypto::{Epoch, JobId, TaskIndex, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;

/// Permission for one client to run one task on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAssignment {
    /// The job.
    pub job: JobId,
    /// The task in its plan.
    pub task: TaskIndex,
    /// The attempt.
    pub epoch: Epoch,
    /// The node, and where it is.
    pub node: PeerAddress,
    /// The signed token; nothing of it is believed without verifying it.
    pub token: String,
    /// When the token expires.
    pub expires_at: UnixMillis,
}

/// One attempt at one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The job.
    pub job: JobId,
    /// The task in its plan.
    pub task: TaskIndex,
    /// The attempt.
    pub epoch: Epoch,
}
