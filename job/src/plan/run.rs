//! The engine: a plan while it runs. A pure state machine with attempts, leases
//! and epochs.
//!
//! Each attempt of a task raises the task's epoch, and whatever an older epoch
//! still says is refused. Every wait has an end: an attempt by its lease and
//! its timeout, a task by its attempts, the plan by its own timeout. A plan
//! that has ended never changes again.

mod ending;
mod exchange;
mod failing;
mod report;
mod slot;
mod starting;

use embermesh_crypto::{Epoch, TaskIndex, UnixMillis};
use serde::{Deserialize, Serialize};

pub use ending::{Ended, Failure};
pub use exchange::{Input, Output, Refused};
pub use report::{Finding, Moment, What};
use slot::{Attempt, Done, Slot, State};

use super::{MAX_REASON, MAX_TRACE, Need, NodeName, Plan, Value, Wish};

/// A plan while it runs, and after. A store may keep it between any two inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"), try_from = "Kept<T>")]
pub struct Run<T> {
    plan: Plan<T>,
    /// The seed of the noise, where the plan adds some. Whoever knows it can
    /// take the noise out, so it is in no report.
    seed: [u8; 32],
    began: UnixMillis,
    slots: Vec<Slot>,
    rollbacks: u32,
    /// How many results came, ever: the order of those that are first.
    finishes: u64,
    trace: Vec<Moment>,
    ended: Option<Ended>,
}

/// A run as a store has kept it.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Kept<T> {
    plan: Plan<T>,
    seed: [u8; 32],
    began: UnixMillis,
    slots: Vec<Slot>,
    rollbacks: u32,
    finishes: u64,
    trace: Vec<Moment>,
    ended: Option<Ended>,
}

impl<T> TryFrom<Kept<T>> for Run<T> {
    type Error = &'static str;

    fn try_from(kept: Kept<T>) -> Result<Self, Self::Error> {
        if kept.slots.len() != kept.plan.tasks().len() {
            return Err("the run has another number of tasks than its plan");
        }
        Ok(Self {
            plan: kept.plan,
            seed: kept.seed,
            began: kept.began,
            slots: kept.slots,
            rollbacks: kept.rollbacks,
            finishes: kept.finishes,
            trace: kept.trace,
            ended: kept.ended,
        })
    }
}

impl<T> Run<T> {
    /// Begins a plan, with what has to be done first. Epochs count on from
    /// `after`, so that a plan which takes the place of another refuses what
    /// the other's nodes still say; `seed` is that of the noise.
    #[must_use]
    pub fn start(
        plan: Plan<T>,
        after: Epoch,
        seed: [u8; 32],
        now: UnixMillis,
    ) -> (Self, Vec<Output>) {
        let slots = plan.tasks().iter().map(|_| Slot::new(after)).collect();
        let mut run = Self {
            plan,
            seed,
            began: now,
            slots,
            rollbacks: 0,
            finishes: 0,
            trace: Vec::new(),
            ended: None,
        };
        let mut outputs = Vec::new();
        run.advance(now, &mut outputs);
        (run, outputs)
    }

    /// Takes an input.
    ///
    /// # Errors
    /// [`Refused`]; the run is then unchanged.
    pub fn handle(&mut self, input: Input, now: UnixMillis) -> Result<Vec<Output>, Refused> {
        if self.ended.is_some() {
            // Time goes on and nodes come and go; nobody needs to know whether
            // a plan has ended to say so.
            return match input {
                Input::Tick | Input::Lost { .. } => Ok(Vec::new()),
                _ => Err(Refused::Ended),
            };
        }
        let mut outputs = Vec::new();
        match input {
            Input::Started { task, epoch, node } => self.started(task, epoch, node, now)?,
            Input::Progress { task, epoch } => {
                let (_, attempt) = self.live(task, epoch)?;
                attempt.renew(now);
            }
            Input::Done {
                task,
                epoch,
                value,
                samples,
            } => self.done(task, epoch, value, samples, now, &mut outputs)?,
            Input::Failed {
                task,
                epoch,
                reason,
                transient,
            } => {
                if self.has_ended(task, epoch, |state| !matches!(state, State::Done(_))) {
                    return Ok(outputs);
                }
                let (place, _) = self.live(task, epoch)?;
                self.attempt_failed(place, reason, transient, now, &mut outputs);
            }
            Input::Lost { node } => self.lost(&node, now, &mut outputs),
            Input::Cancel { reason } => {
                let reason = cut(reason);
                self.end(Ended::Cancelled { reason }, now, &mut outputs);
            }
            Input::Tick => self.lapse(now, &mut outputs),
        }
        self.advance(now, &mut outputs);
        Ok(outputs)
    }

