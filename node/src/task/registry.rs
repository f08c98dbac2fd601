//! The attempts of this node: each is admitted once, started, and found again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use embermesh_crypto::{
    ids::PeerId,
    time::UnixMillis,
    token::{Refusal, TaskRef},
};
use embermesh_job::{
    assignment::TaskKey,
    order::Report,
    place::Takes,
    spec::Work,
    turns::{Ask, NotTaken, Turn, Waits},
};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::{
    About, Log, Phase, StopWhy, TaskHandle, TaskOrder, Told, feed,
    handle::{Inner as HandleInner, TOLD},
    run,
};
use crate::{
    joined::joined,
    site::Site,
    slots::{NoSlot, Slot},
    store::{AttemptEnd, NewAttempt, NotAdmitted, StoreError},
};

/// How long an attachment waits for an attempt that the index has ordered and
/// that has not come yet.
const ARRIVAL_WAIT: Duration = Duration::from_secs(10);

/// How long a slot may take to come back of a task that its index knows to have ended:
/// what the index has sent in its place is not turned away meanwhile.
const SETTLES: Duration = Duration::from_millis(500);

/// Why an attempt was not started.
#[derive(Debug, Error)]
pub(crate) enum NotStarted {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("{why}; {ahead} go first: ask this node for a permit, and wait")]
    Waits { ahead: u32, why: Waits },
    #[error("{0}: another node may take the job, or this one once that has changed")]
    OverQuota(Waits),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotStarted {
    /// The word for it, where there is no room for the attempt.
    pub(crate) const fn no_room(&self) -> Option<&'static str> {
        match self {
            Self::NoSlot(no_slot) => Some(no_slot.code()),
            Self::NotTaken(not) => Some(not.code()),
            Self::Waits { why, .. } | Self::OverQuota(why) => Some(why.code()),
            Self::Refused(_) | Self::Store(_) => None,
        }
    }

    /// Whether it may pass by itself within a moment.
    const fn may_settle(&self) -> bool {
        matches!(self, Self::NoSlot(no_slot) if no_slot.passes())
    }
}

impl From<NotAdmitted> for NotStarted {
    fn from(error: NotAdmitted) -> Self {
        match error {
            NotAdmitted::Refused(refusal) => Self::Refused(refusal),
            NotAdmitted::Store(error) => Self::Store(error),
        }
    }
}

/// A task that somebody wants to follow or to steer.
pub(crate) struct Found {
    pub(crate) key: TaskKey,
    pub(crate) client: embermesh_crypto::PeerId,
    pub(crate) spec: embermesh_crypto::Digest,
    pub(crate) log: Arc<Log>,
    /// Absent once it has ended.
    pub(crate) running: Option<TaskHandle>,
    /// Whether it runs, or it is known how it ended.
    known: bool,
}

/// Every attempt of this node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    site: Arc<Site>,
    running: Mutex<HashMap<TaskRef, TaskHandle>>,
    /// Attempts start one after the other, so that of two with one epoch exactly
    /// one is admitted before anything of it runs.
    starting: tokio::sync::Mutex<()>,
}

