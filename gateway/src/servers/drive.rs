//! Gives jobs to servers, takes them back, and ends them.

use std::{collections::BTreeMap, sync::Arc};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    cyxwiz::server::Job,
    port::{jobs::JobView, servers::Served},
};
use embermesh_job::{lifecycle::JobState, spec::JobSpec};

use super::{
    book::{Grant, Task},
    rows::ServedRow,
    token,
    verbs::{WAITS, pays},
};
use crate::{
    Gateway, StoreError,
    failure::store_failed,
    jobs::{Live, finite},
    store::{Ended, Kept},
};

/// How many waiting jobs are looked at each time, the oldest.
const MOST_AT_ONCE: usize = 256;

impl Gateway {
    /// Takes up the servers that are kept, and says which jobs wait for servers or are
    /// with one, by their numbers.
    pub(crate) async fn remember_servers(&self) -> Result<BTreeMap<i64, ServedRow>, StoreError> {
        let store = &self.inner.store;
        store.forget_servers(UnixMillis::now()).await?;
        let (servers, names) = (store.servers().await?, store.names().await?);
        let rows = store.served().await?;
        let mut book = self.inner.rack.book();
        for (id, known) in servers {
            if let Err(failure) = book.enroll(id, known) {
                tracing::warn!(%failure, "a server is forgotten");
            }
        }
        for (name, given) in names {
            book.remember(name, given);
        }
        Ok(rows.into_iter().map(|row| (row.number, row)).collect())
    }

    /// Forgets the rows of jobs that have ended.
    pub(crate) async fn sweep_served(
        &self,
        rows: BTreeMap<i64, ServedRow>,
    ) -> Result<(), StoreError> {
        for number in rows.into_keys() {
            self.inner.store.drop_served(number).await?;
        }
        Ok(())
    }

    /// Goes on with a job that was kept.
    pub(crate) async fn take_back_served(
        &self,
        kept: &Kept,
        row: ServedRow,
        live: &Live,
    ) -> Result<(), StoreError> {
        let spec = JobSpec::from_canonical(&kept.spec)
            .map_err(|error| StoreError::Row(error.to_string()))?;
        self.hear_reported(kept.number, live).await?;
        match &row.lease {
            Some(lease) => live.change(|view| is_with(view, &lease.server)),
            None => live.change(|view| WAITS.clone_into(&mut view.message)),
        }
        let task = Task {
            owner: kept.owner.clone(),
            id: kept.id.clone().unwrap_or_default(),
            spec: Arc::new(spec),
            package: row.package,
            budget: row.budget,
            hold: row.hold,
            key: row.key,
            attempt: row.attempt,
            lost: row.lost,
            lease: row.lease,
        };
        let mut book = self.inner.rack.book();
        book.add(kept.number, task, UnixMillis::now());
        Ok(())
    }

    /// Drives servers until the gateway stops.
    pub(crate) fn drive_servers(&self) {
        self.look_often(
            |gateway| &gateway.inner.rack.wake,
            |gateway| async move {
                gateway.hand_out_served().await;
                gateway.look_after_served().await;
            },
        );
    }

    /// Gives what waits to the mesh or to servers.
    async fn hand_out_served(&self) {
        let mut waiting = self.inner.rack.book().waiting();
        waiting.truncate(MOST_AT_ONCE);
        if waiting.is_empty() {
            return;
        }
        let nodes = self.nodes_that_could().await;
        for number in waiting {
            let task = self.inner.rack.book().task(number).cloned();
            let Some(task) = task else { continue };
            if self.takes(&task.spec, &task.owner, pays(task.budget), &nodes) {
                self.served_to_mesh(number, &task).await;
                continue;
            }
            let price = self.inner.rack.price;
            let granted = self
                .inner
                .rack
                .book()
                .grant(number, price, UnixMillis::now());
            if let Some(grant) = granted {
                let gateway = self.clone();
                self.go_on_with(async move { gateway.serve(number, grant).await });
            }
        }
    }

