//! The handle that everybody holds and the one task that owns the state.
//!
//! Commands queue up while a transaction is being written; then all of them are
//! applied, one transaction makes what they changed durable, and only then is
//! anyone answered or any order sent (group commit). When a transaction fails,
//! the state is taken up anew from the store and every caller of that group gets
//! the reason, so nothing that was told was ever lost, and nothing lost was ever
//! told.

mod clock;
mod error;
mod group;
mod handle;
mod orders;
mod outcome;
mod run;
mod watches;
mod writable;

#[cfg(test)]
mod tests;

use embermesh_crypto::ids::{JobId, PeerId};
use embermesh_job::order::Order;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

pub(crate) use self::error::CallFailed;
pub(crate) use self::{handle::Handle, run::Actor};
use crate::state::{Command, Reply};

/// The most messages that wait for the actor. Past it callers wait, and past
/// [`QUEUE_WAIT`](handle) they are turned away.
pub(crate) const MESSAGES_QUEUED: usize = 1_024;

/// The most messages that one transaction answers.
pub(crate) const GROUP: usize = 512;

/// What the actor is asked.
pub(crate) enum Message {
    /// A command for the state machine.
    Call {
        command: Command,
        asked_at: Instant,
        answer: oneshot::Sender<Result<Reply, CallFailed>>,
    },
    /// A node opens its stream of orders.
    Orders {
        node: PeerId,
        answer: oneshot::Sender<Result<mpsc::Receiver<Order>, CallFailed>>,
    },
    /// Somebody wants to know when a job changes.
    Changes {
        job: JobId,
        answer: oneshot::Sender<watch::Receiver<u64>>,
    },
}
