//! Operations over tensors, as tasks of their own that end with the call that asked for
//! them.

use std::{io::Read as _, sync::Arc};

use bytes::Bytes;
use embermesh_crypto::{ids::JobId, token::TaskRef};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Call,
        computing::{Computed, Computing},
        execution::Order,
    },
};
use embermesh_job::event::{Artifact, EventKind, Notice, Outcome, RunUpdate};

use super::{Foreign, failure, permit::Permit};
use crate::{
    joined::joined,
    site::Site,
    task::{Found, StopWhy, TaskHandle, Tasks},
};

/// The most bytes of results that are given in one answer.
const MAX_RESULTS: u64 = 96 << 20;

#[tonic::async_trait]
impl Computing for Foreign {
    fn may_compute(&self, call: &Call) -> Result<(), Failure> {
        self.starter(call).map(|_| ())
    }

    async fn compute(&self, call: &Call, order: Order) -> Result<Computed, Failure> {
        let parts = &self.inner.parts;
        let passed = self.leave(self.starter(call)?, &order.spec)?;
        let claims = passed.assignment.claims();
        let task = TaskRef {
            job: claims.job,
            task: claims.task,
        };
        let stream = None;
        self.begin(Permit { passed, stream }, order).await?;
        let found = parts.tasks.find_now(task).await;
        let found = found
            .map_err(|error| failure::store(&error))?
            .ok_or_else(|| broken(task.job))?;
        let mut leaving = Leaving {
            site: &parts.site,
            handle: found.running.clone(),
        };
        let computed = self.ended(&found).await?;
        // It has ended, and the next operation finds its slot free.
        leaving.handle = None;
        gone(&parts.tasks, &parts.site, task).await;
        Ok(computed)
    }
}

/// Ends a task whose caller has gone away.
struct Leaving<'a> {
    site: &'a Arc<Site>,
    handle: Option<TaskHandle>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let stopping = async move { handle.stop(StopWhy::Cancelled).await };
            self.site.tracker.spawn(stopping);
        }
    }
}

impl Foreign {
    /// What a computation comes to.
    async fn ended(&self, found: &Found) -> Result<Computed, Failure> {
        let mut follow = found.log.follow(0, &self.inner.parts.cancel);
        let (mut began, mut made) = (None, None);
        while let Some(update) = Box::pin(follow.next()).await {
            let event = match update.map_err(|error| failure::store(&error))? {
                RunUpdate::Event(event) => event,
                RunUpdate::Notice(Notice::AttemptEnded { code, message }) => {
                    let message = format!("{code}: {message}");
                    return Err(Failure::new(ErrorCode::Unavailable, message));
                }
                RunUpdate::Notice(_) => continue,
            };
            match event.kind {
                EventKind::Started { .. } => began = Some(event.at),
                EventKind::Artifact(artifact) => made = Some(artifact),
                EventKind::Finished {
                    outcome: Outcome::Succeeded,
                    ..
                } => {
                    let made = made.ok_or_else(|| broken(found.key.job))?;
                    let began = began.unwrap_or(event.at);
                    return Ok(Computed {
                        results: results(&self.inner.parts.site, made).await?,
                        took_ms: event.at.0.saturating_sub(began.0),
                    });
                }
                EventKind::Finished { message, .. } => return Err(Failure::invalid(message)),
                _ => {}
            }
        }
        Err(broken(found.key.job))
    }
}

fn broken(job: JobId) -> Failure {
    let message = format!("the computation {job} broke off: the node stops");
    Failure::new(ErrorCode::Unavailable, message)
}

/// The bytes of what a computation has made.
async fn results(site: &Site, made: Artifact) -> Result<Bytes, Failure> {
    if made.size > MAX_RESULTS {
        let message = format!("the results have more than {MAX_RESULTS} bytes");
        return Err(Failure::invalid(message));
    }
    let held = site.blobs.hold(&made.digest);
    let held = held.map_err(|error| Failure::new(ErrorCode::Unavailable, error.to_string()))?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(held.path())?;
        file.take(made.size).read_to_end(&mut bytes)?;
        drop(held);
        Ok::<_, std::io::Error>(bytes)
    });
    let read = joined(reading).await;
    read.map(Bytes::from).map_err(|error| {
        tracing::warn!(digest = %made.digest, %error, "results could not be read");
        Failure::new(ErrorCode::Internal, "the results could not be read")
    })
}

/// Waits until nothing of a task is left, its slot included.
async fn gone(tasks: &Tasks, site: &Site, task: TaskRef) {
    let mut changes = site.changed.subscribe();
    while tasks.find_running(task).is_some() {
        if changes.changed().await.is_err() {
            return;
        }
    }
}
