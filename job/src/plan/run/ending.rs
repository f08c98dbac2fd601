//! How a plan ends: with a result, without one, or by its owner's wish.

use embermesh_crypto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{Output, Run, Slot, State, index};
use crate::plan::{
    Combined, Need,
    combine::{Answer, Asked, combine},
};

/// How a plan ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With this.
    Done(Combined),
    /// Without a result.
    Failed(Failure),
    /// By its owner.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// Why a plan has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// A task that must be done cannot be.
    #[error("task `{task}` failed: {reason}")]
    Task {
        /// Which.
        task: String,
        /// Why, of its last attempt.
        reason: String,
    },
    /// Fewer tasks can be done than must be.
    #[error("{done} of {tasks} tasks are done and {failed} failed; {least} must be done{last}")]
    TooFew {
        /// How many are done.
        done: usize,
        /// How many cannot be.
        failed: usize,
        /// How many there are.
        tasks: usize,
        /// How many must be.
        least: usize,
        /// Why one of those that failed did, with what joins it to a sentence.
        last: String,
    },
    /// The plan took longer than it may.
    #[error("the plan took longer than its {limit_ms} ms; {done} of {tasks} tasks are done")]
    OutOfTime {
        /// How long it might take, in milliseconds.
        limit_ms: u64,
        /// How many tasks are done.
        done: usize,
        /// How many there are.
        tasks: usize,
    },
    /// The answers differ too much.
    #[error("the answers agree to {level}, and {wanted} is asked for")]
    NoAgreement {
        /// The share that agrees.
        level: f64,
        /// The share that must.
        wanted: f64,
    },
    /// Nobody takes the work on.
    #[error("there is no gang for it: {reason}")]
    NoGang {
        /// Why.
        reason: String,
    },
    /// The results cannot be brought together.
    #[error("the results cannot be brought together: {reason}")]
    Unfit {
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// The stable word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Task { .. } => "task_failed",
            Self::TooFew { .. } => "too_few",
            Self::OutOfTime { .. } => "out_of_time",
            Self::NoAgreement { .. } => "no_agreement",
            Self::NoGang { .. } => "no_gang",
            Self::Unfit { .. } => "unfit",
        }
    }
}

impl<T> Run<T> {
    /// When the plan's own time is over.
    pub(super) fn deadline(&self) -> UnixMillis {
        self.began.saturating_add(self.plan.draft().timeout)
    }

    /// The plan's time is over: what is done may be enough.
    pub(super) fn run_out(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        if let Need::Quorum(least) = self.plan.draft().need
            && self.done_count() >= least
        {
            return self.conclude(now, outputs);
        }
        let limit = self.plan.draft().timeout.as_millis();
        let failure = Failure::OutOfTime {
            limit_ms: u64::try_from(limit).unwrap_or(u64::MAX),
            done: self.done_count(),
            tasks: self.slots.len(),
        };
        self.end(Ended::Failed(failure), now, outputs);
    }

    /// Brings the results together.
    pub(super) fn conclude(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        let tasks = self.plan.tasks();
        let answers: Vec<Answer<'_>> = (0..self.slots.len())
            .filter_map(|place| {
                let done = self.slots[place].result()?;
                Some(Answer {
                    task: index(place),
                    name: &tasks[place].name,
                    weight: tasks[place].weight,
                    samples: done.samples,
                    value: &done.value,
                })
            })
            .collect();
        let asked = Asked {
            tasks: tasks.len(),
            weight: tasks.iter().map(|task| task.weight).sum(),
        };
        let ended = match combine(&self.plan.draft().combine, &answers, asked, &self.seed) {
            Ok(combined) => Ended::Done(combined),
            Err(failure) => Ended::Failed(failure),
        };
        self.end(ended, now, outputs);
    }

    /// Ends the plan once, and what still runs with it.
    pub(super) fn end(&mut self, ended: Ended, now: UnixMillis, outputs: &mut Vec<Output>) {
        if self.ended.is_some() {
            return;
        }
        let reason = match &ended {
            Ended::Done(_) => "enough tasks are done",
            Ended::Failed(_) => "the plan has failed",
            Ended::Cancelled { .. } => "the plan was cancelled",
        };
        for place in 0..self.slots.len() {
            if self.slots[place].attempt().is_some() {
                outputs.push(self.cancellation(place, reason));
                self.slots[place].state = State::Failed {
                    reason: reason.to_owned(),
                };
                self.note(place, super::What::Failed(reason.to_owned()), now);
            }
        }
        self.ended = Some(ended);
        outputs.push(Output::Ended);
    }

    pub(super) fn too_few(&self, least: usize) -> Failure {
        let last = self.slots.iter().find_map(|slot| match &slot.state {
            State::Failed { reason } => Some(format!(": {reason}")),
            _ => None,
        });
        Failure::TooFew {
            done: self.done_count(),
            failed: self.slots.iter().filter(|slot| slot.has_failed()).count(),
            tasks: self.slots.len(),
            least,
            last: last.unwrap_or_default(),
        }
    }

    pub(super) fn done_count(&self) -> usize {
        self.slots.iter().filter_map(Slot::result).count()
    }
}
