//! What an index wants of a node, and what a node tells an index.

use crate::{
    address::{BlobRef, Checkpoint},
    assignment::{NodeAssignment, TaskKey},
    event::Event,
};

/// One order on a node's stream. Orders may be repeated; each names its
/// attempt, so a node does nothing twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Run this task without waiting for the client.
    Run(Box<RunOrder>),
    /// Stop this attempt.
    Cancel(TaskKey),
    /// The issuer keys changed: the signed set.
    KeySet(Vec<u8>),
    /// Tokens were withdrawn: the signed revocation.
    Revocation(Vec<u8>),
}

/// A task to run: every attempt after the first.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOrder {
    /// The permission, with the client's key as its subject.
    pub assignment: NodeAssignment,
    /// The canonical spec, as bytes.
    pub spec: Vec<u8>,
    /// Where to go on from.
    pub resume: Option<Checkpoint>,
    /// Holders of the job's inputs.
    pub inputs: Vec<BlobRef>,
}

/// What a node reports of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A numbered event: the start, an artifact, the end.
    Event(Box<Event>),
    /// The attempt failed in a way that another node may not.
    AttemptFailed {
        /// A stable word.
        code: String,
        /// What happened, for people.
        message: String,
    },
    /// A checkpoint and who holds it.
    Checkpoint(Checkpoint),
    /// Who holds the job's inputs.
    Inputs(Vec<BlobRef>),
}