    /// Brings a job to the mesh, where it stays.
    async fn served_to_mesh(&self, number: i64, task: &Task) {
        let Some(live) = self.inner.table.get(number) else {
            return;
        };
        let kept = match self.inner.store.find(&task.owner, &task.id).await {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(job = number, %error, "the gateway's store failed");
                return;
            }
        };
        // The index sets the same aside.
        if let Err(failure) = self.give_back(task).await {
            tracing::warn!(job = number, %failure, "a job does not go to the mesh yet");
            return;
        }
        // First it is no server's any more: it must not be run twice.
        if let Err(error) = self.inner.store.drop_served(number).await {
            tracing::error!(job = number, %error, "the gateway's store failed");
            return;
        }
        if self.inner.rack.book().close(number).is_none() {
            return;
        }
        live.change(|view| view.message.clear());
        self.bring_to_mesh(kept, live);
    }

    /// Gives a job to the server that it was granted to.
    async fn serve(&self, number: i64, grant: Grant) {
        let Some(live) = self.inner.table.get(number) else {
            return;
        };
        let given = self.send_served(number, &grant).await;
        let now = UnixMillis::now();
        match given {
            Ok(true) => {
                if self.inner.rack.book().took(number, grant.attempt, now) {
                    live.change(|view| is_with(view, &grant.lease.server));
                    self.note_served(number).await;
                }
            }
            Ok(false) => {}
            Err(failure) => {
                let server = &grant.lease.server;
                tracing::warn!(job = number, server, %failure, "a job was not taken");
                let said_no = failure.code == ErrorCode::Precondition;
                let waits = {
                    let mut book = self.inner.rack.book();
                    book.refused(number, grant.attempt, said_no, now)
                };
                if waits {
                    live.change(|view| back(view, format!("{}; {WAITS}", failure.message)));
                    self.note_served(number).await;
                }
            }
        }
    }

    /// Sends a job; says no where it is not that server's any more.
    async fn send_served(&self, number: i64, grant: &Grant) -> Result<bool, Failure> {
        let store = &self.inner.store;
        let mut task = grant.task.clone();
        match self.hold_for(&task).await {
            Ok(held) => task.hold = held,
            Err(failure) if failure.code == ErrorCode::Precondition => {
                self.end_served(number, Served::failed(failure.message))
                    .await;
                return Ok(false);
            }
            Err(failure) => return Err(failure),
        }
        if let Some(hold) = task.hold.clone() {
            self.inner.rack.book().held(number, hold);
        }
        let kept = store.keep_name(&grant.lease, number).await;
        kept.map_err(|error| store_failed(&error))?;
        self.keep_served(number, &task).await?;
        let _turn = self.inner.rack.giving.acquire().await.map_err(|_| {
            let message = "the gateway stops";
            Failure::new(ErrorCode::Unavailable, message)
        })?;
        let stands = {
            let book = self.inner.rack.book();
            let task = book.task(number);
            task.is_some_and(|task| task.attempt == grant.attempt && task.lease.is_some())
        };
        if !stands {
            return Ok(false);
        }
        let data = match &task.package.data {
            None => None,
            Some(digest) => Some(self.input(number, &digest.to_string()).await?),
        };
        let (server, name) = (&grant.lease.server, &grant.lease.name);
        let key = self.inner.clients.server_key(server);
        let issued = token::issue(&key, &task.owner.name, server, name, UnixMillis::now());
        let (token, _) = issued.map_err(|error| store_failed(&error))?;
        let job = Job {
            name: name.clone(),
            token,
            config: task.package.config.clone(),
            data,
        };
        grant.server.assign(job).await?;
        Ok(true)
    }

    /// Takes back what is with servers that are gone, and ends what takes too long.
    async fn look_after_served(&self) {
        let now = UnixMillis::now();
        let lapsed = self.inner.rack.book().lapse(now);
        for lost in lapsed {
            let (number, server) = (lost.number, lost.server);
            tracing::warn!(job = number, server, "a server is gone");
            let message = format!("the server {server:?} was lost with it");
            if !lost.again {
                self.end_served(number, Served::failed(message)).await;
                continue;
            }
            self.note_served(number).await;
            if let Some(live) = self.inner.table.get(number) {
                live.change(|view| back(view, format!("{message}; {WAITS}")));
            }
        }
        let given = self.inner.rack.book().given();
        for (number, task) in given {
            let wall = task.spec.limits.wall;
            let taken = task.lease.as_ref().and_then(|lease| lease.taken);
            if taken.is_some_and(|taken| now.0.saturating_sub(taken.0) > wall.0) {
                let message = format!("it took longer than the {wall} that it may");
                self.end_served(number, Served::failed(message)).await;
            }
        }
    }

    /// Ends a job that waits or is with a server, as its owner wishes. Says no where it is
    /// neither.
    pub(crate) async fn cancel_served(&self, number: i64) -> bool {
        if self.inner.rack.book().task(number).is_none() {
            return false;
        }
        let message = "stopped by its owner".to_owned();
        let how = Served {
            state: JobState::Cancelled,
            message,
            ..Served::failed(String::new())
        };
        self.end_served(number, how).await
    }

    /// Writes down how a job stands.
    async fn note_served(&self, number: i64) {
        let task = self.inner.rack.book().task(number).cloned();
        if let Some(task) = task
            && let Err(failure) = self.keep_served(number, &task).await
        {
            tracing::error!(job = number, %failure, "how a job stands could not be noted");
        }
    }

    /// Ends a job by nobody's word but this gateway's or its owner's. Says no where the
    /// gateway stops before that is written down.
    async fn end_served(&self, number: i64, how: Served) -> bool {
        self.end_served_by(number, how, false).await.is_some()
    }

    /// Ends a job, whoever asked for that goes away meanwhile. Gives the transaction by
    /// which its server was paid, if it was; nothing where the gateway stops before the
    /// end is written down.
    pub(super) async fn end_served_by(
        &self,
        number: i64,
        how: Served,
        by_server: bool,
    ) -> Option<Option<String>> {
        let gateway = self.clone();
        self.see_out(async move { gateway.finish_served(number, how, by_server).await })
            .await
    }

    async fn finish_served(&self, number: i64, how: Served, by_server: bool) -> Option<String> {
        let now = UnixMillis::now();
        let task = {
            let mut book = self.inner.rack.book();
            let task = book.close(number)?;
            if let Some(lease) = &task.lease {
                book.stop(lease, now);
            }
            task
        };
        let live = self.inner.table.get(number)?;
        let paid = self.settle_served(&task, how.state, now).await;
        if let Some(lease) = task.lease.as_ref().filter(|_| by_server) {
            self.inner.rack.book().ended(lease, paid.clone());
            let noted = self.inner.store.end_name(lease, paid.as_deref()).await;
            if let Err(error) = noted {
                tracing::warn!(job = number, %error, "the end of an attempt is not noted");
            }
        }
        let view = live.view();
        let mut metrics = view.metrics;
        metrics.extend(how.metrics);
        let ended = Ended {
            at: now,
            started_at: view.started_at,
            progress: if how.state == JobState::Succeeded {
                1.0
            } else {
                view.progress
            },
            pass: view.pass,
            metrics: finite(metrics),
            message: how.message,
            artifacts: Vec::new(),
            receipt: Vec::new(),
            node: None,
            worker: task.lease.map(|lease| lease.server),
        };
        self.conclude(number, how.state, ended, &live).await;
        if let Err(error) = self.inner.store.drop_served(number).await {
            tracing::warn!(job = number, %error, "the row of a job that has ended stays");
        }
        paid
    }
}

/// What a job looks like that a server has taken.
fn is_with(view: &mut JobView, server: &str) {
    if view.state.is_final() || view.state == JobState::Running {
        return;
    }
    view.state = JobState::Assigned;
    view.node = Some(server.to_owned());
    view.message.clear();
}

/// What a job looks like that waits again.
fn back(view: &mut JobView, message: String) {
    if view.state.is_final() {
        return;
    }
    view.state = JobState::Queued;
    view.node = None;
    view.started_at = None;
    view.progress = 0.0;
    view.pass = (0, 0);
    view.metrics.clear();
    view.message = message;
}
