//! What a job costs its owner: a budget that is set aside when it is submitted, and
//! at its end the time that the node had it, at the price that was agreed.
//!
//! What is paid for is the attempt that brought the job to its end: done, impossible by
//! its own fault, or cancelled while it ran. An attempt that its node lost or gave up
//! costs nothing, whatever it did.

use embermesh_crypto::{Epoch, PeerId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    ledger::HoldId,
    lifecycle::{Attempt, Job},
    price::cost,
    reservation::ReservationId,
    units::{MicroUnits, Millis},
};

/// A budget, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// The most that the job may cost.
    pub budget: MicroUnits,
    /// Where it is set aside.
    pub hold: HoldId,
    /// What it has cost, once the job has ended.
    pub charged: Option<MicroUnits>,
}

/// What was agreed when an attempt was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The attempt.
    pub epoch: Epoch,
    /// When.
    pub at: UnixMillis,
    /// What an hour costs.
    pub price: MicroUnits,
    /// What the attempt costs at most: the price for all the time that it may take.
    pub at_most: MicroUnits,
    /// The reservation that pays for it.
    pub under: Option<ReservationId>,
}

impl Terms {
    /// Who is to be paid how much at the end of a job, of `budget` at most. `wall` is
    /// the time that the attempt may take, and `ran` what its node has signed that it
    /// took, where it has signed anything.
    #[must_use]
    pub fn owed(
        &self,
        job: &Job,
        budget: MicroUnits,
        wall: Millis,
        ran: Option<Millis>,
    ) -> Option<(PeerId, MicroUnits)> {
        let attempt = job.attempts.last()?;
        if attempt.epoch != self.epoch {
            return None;
        }
        let span = self.span(attempt, ran)?.min(wall);
        let owed = cost(self.price, span).min(budget);
        (owed.0 > 0 && attempt.node != job.owner).then_some((attempt.node, owed))
    }

    /// The time to pay for. What a node claims is believed as far as the index has seen
    /// as much time go by; without a claim the index has only what it heard.
    fn span(&self, attempt: &Attempt, ran: Option<Millis>) -> Option<Millis> {
        let ended = attempt.ended.as_ref().filter(|end| end.ended_its_job())?;
        let started = attempt.started?;
        let since = |from: UnixMillis| Millis(ended.at.0.saturating_sub(from.0));
        Some(match ran {
            Some(ran) => ran.min(since(self.at)),
            None => since(started),
        })
    }
}

/// What a job may cost, by the prices of the nodes that could run it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// How many nodes could run it, if they were free.
    pub nodes: u32,
    /// What it costs at most on the cheapest of them.
    pub least: MicroUnits,
    /// The same on the dearest.
    pub most: MicroUnits,
}

impl Quote {
    /// Adds a node that asks `price` an hour for work that may take `wall`.
    pub fn add(&mut self, price: MicroUnits, wall: Millis) {
        let at_most = cost(price, wall);
        self.least = match self.nodes {
            0 => at_most,
            _ => self.least.min(at_most),
        };
        self.most = self.most.max(at_most);
        self.nodes = self.nodes.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
