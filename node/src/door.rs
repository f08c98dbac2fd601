//! Whose turn it is here, where no index says so: the rules of [`embermesh_job::turns`]
//! with this node's clock, and with what its database remembers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use embermesh_crypto::{
    ids::{JobId, PeerId},
    time::UnixMillis,
};
use embermesh_job::turns::{Ask, NotTaken, Rules, Turn, Turns, Waits};
use tokio::sync::watch;

use crate::store::{Store, StoreError};

/// The queue in front of this node.
pub(crate) struct Door {
    turns: Mutex<Turns>,
    waiting: watch::Sender<u32>,
    /// Whether quotas hold for clients whom an index has sent.
    indexed: bool,
}

impl Door {
    pub(crate) fn new(rules: Rules, indexed: bool) -> Self {
        Self {
            turns: Mutex::new(Turns::new(rules)),
            waiting: watch::Sender::new(0),
            indexed,
        }
    }

    /// Takes in what clients used before this process started.
    pub(crate) async fn restore(&self, store: &Store, window: Duration) -> Result<(), StoreError> {
        let since = UnixMillis::now().saturating_sub(window);
        let used = store.used_since(since).await?;
        let mut turns = self.turns();
        for (client, ended, span) in used {
            turns.restore(client, ended, span);
        }
        Ok(())
    }

    /// Asks for a turn, or asks again.
    pub(crate) fn ask(&self, ask: Ask, free: u32) -> Result<Turn, NotTaken> {
        let now = UnixMillis::now();
        let turn = self.turns().ask(ask, free, now);
        self.count(now);
        turn
    }

    /// Whether a task may start now.
    pub(crate) fn may_start(&self, ask: Ask, free: u32) -> Result<Turn, NotTaken> {
        self.turns().may_start(ask, free, UnixMillis::now())
    }

    /// What is in the way of a task that an index has given, where the owner holds clients
    /// of indexes to quotas.
    pub(crate) fn within_quota(&self, ask: &Ask) -> Result<Option<Waits>, NotTaken> {
        if !self.indexed {
            return Ok(None);
        }
        self.turns().within_quota(ask, UnixMillis::now())
    }

    /// A task has started, whoever has given it.
    pub(crate) fn started(&self, ask: Ask) {
        let now = UnixMillis::now();
        self.turns().started(ask, now);
        self.count(now);
    }

    /// A task has ended.
    pub(crate) fn ended(&self, client: PeerId, job: JobId) {
        self.turns().ended(client, job, UnixMillis::now());
    }

    /// How many wait, now and as it changes.
    pub(crate) fn waiting(&self) -> watch::Receiver<u32> {
        self.waiting.subscribe()
    }

    fn count(&self, now: UnixMillis) {
        let many = u32::try_from(self.turns().waiting(now)).unwrap_or(u32::MAX);
        self.waiting.send_if_modified(|waiting| {
            let changed = *waiting != many;
            *waiting = many;
            changed
        });
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
