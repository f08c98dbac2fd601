//! The cloneable handle: plain async methods, one a verb.

use std::time::Duration;

use embermesh_crypto::ids::{JobId, PeerId};
use embermesh_job::order::Order;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use super::{CallFailed, Message};
use crate::state::{Command, Reply};

/// How long a caller waits for room in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// Speaks to the actor.
#[derive(Clone)]
pub(crate) struct Handle {
    messages: mpsc::Sender<Message>,
}

impl Handle {
    pub(super) fn new(messages: mpsc::Sender<Message>) -> Self {
        Self { messages }
    }

    /// Does what a command asks, durably, and gives the answer.
    pub(crate) async fn call(&self, command: Command) -> Result<Reply, CallFailed> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Call {
            command,
            asked_at: Instant::now(),
            answer,
        })
        .await?;
        answered.await.map_err(|_| CallFailed::Stopped)?
    }

    /// Opens a node's stream of orders, which begins with what it has not taken
    /// up yet.
    pub(crate) async fn orders(&self, node: PeerId) -> Result<mpsc::Receiver<Order>, CallFailed> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Orders { node, answer }).await?;
        answered.await.map_err(|_| CallFailed::Stopped)?
    }

    /// Hears of every change of a job from now on.
    pub(crate) async fn changes(&self, job: JobId) -> Result<watch::Receiver<u64>, CallFailed> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Changes { job, answer }).await?;
        answered.await.map_err(|_| CallFailed::Stopped)
    }

    /// How many messages wait.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.messages.max_capacity() - self.messages.capacity()
    }

    async fn send(&self, message: Message) -> Result<(), CallFailed> {
        match timeout(QUEUE_WAIT, self.messages.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CallFailed::Stopped),
            Err(_) => Err(CallFailed::Busy),
        }
    }
}
