//! Why the state machine would not do what it was asked.

use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    statement::StatementError,
    token::InvalidClaims,
};
use embermesh_job::{ledger, lifecycle, reservation};
use thiserror::Error;

/// The closed list of refusals; the service maps each to one status code.
#[derive(Debug, Error)]
pub enum Refused {
    /// There is no such job.
    #[error("there is no job {0} here")]
    UnknownJob(JobId),
    /// Only the owner may do this.
    #[error("job {job} belongs to another key; use the key that submitted it")]
    NotOwner {
        /// The job.
        job: JobId,
    },
    /// The queue is full for everyone.
    #[error("the index holds {most} jobs that have not ended; wait for some to end")]
    QueueFull {
        /// The bound.
        most: usize,
    },
    /// The queue is full for this client.
    #[error("this key has {most} jobs that have not ended; wait for some to end or cancel some")]
    ClientQueueFull {
        /// The bound.
        most: usize,
    },
    /// Too many bytes of specs wait.
    #[error("the specs of open jobs fill the {most} bytes kept for them; wait for some to end")]
    SpecsFull {
        /// The bound, in bytes.
        most: usize,
    },
    /// The idempotency key names another job of the same client.
    #[error(
        "this idempotency key was used for another spec, as job {job}; make a new key for each job"
    )]
    KeyReused {
        /// The job that the key names.
        job: JobId,
    },
    /// The job has no attempt that runs.
    #[error("job {job} has no running attempt to assign ({state}); watch it until it has one")]
    NotAssigned {
        /// The job.
        job: JobId,
        /// Its state.
        state: &'static str,
    },
    /// The attempt that was named is over.
    #[error(
        "attempt {asked} of job {job} was replaced by attempt {current}; watch the job for its assignment"
    )]
    StaleEpoch {
        /// The job.
        job: JobId,
        /// The epoch that was named.
        asked: Epoch,
        /// The epoch of the current attempt.
        current: Epoch,
    },
    /// The job will not do that from the state it is in.
    #[error("job {job}: {refused}")]
    Lifecycle {
        /// The job.
        job: JobId,
        /// What the lifecycle said.
        refused: lifecycle::Refused,
    },
    /// The ledger's rules do not allow it.
    #[error(transparent)]
    Ledger(#[from] ledger::Refused),
    /// The rules of reservations do not allow it.
    #[error(transparent)]
    Reservation(#[from] reservation::Refused),
    /// The node is not the one that runs the attempt.
    #[error("job {job} is assigned to another node, not to {node}")]
    NotItsNode {
        /// The job.
        job: JobId,
        /// The node that spoke.
        node: PeerId,
    },
    /// The node has not registered since the index started.
    #[error("node {0} is not registered here; register first")]
    NotRegistered(PeerId),
    /// An advert that does not fit its bearer or this network.
    #[error("the advert is refused: {why}")]
    Advert {
        /// What is wrong with it.
        why: String,
    },
    /// A receipt that does not fit the attempt it is for.
    #[error("the receipt is refused: {why}")]
    Receipt {
        /// What is wrong with it.
        why: String,
    },
    /// A statement whose signature or form is wrong.
    #[error("the signed statement is refused: {0}")]
    Statement(#[from] StatementError),
    /// The registry is full.
    #[error("the index knows {most} nodes already; ask its operator to raise limits.nodes")]
    TooManyNodes {
        /// The bound.
        most: usize,
    },
    /// A list in a message is too long.
    #[error("{what} has more than {most} entries")]
    TooMany {
        /// The list.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// The caller may not rotate keys.
    #[error("only the index's own key and its administrators may rotate the issuer key")]
    NotAdministrator,
    /// Rotations follow each other faster than tokens expire.
    #[error(
        "{most} issuer keys are still needed to check tokens; rotate again when some have expired"
    )]
    TooManyIssuerKeys {
        /// The bound.
        most: usize,
    },
    /// One client withdraws tokens faster than they expire.
    #[error(
        "this key has withdrawn {live} tokens that have not expired yet, and {most} is the most; try again when some have"
    )]
    TooManyRevocations {
        /// How many there are.
        live: usize,
        /// The bound.
        most: usize,
    },
    /// There is no key to sign with.
    #[error("the index has no issuer key; restart it")]
    NoIssuerKey,
    /// A token could not be made from the spec's limits.
    #[error("no token can be made for this job: {0}")]
    Claims(InvalidClaims),
    /// The node of the attempt is not known by any address.
    #[error("the node {0} has not been heard of since the index started; try again in a moment")]
    NodeUnknown(PeerId),
}
