//! What a run can tell: results, inputs, progress, trace.

use embermesh_crypto::{Epoch, TaskIndex, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{Ended, Run, Slot, State, index};
use crate::plan::{NodeName, Plan, Value};

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at: UnixMillis,
    /// To which.
    pub task: TaskIndex,
    /// In which attempt.
    pub epoch: Epoch,
    /// What.
    pub what: What,
}

/// What can happen to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A node began with it.
    Started(NodeName),
    /// It gave its result.
    Done,
    /// An attempt failed.
    Failed(String),
    /// Its result, or its attempt, was thrown away.
    RolledBack,
}

/// Where a task stands, and its result if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding<'a> {
    /// Which.
    pub task: TaskIndex,
    /// What it is called.
    pub name: &'a str,
    /// A word for where it stands: `waiting`, `running`, `done`, `failed`.
    pub state: &'static str,
    /// The newest attempt.
    pub epoch: Epoch,
    /// Where it is, or was.
    pub node: Option<&'a NodeName>,
    /// Its result.
    pub value: Option<&'a Value>,
    /// Why it failed.
    pub reason: Option<&'a str>,
}

impl<T> Run<T> {
    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan<T> {
        &self.plan
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// How many tasks are done, and of how many.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.done_count(), self.slots.len())
    }

    /// What happened, the newest [`super::super::MAX_TRACE`] of it, oldest first.
    #[must_use]
    pub fn trace(&self) -> &[Moment] {
        &self.trace
    }

    /// The highest epoch of any task: that of a plan in this one's place comes
    /// after it.
    #[must_use]
    pub fn newest_epoch(&self) -> Epoch {
        let epochs = self.slots.iter().map(|slot| slot.epoch);
        epochs.max().unwrap_or_default()
    }

    /// When [`super::Input::Tick`] is due, unless something happens before.
    #[must_use]
    pub fn wake_at(&self) -> Option<UnixMillis> {
        if self.ended.is_some() {
            return None;
        }
        let attempts = self.slots.iter().filter_map(Slot::attempt);
        let ends = attempts.map(|attempt| attempt.lease_until.min(attempt.deadline));
        ends.chain([self.deadline()]).min()
    }

    /// Every task, in order.
    pub fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        let tasks = self.plan.tasks().iter();
        tasks
            .zip(&self.slots)
            .enumerate()
            .map(|(place, (task, slot))| {
                let (state, reason) = match &slot.state {
                    State::Waiting => ("waiting", None),
                    State::Live(_) => ("running", None),
                    State::Done(_) => ("done", None),
                    State::Failed { reason } => ("failed", Some(reason.as_str())),
                };
                Finding {
                    task: index(place),
                    name: &task.name,
                    state,
                    epoch: slot.epoch,
                    node: slot.node(),
                    value: slot.result().map(|done| &done.value),
                    reason,
                }
            })
    }

    /// The nodes on which attempts of a task failed.
    #[must_use]
    pub fn failed_on(&self, task: TaskIndex) -> &[NodeName] {
        let place = usize::try_from(task.0).unwrap_or(usize::MAX);
        self.slots.get(place).map_or(&[], |slot| &slot.failed_on)
    }

    /// What a task reads, by the name of the task that gave it, in the order in
    /// which the plan says it; nothing for one whose time has not come.
    #[must_use]
    pub fn inputs(&self, task: TaskIndex) -> Vec<(&str, &Value)> {
        let place = usize::try_from(task.0).unwrap_or(usize::MAX);
        if place >= self.slots.len() {
            return Vec::new();
        }
        let reads = self.plan.reads(place).iter();
        reads
            .filter_map(|&read| {
                let value = &self.slots[read].result()?.value;
                Some((self.plan.tasks()[read].name.as_str(), value))
            })
            .collect()
    }
}