    fn started(
        &mut self,
        task: TaskIndex,
        epoch: Epoch,
        node: NodeName,
        now: UnixMillis,
    ) -> Result<(), Refused> {
        let (place, _) = self.live(task, epoch)?;
        if self.plan.draft().apart {
            let holds = |slot: &Slot| slot.node() == Some(&node);
            let other = (0..self.slots.len())
                .filter(|&other| other != place)
                .find(|&other| holds(&self.slots[other]));
            if let Some(other) = other {
                let other = index(other);
                return Err(Refused::NotApart { task, node, other });
            }
        }
        // Only a node that was preferred may be another in the end.
        let may_move = !matches!(self.plan.tasks()[place].wish, Wish::Only(_));
        let (_, attempt) = self.live(task, epoch)?;
        if let Some(has) = attempt.node.clone()
            && has != node
            && (attempt.started.is_some() || !may_move)
        {
            let said = node;
            return Err(Refused::WrongNode { task, has, said });
        }
        let first = attempt.started.is_none();
        attempt.node = Some(node.clone());
        attempt.started.get_or_insert(now);
        attempt.renew(now);
        if first {
            self.note(place, What::Started(node), now);
        }
        Ok(())
    }

    fn done(
        &mut self,
        task: TaskIndex,
        epoch: Epoch,
        value: Value,
        samples: Option<u64>,
        now: UnixMillis,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        // The report that ended the attempt may come twice.
        if self.has_ended(task, epoch, |state| matches!(state, State::Done(_))) {
            return Ok(());
        }
        let apart = self.plan.draft().apart;
        let (place, attempt) = self.live(task, epoch)?;
        if apart && attempt.started.is_none() {
            return Err(Refused::NotStarted(task));
        }
        let node = attempt.node.clone();
        let held = self.slots.iter().map(Slot::bytes).sum();
        let left = super::MAX_HELD.saturating_sub(held).min(super::MAX_VALUE);
        match value.size(left) {
            Ok(bytes) => {
                self.finishes += 1;
                self.slots[place].state = State::Done(Done {
                    node,
                    value,
                    samples,
                    bytes,
                    order: self.finishes,
                });
                self.note(place, What::Done, now);
            }
            Err(error) => self.attempt_failed(place, error.to_string(), false, now, outputs),
        }
        Ok(())
    }

    /// Starts what can start, and ends what has nothing left to start.
    fn advance(&mut self, now: UnixMillis, outputs: &mut Vec<Output>) {
        if self.ended.is_some() {
            return;
        }
        let failed = self.slots.iter().filter(|slot| slot.has_failed()).count();
        if let Need::Quorum(least) = self.plan.draft().need
            && self.slots.len() - failed < least
        {
            let failure = self.too_few(least);
            return self.end(Ended::Failed(failure), now, outputs);
        }
        if self.slots.iter().all(Slot::is_over) {
            return self.conclude(now, outputs);
        }
        for place in 0..self.slots.len() {
            let ready = |&wait: &usize| matches!(self.slots[wait].state, State::Done(_));
            if matches!(self.slots[place].state, State::Waiting)
                && self.plan.waits(place).iter().all(ready)
            {
                outputs.push(self.start_attempt(place, now));
            }
        }
    }

    fn cancellation(&self, place: usize, reason: &str) -> Output {
        Output::Cancel {
            task: index(place),
            epoch: self.slots[place].epoch,
            node: self.slots[place].node().cloned(),
            reason: reason.to_owned(),
        }
    }

    /// The live attempt of a task, if the epoch is its own.
    fn live(&mut self, task: TaskIndex, epoch: Epoch) -> Result<(usize, &mut Attempt), Refused> {
        let place = usize::try_from(task.0).unwrap_or(usize::MAX);
        let slot = self.slots.get_mut(place).ok_or(Refused::NoTask(task))?;
        if slot.epoch != epoch {
            return Err(Refused::StaleEpoch {
                task,
                asked: epoch,
                current: slot.epoch,
            });
        }
        match &mut slot.state {
            State::Live(attempt) => Ok((place, attempt)),
            _ => Err(Refused::NotLive(task)),
        }
    }

    /// Whether the newest attempt is the one named and has ended in this way.
    fn has_ended(&self, task: TaskIndex, epoch: Epoch, how: fn(&State) -> bool) -> bool {
        let place = usize::try_from(task.0).unwrap_or(usize::MAX);
        self.slots.get(place).is_some_and(|slot| {
            slot.used > 0
                && slot.epoch == epoch
                && !matches!(slot.state, State::Live(_))
                && how(&slot.state)
        })
    }

    fn note(&mut self, place: usize, what: What, now: UnixMillis) {
        if self.trace.len() >= MAX_TRACE {
            self.trace.remove(0);
        }
        self.trace.push(Moment {
            at: now,
            task: index(place),
            epoch: self.slots[place].epoch,
            what,
        });
    }
}

/// A task's place, as others name it.
fn index(place: usize) -> TaskIndex {
    TaskIndex(u32::try_from(place).unwrap_or(u32::MAX))
}

/// A reason of bounded length.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}
