//! Gives tasks to workers, takes them back, and ends them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    hivemind::worker::{self, Worker},
    port::jobs::JobView,
};
use embermesh_job::{lifecycle::JobState, place::Pays, spec::JobSpec};
use tokio::task::spawn_blocking;

use super::{
    book::{Grant, STOPPING, Task, name},
    pay::MINUTE,
    rows::TaskRow,
    verbs::{WAITS, takes},
};
use crate::{
    Gateway, StoreError,
    failure::store_failed,
    jobs::Live,
    store::{Ended, Kept},
};

/// How many waiting tasks are looked at each time, the oldest.
const MOST_AT_ONCE: usize = 256;

impl Gateway {
    /// Takes up the workers that are kept, and says which jobs are tasks for them, by
    /// their numbers.
    pub(crate) async fn remember_workers(&self) -> Result<BTreeMap<i64, TaskRow>, StoreError> {
        for (id, known) in self.inner.store.workers().await? {
            if let Err(failure) = self.inner.desk.book().enroll(id, known) {
                tracing::warn!(%failure, "a worker is forgotten");
            }
        }
        let rows = self.inner.store.tasks().await?;
        Ok(rows.into_iter().map(|row| (row.number, row)).collect())
    }

    /// Forgets the rows of tasks that have ended.
    pub(crate) async fn sweep_tasks(&self, rows: BTreeMap<i64, TaskRow>) -> Result<(), StoreError> {
        for number in rows.into_keys() {
            self.inner.store.drop_task(number).await?;
        }
        Ok(())
    }

    /// Goes on with a task that was kept.
    pub(crate) async fn take_back(
        &self,
        kept: &Kept,
        row: TaskRow,
        live: &Live,
    ) -> Result<(), StoreError> {
        let spec = JobSpec::from_canonical(&kept.spec)
            .map_err(|error| StoreError::Row(error.to_string()))?;
        let number = kept.number;
        self.hear_reported(number, live).await?;
        if let Some(lease) = &row.lease {
            live.change(|view| runs(view, &lease.worker, lease.given));
        }
        let task = Task {
            owner: kept.owner.clone(),
            spec: Arc::new(spec),
            package: row.package,
            attempt: row.attempt,
            lost: row.lost,
            lease: row.lease,
            result: row.result,
        };
        let mut book = self.inner.desk.book();
        book.add(number, task, UnixMillis::now());
        Ok(())
    }

    /// Takes in what was said before that a job has written.
    pub(crate) async fn hear_reported(&self, number: i64, live: &Live) -> Result<(), StoreError> {
        let folders = self.inner.folders.clone();
        let said = spawn_blocking(move || folders.reported(number)).await;
        for piece in said.map_err(std::io::Error::other).flatten()? {
            live.hear_log(piece);
        }
        Ok(())
    }

    /// Drives workers until the gateway stops.
    pub(crate) fn drive_workers(&self) {
        self.look_often(
            |gateway| &gateway.inner.desk.wake,
            |gateway| async move {
                gateway.hand_out().await;
                gateway.look_after().await;
            },
        );
    }

    /// Gives what waits to the mesh or to workers.
    async fn hand_out(&self) {
        let mut waiting = self.inner.desk.book().waiting();
        waiting.truncate(MOST_AT_ONCE);
        if waiting.is_empty() {
            return;
        }
        let nodes = self.nodes_that_could().await;
        for number in waiting {
            let task = self.inner.desk.book().task(number).cloned();
            let Some(task) = task else { continue };
            let client = self.inner.clients.account(&task.owner);
            if takes(&task.spec, client, Pays::Nothing, &nodes) {
                self.to_mesh(number, &task).await;
                continue;
            }
            let granted = self.inner.desk.book().grant(number, UnixMillis::now());
            if let Some(grant) = granted {
                let gateway = self.clone();
                self.go_on_with(async move { gateway.give(number, grant).await });
            }
        }
    }

