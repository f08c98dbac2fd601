//! Follows a job until it has ended, fetches what it made, and writes down how it ended.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_client::{
    Client, Ended as Over, Follow, IdempotencyKey, Sources, Start, Update, fetch::Download,
};
use embermesh_crypto::{UnixMillis, ids::JobId};
use embermesh_dialects::Failure;
use embermesh_job::{event::Artifact, lifecycle::JobState, spec::JobSpec};

use super::{
    live::{Live, ended_as},
    pay::budget,
    view,
};
use crate::{
    Gateway, StoreError,
    accounts::refused,
    failure::{failure, store_failed},
    store::{Ended, Kept},
};

/// How long to wait before a job is taken up again whose follower gave up, or whose end
/// could not be written.
const AGAIN: Duration = Duration::from_secs(5);

impl Gateway {
    /// Goes on with every job that was open when the gateway stopped.
    pub(crate) async fn go_on(&self) -> Result<(), StoreError> {
        let mut with_workers = self.remember_workers().await?;
        let mut with_servers = self.remember_servers().await?;
        for kept in self.inner.store.open_jobs().await? {
            let number = kept.number;
            let live = Arc::new(Live::new(view(kept.clone())));
            self.inner.table.insert(number, Arc::clone(&live));
            if let Some(row) = with_workers.remove(&number) {
                self.take_back(&kept, row, &live).await?;
                continue;
            }
            if let Some(row) = with_servers.remove(&number) {
                self.take_back_served(&kept, row, &live).await?;
                continue;
            }
            self.bring_to_mesh(kept, live);
        }
        self.sweep_tasks(with_workers).await?;
        self.sweep_served(with_servers).await?;
        Ok(())
    }

