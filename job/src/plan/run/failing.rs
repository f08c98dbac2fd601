//! What a run does when an attempt, a node or time fails it.

use embermesh_crypto::UnixMillis;

use super::{Ended, Failure, Output, Run, What, cut, slot::State};
use crate::plan::{Need, NodeName, OnFailure};

impl<T> Run<T> {
    pub(super) fn lost(&mut self, node: &NodeName, now: UnixMillis, outputs: &mut Vec<Output>) {
        for place in 0..self.slots.len() {
            let on_it = self.slots[place].attempt().and_then(|at| at.node.as_ref()) == Some(node);
            if on_it && self.ended.is_none() {
                self.attempt_failed(place, "its node was lost".into(), true, now, outputs);
            }
        }
    }

    /// Gives up what has been silent, or has run, for too long.
    pub(super) fn lapse(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        if now >= self.deadline() {
            return self.run_out(now, outputs);
        }
        for place in 0..self.slots.len() {
            let Some(attempt) = self.slots[place].attempt() else {
                continue;
            };
            let reason = if now >= attempt.deadline {
                "it took longer than its timeout"
            } else if now < attempt.lease_until {
                continue;
            } else if attempt.started.is_some() {
                "its node was silent for too long"
            } else {
                "no node began with it in time"
            };
            outputs.push(self.cancellation(place, reason));
            self.attempt_failed(place, reason.into(), true, now, outputs);
            if self.ended.is_some() {
                return;
            }
        }
    }

    /// One attempt is over; the task is not, unless it was the last.
    pub(super) fn attempt_failed(
        &mut self,
        place: usize,
        reason: String,
        transient: bool,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) {
        let reason = cut(reason);
        self.note(place, What::Failed(reason.clone()), now);
        let slot = &mut self.slots[place];
        slot.give_up();
        if transient && slot.used < self.plan.tasks()[place].attempts {
            return;
        }
        if matches!(self.plan.draft().need, Need::Quorum(_)) {
            slot.state = State::Failed { reason };
            return;
        }
        let may_help = transient || !self.plan.reads(place).is_empty();
        match self.plan.draft().on_failure {
            OnFailure::RollBack(retries) if may_help && self.rollbacks < retries => {
                self.roll_back(place, now, outputs);
            }
            _ => {
                slot.state = State::Failed {
                    reason: reason.clone(),
                };
                let task = self.plan.tasks()[place].name.clone();
                let failure = Failure::Task { task, reason };
                self.end(Ended::Failed(failure), now, outputs);
            }
        }
    }

    /// Throws away the results that the task read, and all that rests on them.
    fn roll_back(&mut self, place: usize, now: UnixMillis, outputs: &mut Vec<Output>) {
        self.rollbacks += 1;
        let mut again = vec![false; self.slots.len()];
        again[place] = true;
        for &read in self.plan.reads(place) {
            again[read] = true;
        }
        loop {
            let waits = |task: usize| self.plan.waits(task).iter().any(|&wait| again[wait]);
            match (0..again.len()).find(|&task| !again[task] && waits(task)) {
                Some(task) => again[task] = true,
                None => break,
            }
        }
        for task in (0..again.len()).filter(|&task| again[task]) {
            if self.slots[task].attempt().is_some() {
                outputs.push(self.cancellation(task, "what it rests on is done again"));
            }
            if self.slots[task].begin_again() || task == place {
                self.note(task, What::RolledBack, now);
            }
        }
    }
}
