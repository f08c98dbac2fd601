//! One prover's place, as long as its stream is open.

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Failure,
    port::provers::{Order, Seat, Word},
};
use embermesh_job::plan::NodeName;
use tokio::sync::mpsc;

use super::Said;
use crate::Gateway;

/// A place. Dropped, it is that of a prover whose connection broke.
pub(super) struct Place {
    pub(super) gateway: Gateway,
    pub(super) id: NodeName,
    pub(super) stay: u64,
    pub(super) since: UnixMillis,
    pub(super) orders: mpsc::Receiver<Box<Order>>,
}

impl Place {
    /// Refuses what a prover says in the name of another. Some say nothing.
    fn check(&self, said: &str) -> Result<(), Failure> {
        if said.is_empty() || said == self.id.as_str() {
            return Ok(());
        }
        let message = format!("this stream is of prover {}, not of {said:?}", self.id);
        Err(Failure::invalid(message))
    }
}

#[tonic::async_trait]
impl Seat for Place {
    fn since(&self) -> UnixMillis {
        self.since
    }

    async fn hear(&mut self, word: Word) -> Result<(), Failure> {
        let (Word::Alive { prover } | Word::Error { prover, .. } | Word::Answer { prover, .. }) =
            &word;
        self.check(prover)?;
        let now = UnixMillis::now();
        let hall = &self.gateway.inner.hall;
        let work = hall.roster().hear(&self.id, self.stay, now);
        let prover = self.id.clone();
        let (job, said) = match word {
            Word::Alive { .. } => return Ok(()),
            Word::Error { job, reason, .. } => {
                let round = job.as_str().into();
                let error = Said::Error {
                    prover,
                    round,
                    reason,
                };
                (job, error)
            }
            Word::Answer {
                job, phase, given, ..
            } => {
                let round = job.as_str().into();
                let answer = Said::Answer {
                    prover,
                    round,
                    phase,
                    given,
                };
                (job, answer)
            }
        };
        match work.filter(|work| *work.round == *job) {
            // A proof that has just ended hears nobody any more.
            Some(work) => drop(work.said.send(said).await),
            None => tracing::debug!(prover = %self.id, job, "a word of a round that is over"),
        }
        Ok(())
    }

    async fn order(&mut self) -> Option<Box<Order>> {
        self.orders.recv().await
    }

    async fn leave(&mut self) {
        let note = self.gateway.inner.hall.roster().leave(&self.id, self.stay);
        if let Some((proof, lost)) = note {
            let _ = proof.send(lost).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let hall = &self.gateway.inner.hall;
        let now = UnixMillis::now();
        hall.roster().cut(&self.id, self.stay, now);
        hall.swept.notify_one();
    }
}