impl Tasks {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Self {
            inner: Arc::new(Inner {
                site,
                running: Mutex::default(),
                starting: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Admits an attempt and starts it. Whoever asks may go away meanwhile, with its
    /// connection: what has been admitted is started all the same, because its token is
    /// used up.
    pub(crate) async fn start(&self, order: TaskOrder) -> Result<TaskHandle, NotStarted> {
        let tasks = self.clone();
        let starting = async move { Box::pin(tasks.start_in_turn(order)).await };
        joined(self.inner.site.tracker.spawn(starting)).await
    }

    /// What an index has sent and has no room here is turned away for good, so that the
    /// index gives it to another node at once: of two that sent for one slot, one has it.
    async fn start_in_turn(&self, order: TaskOrder) -> Result<TaskHandle, NotStarted> {
        let mut occupancy = self.inner.site.slots.occupancy();
        let deadline = tokio::time::Instant::now() + SETTLES;
        loop {
            let turn = self.inner.starting.lock().await;
            occupancy.mark_unchanged();
            let not = match self.take(&order).await {
                Ok(slot) => return self.begin(order, slot).await,
                Err(not) => not,
            };
            let Some(index) = order.reports_to else {
                return Err(not);
            };
            if !not.may_settle() || tokio::time::Instant::now() >= deadline {
                return Err(self.decline(&order, index, not).await);
            }
            drop(turn);
            let _ = tokio::time::timeout_at(deadline, occupancy.changed()).await;
        }
    }

    /// Turns an attempt away, where its index can hear of that now. Else whoever brought it
    /// may come again.
    async fn decline(&self, order: &TaskOrder, index: PeerId, not: NotStarted) -> NotStarted {
        let site = &self.inner.site;
        let Some(code) = not.no_room().filter(|_| site.links.reaches(&index)) else {
            return not;
        };
        let (key, message) = (order.key(), not.to_string());
        let kind = order.spec.subject().kind;
        tracing::info!(job = %key.job, epoch = %key.epoch, %index, code, "an attempt has no room here");
        let new = NewAttempt {
            assignment: &order.assignment,
            asked: order.spec.limits.ceilings(),
            reports_to: order.reports_to,
            resume_after: order.resume_after(),
            kind: &kind,
            name: &order.spec.name,
        };
        let told = (code, message.as_str());
        match site
            .store
            .decline(&new, index, told, UnixMillis::now())
            .await
        {
            Ok(()) => {
                site.report_posted();
                not
            }
            Err(error) => error.into(),
        }
    }

    /// Takes a slot for an attempt that may have one now.
    async fn take(&self, order: &TaskOrder) -> Result<Slot, NotStarted> {
        let site = &self.inner.site;
        let key = order.key();
        let task = task_of(key);
        let asked = order.spec.limits.ceilings();
        // Judged before anything is stopped or taken; admission judges it again.
        order.assignment.claims().ceilings.allow(asked)?;
        self.must_be_its_clients(order).await?;
        if let Some(older) = self.find_running(task)
            && older.key().epoch < key.epoch
        {
            older.stop(StopWhy::Superseded).await;
        }
        let spec = &order.spec;
        let takes = Takes::of(&spec.work);
        let taken = site
            .slots
            .take(takes, &spec.requires, &spec.limits, spec.runtime());
        let slot = match taken {
            Ok(slot) => slot,
            // A repeated order says so, even where every slot is taken: by it.
            Err(no_slot) => {
                return Err(self
                    .repeated(order)
                    .await?
                    .map_or(no_slot.into(), Into::into));
            }
        };
        if let Some(not) = self.out_of_turn(order) {
            let repeated = self.repeated(order).await?;
            return Err(repeated.map_or(not, Into::into));
        }
        Ok(slot)
    }

    /// Admits an attempt that has a slot, and starts it.
    async fn begin(&self, order: TaskOrder, slot: Slot) -> Result<TaskHandle, NotStarted> {
        let site = &self.inner.site;
        let key = order.key();
        let task = task_of(key);
        let asked = order.spec.limits.ceilings();
        let about = About {
            kind: order.spec.subject().kind,
            name: order.spec.name.clone(),
            began: UnixMillis::now(),
        };
        let new = NewAttempt {
            assignment: &order.assignment,
            asked,
            reports_to: order.reports_to,
            resume_after: order.resume_after(),
            kind: &about.kind,
            name: &about.name,
        };
        site.store.admit(&new, about.began).await?;
        site.door.started(order.ask());
        let last = site.store.last_event(task).await?;
        let log = Log::new(site.store.clone(), key, last, None);
        let (told, hears) = mpsc::channel::<Told>(TOLD);
        let (phase, phases) = watch::channel(Phase::Preparing);
        let claims = order.assignment.claims();
        let table = feed::table(&order.spec, site.data_wait);
        let handle = TaskHandle {
            inner: Arc::new(HandleInner {
                key,
                client: claims.client,
                reports_to: order.reports_to,
                spec: claims.spec,
                rule: match &order.spec.work {
                    Work::Train(train) => Some(train.optimizer),
                    _ => None,
                },
                ends_early: order.spec.work.ends_early(),
                about,
                device: slot.device(),
                log: Arc::clone(&log),
                told,
                phase: phases,
                exchange: table.as_ref().map(feed::Table::exchange),
            }),
        };
        self.running().insert(task, handle.clone());
        tracing::info!(job = %key.job, epoch = %key.epoch, client = %claims.client, device = %slot.device(), "an attempt starts");
        let actor = run::run(run::Start {
            site: Arc::clone(site),
            order,
            slot,
            log,
            hears,
            phase,
            table,
        });
        let tasks = self.clone();
        site.tracker.spawn(async move {
            Box::pin(actor).await;
            tasks.forget(key);
        });
        site.touch();
        Ok(handle)
    }

    /// A job is its client's: nobody else's attempt at it takes the place of his.
    async fn must_be_its_clients(&self, order: &TaskOrder) -> Result<(), NotStarted> {
        let newest = self.inner.site.store.attempt(task_of(order.key())).await?;
        match newest {
            Some(newest) if newest.client != order.assignment.claims().client => {
                Err(Refusal::WrongClient.into())
            }
            _ => Ok(()),
        }
    }

    /// Why an order does not start that has a slot already, if it does not.
    fn out_of_turn(&self, order: &TaskOrder) -> Option<NotStarted> {
        let ask = order.ask();
        if order.reports_to.is_none() {
            return self.waits(order, ask);
        }
        // An index keeps its own queue.
        match self.inner.site.door.within_quota(&ask) {
            Ok(over) => over.map(NotStarted::OverQuota),
            Err(not) => Some(not.into()),
        }
    }

    /// Why it is not the turn of an order that no index has given, if it is not.
    fn waits(&self, order: &TaskOrder, ask: Ask) -> Option<NotStarted> {
        let (site, spec) = (&self.inner.site, &order.spec);
        let room = site
            .slots
            .room(ask.takes, &spec.requires, &spec.limits, spec.runtime());
        match site
            .door
            .may_start(ask, room.unwrap_or(0).saturating_add(1))
        {
            Ok(Turn::Go) => None,
            Ok(Turn::Wait { ahead, why }) => Some(NotStarted::Waits { ahead, why }),
            Err(not) => Some(not.into()),
        }
    }

    /// The refusal of an order whose attempt, or a later one, was admitted before.
    async fn repeated(&self, order: &TaskOrder) -> Result<Option<Refusal>, StoreError> {
        let key = order.key();
        let newest = self.inner.site.store.attempt(task_of(key)).await?;
        let asked = order.spec.limits.ceilings();
        let seen = newest.map(|attempt| attempt.key.epoch);
        Ok(embermesh_crypto::token::admit(&order.assignment, seen, asked).err())
    }

    /// The newest attempt at a task, running or ended. Waits a moment for one that
    /// is at least `epoch`: the index may have ordered it just now.
    pub(crate) async fn find(
        &self,
        task: TaskRef,
        epoch: embermesh_crypto::Epoch,
    ) -> Result<Option<Found>, StoreError> {
        let mut changes = self.inner.site.changed.subscribe();
        let deadline = tokio::time::Instant::now() + ARRIVAL_WAIT;
        loop {
            changes.mark_unchanged();
            let found = self.find_now(task).await?;
            let found = found.filter(|found| found.key.epoch >= epoch);
            if found.as_ref().is_some_and(|found| found.known) {
                return Ok(found);
            }
            // Not there yet, or admitted and about to run.
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(found),
            }
        }
    }

    /// The newest attempt at a task, running or ended, as it is at this moment.
    pub(crate) async fn find_now(&self, task: TaskRef) -> Result<Option<Found>, StoreError> {
        if let Some(handle) = self.find_running(task) {
            let log = Arc::clone(handle.log());
            // Whoever has read how it ended is not told that it runs, though its slot is
            // still on its way back.
            let runs = log.head().end.is_none();
            return Ok(Some(Found {
                key: handle.key(),
                client: handle.client(),
                spec: handle.spec(),
                log,
                running: runs.then_some(handle),
                known: true,
            }));
        }
        let store = &self.inner.site.store;
        let Some(attempt) = store.attempt(task).await? else {
            return Ok(None);
        };
        let last = store.last_event(task).await?;
        // One that is neither is about to run, or could not write how it ended.
        let known = attempt.end.is_some();
        let end = attempt.end.unwrap_or_else(|| AttemptEnd::Gone {
            code: "ended".to_owned(),
            message: "the attempt has ended".to_owned(),
        });
        Ok(Some(Found {
            key: attempt.key,
            client: attempt.client,
            spec: attempt.spec,
            log: Log::new(store.clone(), attempt.key, last, Some(end)),
            running: None,
            known,
        }))
    }

    /// The running attempt at a task.
    pub(crate) fn find_running(&self, task: TaskRef) -> Option<TaskHandle> {
        self.running().get(&task).cloned()
    }

    /// Every running attempt.
    pub(crate) fn all(&self) -> Vec<TaskHandle> {
        self.running().values().cloned().collect()
    }

    /// Stops one attempt, if it is the one that runs.
    pub(crate) async fn stop(&self, key: TaskKey, why: StopWhy) {
        if let Some(handle) = self.find_running(task_of(key))
            && handle.key() == key
        {
            handle.tell(Told::Stop(why)).await;
        }
    }

    /// Reports attempts that an earlier process of this node left running.
    pub(crate) async fn report_interrupted(&self) -> Result<(), StoreError> {
        let store = &self.inner.site.store;
        for attempt in store.open_attempts().await? {
            let (code, message) = (
                "node_restarted",
                "the node was restarted while the task ran",
            );
            tracing::warn!(job = %attempt.key.job, epoch = %attempt.key.epoch, "an attempt was interrupted by the restart");
            let report = attempt.reports_to.map(|index| {
                let report = Report::AttemptFailed {
                    code: code.to_owned(),
                    message: message.to_owned(),
                };
                (index, report)
            });
            let now = UnixMillis::now();
            store
                .end_attempt(attempt.key, code, message, report, now)
                .await?;
        }
        Ok(())
    }

    /// Lets every attempt run on to its end or its next checkpoint, for `within` at
    /// most, and stops what is left.
    pub(crate) async fn drain(&self, within: Duration) {
        // An attempt that is being started is waited for and drained too.
        let _turn = self.inner.starting.lock().await;
        let running = self.all();
        for handle in &running {
            handle.tell(Told::Drain).await;
        }
        let all = futures::future::join_all(running.iter().map(TaskHandle::ended));
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(?within, "attempts overran the drain and are stopped");
            self.stop_running().await;
        }
    }

    /// Stops every attempt now. Says whether there was one.
    pub(crate) async fn stop_all(&self) -> bool {
        // An attempt that is being started is waited for and stopped too.
        let _turn = self.inner.starting.lock().await;
        self.stop_running().await
    }

    async fn stop_running(&self) -> bool {
        let running = self.all();
        let stops = running.iter().map(|handle| handle.stop(StopWhy::Drained));
        futures::future::join_all(stops).await;
        !running.is_empty()
    }

    fn forget(&self, key: TaskKey) {
        let mut running = self.running();
        if running
            .get(&task_of(key))
            .is_some_and(|handle| handle.key() == key)
            && let Some(handle) = running.remove(&task_of(key))
        {
            self.inner.site.door.ended(handle.client(), key.job);
        }
        drop(running);
        self.inner.site.touch();
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<TaskRef, TaskHandle>> {
        self.inner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn task_of(key: TaskKey) -> TaskRef {
    TaskRef {
        job: key.job,
        task: key.task,
    }
}

#[cfg(test)]
mod tests;
