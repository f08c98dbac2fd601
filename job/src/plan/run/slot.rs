//! Where one task of a run stands.

use std::time::Duration;

use embermesh_crypto::{Epoch, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::plan::{NodeName, Value};

/// A task while its plan runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// The newest attempt.
    pub(super) epoch: Epoch,
    /// How many attempts it has had since the plan began or rolled back.
    pub(super) used: u32,
    /// Where attempts failed.
    pub(super) failed_on: Vec<NodeName>,
    pub(super) state: State,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// For other tasks, or to be started.
    Waiting,
    Live(Attempt),
    Done(Done),
    Failed {
        reason: String,
    },
}

/// An attempt that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Where it runs, or wants to.
    pub(super) node: Option<NodeName>,
    pub(super) started: Option<UnixMillis>,
    pub(super) lease: Duration,
    pub(super) lease_until: UnixMillis,
    pub(super) deadline: UnixMillis,
}

/// A result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) node: Option<NodeName>,
    pub(super) value: Value,
    pub(super) samples: Option<u64>,
    pub(super) bytes: usize,
    /// The how manieth result of the run it is.
    pub(super) order: u64,
}

impl Attempt {
    pub(super) fn new(
        node: Option<NodeName>,
        lease: Duration,
        deadline: UnixMillis,
        now: UnixMillis,
    ) -> Self {
        Self {
            node,
            started: None,
            lease,
            lease_until: now.saturating_add(lease),
            deadline,
        }
    }

    /// A sign of life.
    pub(super) fn renew(&mut self, now: UnixMillis) {
        self.lease_until = self.lease_until.max(now.saturating_add(self.lease));
    }
}

impl Slot {
    pub(super) const fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            used: 0,
            failed_on: Vec::new(),
            state: State::Waiting,
        }
    }

    pub(super) fn begin(&mut self, attempt: Attempt) -> Epoch {
        self.epoch = self.epoch.next();
        self.used += 1;
        self.state = State::Live(attempt);
        self.epoch
    }

    /// The attempt counts no more, and its node is remembered.
    pub(super) fn give_up(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Waiting);
        if let State::Live(Attempt {
            node: Some(node), ..
        }) = state
            && !self.failed_on.contains(&node)
        {
            self.failed_on.push(node);
        }
    }

    /// Back to the beginning; whether there was anything to go back from.
    pub(super) fn begin_again(&mut self) -> bool {
        self.used = 0;
        self.failed_on.clear();
        let was = std::mem::replace(&mut self.state, State::Waiting);
        was != State::Waiting
    }

    pub(super) const fn attempt(&self) -> Option<&Attempt> {
        match &self.state {
            State::Live(attempt) => Some(attempt),
            _ => None,
        }
    }

    pub(super) const fn result(&self) -> Option<&Done> {
        match &self.state {
            State::Done(done) => Some(done),
            _ => None,
        }
    }

    /// Where it is, or was when it gave its result.
    pub(super) const fn node(&self) -> Option<&NodeName> {
        match &self.state {
            State::Live(attempt) => attempt.node.as_ref(),
            State::Done(done) => done.node.as_ref(),
            State::Waiting | State::Failed { .. } => None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.result().map_or(0, |done| done.bytes)
    }

    pub(super) const fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Failed { .. })
    }
}