    /// Brings a task to the mesh, where it stays.
    async fn to_mesh(&self, number: i64, task: &Task) {
        let Some(live) = self.inner.table.get(number) else {
            return;
        };
        let id = live.view().id;
        let kept = match self.inner.store.find(&task.owner, &id).await {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(job = number, %error, "the gateway's store failed");
                return;
            }
        };
        // First it is no worker's any more: it must not be run twice.
        if let Err(error) = self.inner.store.drop_task(number).await {
            tracing::error!(job = number, %error, "the gateway's store failed");
            return;
        }
        if self.inner.desk.book().close(number).is_none() {
            return;
        }
        live.change(|view| view.message.clear());
        self.bring_to_mesh(kept, live);
    }

    /// Gives a task to the worker that it was granted to.
    async fn give(&self, number: i64, grant: Grant) {
        let Some(live) = self.inner.table.get(number) else {
            return;
        };
        let kept = self.inner.store.keep_task(number, &grant.task).await;
        let given = match kept {
            Ok(()) => self.send(number, &grant).await,
            Err(error) => Err(store_failed(&error)),
        };
        let now = UnixMillis::now();
        match given {
            Ok(true) => live.change(|view| runs(view, &grant.worker.id, now)),
            Ok(false) => {}
            Err(failure) => {
                tracing::warn!(job = number, worker = grant.worker.id, %failure, "a task was not taken");
                let stopping = {
                    let book = self.inner.desk.book();
                    let lease = book.task(number).and_then(|task| task.lease.as_ref());
                    lease.is_some_and(|lease| lease.stopping.is_some())
                };
                if stopping {
                    self.end_task(number, JobState::Cancelled, "").await;
                    return;
                }
                let waits = self.inner.desk.book().refused(number, grant.attempt, now);
                if waits {
                    live.change(|view| back(view, failure.message));
                    self.note(number).await;
                    // It may have begun, and only the answer was lost.
                    let _ = grant.worker.stop(&name(number, grant.attempt)).await;
                }
            }
        }
    }

    /// Sends a task; says no where it is not that worker's any more.
    async fn send(&self, number: i64, grant: &Grant) -> Result<bool, Failure> {
        if !self.can_pay(&grant.task).await? {
            let message = "your balance does not reach for a minute of a worker";
            self.end_task(number, JobState::Cancelled, message).await;
            return Ok(false);
        }
        let _turn = self.inner.desk.giving.acquire().await.map_err(|_| {
            let message = "the gateway stops";
            Failure::new(ErrorCode::Unavailable, message)
        })?;
        let stands = {
            let book = self.inner.desk.book();
            let task = book.task(number);
            task.is_some_and(|task| task.attempt == grant.attempt && task.lease.is_some())
        };
        if !stands {
            return Ok(false);
        }
        let task = worker::Task {
            id: name(number, grant.attempt),
            package: self.input(number, &grant.task.package).await?,
            memory: grant.task.spec.limits.memory.0,
        };
        grant.worker.execute(task).await?;
        Ok(true)
    }

    /// Takes back what is with workers that are gone, and sees to those that work.
    async fn look_after(&self) {
        let now = UnixMillis::now();
        let lapsed = self.inner.desk.book().lapse(now);
        for (number, worker, again) in lapsed {
            tracing::warn!(job = number, worker, "a worker is gone");
            let message = format!("the worker {worker:?} was lost with it");
            if !again {
                self.end_task(number, JobState::Failed, &message).await;
                continue;
            }
            self.note(number).await;
            if let Some(live) = self.inner.table.get(number) {
                live.change(|view| back(view, format!("{message}; {WAITS}")));
            }
        }
        let given = self.inner.desk.book().given();
        for (number, task) in given {
            self.see_to(number, &task, now).await;
        }
    }

    /// Sees to a task that a worker has: its time, its pay, its stop.
    async fn see_to(&self, number: i64, task: &Task, now: UnixMillis) {
        let Some(lease) = &task.lease else { return };
        let passed = |then: UnixMillis| Duration::from_millis(now.0.saturating_sub(then.0));
        if let Some(stopping) = &lease.stopping {
            if passed(stopping.since) > STOPPING {
                self.end_task(number, stopping.state, &stopping.message)
                    .await;
            }
            return;
        }
        let wall = task.spec.limits.wall;
        if passed(lease.given) > Duration::from_millis(wall.0) {
            let message = format!("it took longer than the {wall} that it may");
            self.stop_task(number, JobState::Failed, &message).await;
        } else if passed(lease.given).saturating_sub(lease.paid) >= MINUTE
            && let Err(failure) = self.pay(number, task, now, false).await
        {
            if failure.code == ErrorCode::Precondition {
                let message = "your balance is used up";
                self.stop_task(number, JobState::Cancelled, message).await;
            } else {
                tracing::warn!(job = number, %failure, "a worker was not paid yet");
            }
        }
    }

    /// Ends a task that waits or is with a worker, as its owner wishes. Says no where it
    /// is neither.
    pub(crate) async fn cancel_task(&self, number: i64) -> bool {
        let message = "stopped by its owner";
        let with = {
            let book = self.inner.desk.book();
            book.task(number).map(|task| task.lease.is_some())
        };
        match with {
            None => false,
            Some(true) => {
                self.stop_task(number, JobState::Cancelled, message).await;
                true
            }
            Some(false) => self.end_task(number, JobState::Cancelled, message).await,
        }
    }

    /// Has a worker stop a task. It ends when the worker says so, with what it has made
    /// until then, or after [`STOPPING`].
    async fn stop_task(&self, number: i64, state: JobState, message: &str) {
        let (attempt, worker) = {
            let mut book = self.inner.desk.book();
            let attempt = book.stop(number, UnixMillis::now(), state, message);
            (attempt, book.worker_of(number))
        };
        self.note(number).await;
        if let (Some(attempt), Some(worker)) = (attempt, worker) {
            self.tell_to_stop(number, attempt, worker);
        }
    }

    fn tell_to_stop(&self, number: i64, attempt: u32, worker: Worker) {
        self.go_on_with(async move {
            if let Err(failure) = worker.stop(&name(number, attempt)).await {
                tracing::warn!(job = number, %failure, "a worker was not told to stop a task");
            }
        });
    }

    /// Writes down how a task stands.
    async fn note(&self, number: i64) {
        let task = self.inner.desk.book().task(number).cloned();
        if let Some(task) = task
            && let Err(error) = self.inner.store.keep_task(number, &task).await
        {
            tracing::error!(job = number, %error, "how a task stands could not be noted");
        }
    }

    /// Ends a task, whoever asked for that goes away meanwhile.
    /// Says no where the gateway stops before that is written down.
    pub(super) async fn end_task(&self, number: i64, state: JobState, message: &str) -> bool {
        let (gateway, message) = (self.clone(), message.to_owned());
        self.see_out(async move { gateway.finish(number, state, message).await })
            .await
            .is_some()
    }

    async fn finish(&self, number: i64, state: JobState, message: String) {
        let Some(task) = self.inner.desk.book().close(number) else {
            return;
        };
        let Some(live) = self.inner.table.get(number) else {
            return;
        };
        let now = UnixMillis::now();
        if let Err(failure) = self.pay(number, &task, now, true).await {
            tracing::warn!(job = number, %failure, "the end of a worker's time was not paid");
        }
        let worker = task.lease.as_ref().map(|lease| lease.worker.clone());
        let stopping = task.lease.and_then(|lease| lease.stopping);
        let (state, message) = match stopping {
            Some(stopping) => (stopping.state, stopping.message),
            None => (state, message),
        };
        let ended = Ended {
            at: now,
            started_at: live.view().started_at,
            progress: if state == JobState::Succeeded {
                1.0
            } else {
                0.0
            },
            pass: (0, 0),
            metrics: BTreeMap::new(),
            message,
            artifacts: task.result.into_iter().collect(),
            receipt: Vec::new(),
            node: None,
            worker,
        };
        self.conclude(number, state, ended, &live).await;
        if let Err(error) = self.inner.store.drop_task(number).await {
            tracing::warn!(job = number, %error, "the row of a task that has ended stays");
        }
    }
}

/// What a task looks like that a worker has.
fn runs(view: &mut JobView, worker: &str, since: UnixMillis) {
    if view.state.is_final() {
        return;
    }
    view.state = JobState::Running;
    view.node = Some(worker.to_owned());
    view.started_at = Some(since);
    view.message.clear();
}

/// What a task looks like that waits again.
fn back(view: &mut JobView, message: String) {
    if view.state.is_final() {
        return;
    }
    view.state = JobState::Queued;
    view.node = None;
    view.started_at = None;
    view.message = message;
}