    /// Takes up a job after a restart: submits it again under the same key, which gives
    /// the same job, and follows it from its first word.
    pub(crate) async fn take_up(&self, kept: Kept, live: Arc<Live>) {
        loop {
            match self.place(&kept).await {
                Ok((client, job, follow)) => {
                    live.change(|view| {
                        if view.id.is_empty() {
                            view.id = job.to_string();
                        }
                    });
                    self.follow(kept.number, &client, follow, &live).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(job = kept.number, %error, "an open job cannot be taken up yet");
                    live.change(|view| view.message.clone_from(&error.message));
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Brings a kept job to the index, if it is not there, and begins to follow it.
    pub(super) async fn place(&self, kept: &Kept) -> Result<(Client, JobId, Follow), Failure> {
        let client = self.inner.clients.of(&kept.owner).await?;
        let sources = self.sources(kept.number).await?;
        if let Some(job) = kept.job {
            let start = Start {
                spec: Some(Bytes::from(kept.spec.clone())),
                sources,
                ..Start::default()
            };
            let follow = client.follow(job, start);
            return Ok((client, job, follow));
        }
        let spec = JobSpec::from_canonical(&kept.spec)
            .map_err(|error| Failure::invalid(error.to_string()))?;
        let key = IdempotencyKey::from_bytes(kept.submit_key);
        let (submitted, follow) = client
            .run_for(&spec, sources, Vec::new(), key, budget(kept))
            .await
            .map_err(|error| refused(&error))?;
        let job = submitted.job.id;
        let id = kept.id.clone().unwrap_or_else(|| job.to_string());
        self.inner
            .store
            .taken(kept.number, job, &id)
            .await
            .map_err(|error| store_failed(&error))?;
        Ok((client, job, follow))
    }

    async fn sources(&self, number: i64) -> Result<Sources, Failure> {
        let folders = self.inner.folders.clone();
        let read = move || {
            let mut sources = Sources::default();
            for path in folders
                .inputs(number)
                .map_err(|error| store_failed(&error))?
            {
                sources.add_file(&path).map_err(|error| failure(&error))?;
            }
            Ok(sources)
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| store_failed(&error))?
    }

    /// Follows a job until it has ended.
    pub(super) async fn follow(
        &self,
        number: i64,
        client: &Client,
        mut follow: Follow,
        live: &Live,
    ) {
        loop {
            let assignment = follow.assignment();
            match follow.next().await {
                Some(Ok(Update::Ended(over))) => {
                    return self.end(number, client, *over, live).await;
                }
                Some(Ok(update)) => {
                    let stands = matches!(update, Update::Assigned { .. });
                    live.hear(update);
                    if stands {
                        live.change(|view| view.assignment = follow.assignment().or(assignment));
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(job = number, %error, "a job is followed anew");
                    live.change(|view| view.message = error.to_string());
                }
                None => {
                    tokio::time::sleep(AGAIN).await;
                    let id = live.view().id;
                    match self.again(number, &id, live).await {
                        Some(anew) => follow = anew,
                        None => return,
                    }
                }
            }
        }
    }

    /// A new follower of a job that is still open.
    async fn again(&self, number: i64, id: &str, live: &Live) -> Option<Follow> {
        loop {
            let who = live.view().owner;
            match self.inner.store.find(&who, id).await {
                Ok(Some(kept)) if kept.number == number && kept.ended.is_none() => {
                    match self.place(&kept).await {
                        Ok((_, _, follow)) => return Some(follow),
                        Err(error) => tracing::warn!(job = number, %error, "a job is out of reach"),
                    }
                }
                Ok(_) => return None,
                Err(error) => tracing::error!(job = number, %error, "the gateway's store failed"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// A job has ended: what it made comes here, and then it is said.
    async fn end(&self, number: i64, client: &Client, over: Over, live: &Live) {
        let state = ended_as(over.outcome);
        if let Some(node) = &over.node {
            for artifact in &over.artifacts {
                let download = Download::artifact(artifact, node);
                if let Err(error) = self.fetch(number, client, artifact, &download).await {
                    // It is asked for again when somebody wants it.
                    tracing::warn!(job = number, artifact = artifact.name, %error, "a result was not fetched");
                }
            }
        }
        let view = live.view();
        let ended = Ended {
            at: UnixMillis::now(),
            started_at: view.started_at,
            progress: if state == JobState::Succeeded {
                1.0
            } else {
                view.progress
            },
            pass: view.pass,
            metrics: finite(view.metrics),
            message: if over.message.is_empty() && state != JobState::Succeeded {
                view.message
            } else {
                over.message
            },
            artifacts: over.artifacts,
            receipt: over.receipt,
            node: over.node,
            worker: None,
        };
        self.conclude(number, state, ended, live).await;
    }

    /// Writes down how a job has ended, and then says it.
    pub(crate) async fn conclude(&self, number: i64, state: JobState, ended: Ended, live: &Live) {
        self.write_end(number, state, &ended, live).await;
        live.change(|view| {
            view.state = state;
            view.progress = ended.progress;
            view.ended_at = Some(ended.at);
            view.message = ended.message;
            view.artifacts = ended.artifacts;
            view.receipt = (!ended.receipt.is_empty()).then(|| ended.receipt.into());
            view.assignment = None;
        });
        self.inner.table.remove(number);
    }

    /// Writes an end down, however long the disk refuses: what was not written did not
    /// happen, and after a restart the job would be followed again.
    async fn write_end(&self, number: i64, state: JobState, ended: &Ended, live: &Live) {
        loop {
            let log = live.log();
            let folders = self.inner.folders.clone();
            let files = tokio::task::spawn_blocking(move || folders.end(number, log)).await;
            let files = files.map_err(std::io::Error::other).flatten();
            let written = match files {
                Ok(()) => self.inner.store.end(number, state, ended).await,
                Err(error) => Err(error.into()),
            };
            match written {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(job = number, %error, "the end of a job cannot be written");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Brings a result here, verified.
    pub(super) async fn fetch(
        &self,
        number: i64,
        client: &Client,
        artifact: &Artifact,
        download: &Download,
    ) -> Result<(), Failure> {
        self.inner
            .folders
            .prepare_results(number)
            .map_err(|error| store_failed(&error))?;
        let path = self.inner.folders.result(number, &artifact.digest);
        client
            .fetch(download, &path, None, &self.inner.cancel)
            .await
            .map_err(|error| failure(&error))?;
        Ok(())
    }
}

/// Measures that JSON has a form for.
pub(crate) fn finite(
    metrics: std::collections::BTreeMap<String, f64>,
) -> std::collections::BTreeMap<String, f64> {
    metrics
        .into_iter()
        .filter(|(_, value)| value.is_finite())
        .collect()
}
