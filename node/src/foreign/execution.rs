//! Tasks, for whoever has their assignment.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use embermesh_compute::pipe::Adjustment;
use embermesh_crypto::{
    digest::Digest,
    ids::{JobId, PeerId},
    token::{Method, Refusal},
};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Call, Line,
        execution::{Execution, Feed, Followed, MAX_READ, Opened, Order, Steer, TaskView},
    },
};
use embermesh_job::event::Artifact;
use futures::stream;
use tokio::time::timeout;

use super::{Foreign, failure, feed::NodeFeed, permit::Permit, view};
use crate::{
    gate::Passed,
    joined::joined,
    service::tasks,
    task::{NotStarted, StopWhy, TaskHandle, TaskOrder, Told},
};

/// How long a task that was told to end with what it has may take for that, before its
/// caller is told that it goes on ending.
const FINISH_WAIT: Duration = Duration::from_secs(30);

#[tonic::async_trait]
impl Execution for Foreign {
    async fn open(&self, call: &Call) -> Result<Opened, Failure> {
        if call.token.is_none() {
            let message = "the token of the job's assignment is missing";
            return Err(Failure::new(ErrorCode::Unauthenticated, message));
        }
        let Permit { passed, .. } = self.shown(call, Method::Attach)?;
        let claims = passed.assignment.claims().clone();
        let name = if call.job.is_empty() {
            claims.job.to_string()
        } else {
            call.job.clone()
        };
        self.admit(call.line, &name, passed)?;
        let site = &self.inner.parts.site;
        let devices = site.slots.devices_now();
        let works = devices
            .into_iter()
            .map(|device| device.advert)
            .filter(|advert| advert.fault.is_none());
        Ok(Opened {
            node: site.me().to_string(),
            job: claims.job,
            spec: claims.spec,
            devices: works.collect(),
            memory: site.slots.occupancy().borrow().memory,
        })
    }

    fn allowed(&self, call: &Call) -> Result<(JobId, Digest), Failure> {
        let permit = self.permit(call, Method::Run)?;
        let claims = permit.claims();
        Ok((claims.job, claims.spec))
    }

    fn may_start(&self, call: &Call) -> Result<(), Failure> {
        self.starter(call).map(|_| ())
    }

    fn close(&self, line: &Line) -> usize {
        self.inner.sessions.close(line)
    }

    async fn start(&self, call: &Call, order: Order) -> Result<TaskView, Failure> {
        let permit = self.permit(call, Method::Run)?;
        if order.spec.digest() != permit.claims().spec {
            return Err(failure::token(&Refusal::WrongJob));
        }
        self.begin(permit, order).await
    }

    async fn start_own(&self, call: &Call, name: &str, order: Order) -> Result<TaskView, Failure> {
        let passed = self.leave(self.starter(call)?, &order.spec)?;
        self.admit(call.line, name, passed.clone())?;
        let stream = None;
        self.begin(Permit { passed, stream }, order).await
    }

    async fn task(&self, call: &Call) -> Result<TaskView, Failure> {
        let permit = self.permit(call, Method::Attach)?;
        let found = self.found(&permit).await?;
        view::of(&self.inner.parts.site, &found).await
    }

    async fn follow(&self, call: &Call) -> Result<Followed, Failure> {
        let permit = self.permit(call, Method::Attach)?;
        let place = Arc::clone(&self.inner.streams)
            .try_acquire_owned()
            .map_err(|_| {
                let message = "this node streams to as many foreign clients as it can: try again";
                Failure::new(ErrorCode::Exhausted, message)
            })?;
        let found = self.found(&permit).await?;
        let feeds = permit.claims().methods.contains(Method::PutBlob);
        let exchange = found.running.as_ref().and_then(TaskHandle::exchange);
        let feed = exchange.filter(|_| feeds).map(|exchange| {
            let feed: Box<dyn Feed> = Box::new(NodeFeed::new(exchange));
            (exchange.said().clone(), feed)
        });
        let follow = found.log.follow(0, &self.inner.parts.cancel);
        let held = (follow, place, permit.stream);
        let updates = stream::unfold(held, |(mut follow, place, stream)| async move {
            let update = Box::pin(follow.next()).await?;
            let update = update.map_err(|error| failure::store(&error));
            Some((update, (follow, place, stream)))
        });
        Ok(Followed {
            job: found.key.job,
            updates: Box::pin(updates),
            feed,
        })
    }

    async fn steer(&self, call: &Call, word: Steer) -> Result<TaskView, Failure> {
        let method = match word {
            Steer::Pause => Method::Pause,
            Steer::Resume | Steer::Checkpoint | Steer::Adjust { .. } => Method::Resume,
            Steer::Cancel | Steer::Finish => Method::Cancel,
        };
        let permit = self.permit(call, method)?;
        let found = self.found(&permit).await?;
        let Some(handle) = &found.running else {
            let message = "the task has ended";
            return Err(Failure::new(ErrorCode::Precondition, message));
        };
        obey(handle, word).await?;
        view::of(&self.inner.parts.site, &self.found(&permit).await?).await
    }

    async fn read(
        &self,
        call: &Call,
        artifact: &Artifact,
        range: Range<u64>,
    ) -> Result<Bytes, Failure> {
        let permit = self.permit(call, Method::FetchBlob)?;
        let found = self.found(&permit).await?;
        let view = view::of(&self.inner.parts.site, &found).await?;
        if !view.artifacts.contains(artifact) {
            let message = "the task has made no such artifact";
            return Err(Failure::not_found(message));
        }
        let held = self.inner.parts.site.blobs.hold(&artifact.digest);
        let held = held.map_err(|error| Failure::not_found(error.to_string()))?;
        let end = range.end.min(artifact.size);
        let length = end.saturating_sub(range.start).min(MAX_READ);
        let from = range.start;
        let reading = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::open(held.path())?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact(&mut bytes)?;
            drop(held);
            Ok::<_, std::io::Error>(bytes)
        });
        match joined(reading).await {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => {
                tracing::warn!(digest = %artifact.digest, %error, "an artifact could not be read");
                let message = "the artifact could not be read to its end";
                Err(Failure::new(ErrorCode::Internal, message))
            }
        }
    }
}

impl Foreign {
    /// The client who starts a job of his own, if the owner lets him.
    pub(super) fn starter(&self, call: &Call) -> Result<PeerId, Failure> {
        let client = match (self.comer(&call.line)?, &call.token) {
            (Some(key), None) => key,
            (_, Some(_)) => self.shown(call, Method::Run)?.claims().client,
            (None, None) => {
                let newest = Call {
                    job: String::new(),
                    ..call.clone()
                };
                self.permit(&newest, Method::Run)?.claims().client
            }
        };
        self.lets(client).map(|()| client)
    }

    /// Remembers that a line may speak of a job.
    fn admit(&self, line: Line, name: &str, passed: Passed) -> Result<(), Failure> {
        self.inner
            .sessions
            .open(line, name, passed)
            .map_err(|many| Failure::new(ErrorCode::Exhausted, many.to_string()))
    }

    /// Starts what a permit is for, and brings the inputs that came with the call.
    pub(super) async fn begin(&self, permit: Permit, order: Order) -> Result<TaskView, Failure> {
        let site = &self.inner.parts.site;
        let Order { spec, inputs } = order;
        spec.validate()
            .map_err(|error| Failure::invalid(error.to_string()))?;
        let wanted: Vec<_> = spec
            .inputs()
            .into_iter()
            .map(|input| input.digest)
            .collect();
        if inputs.keys().any(|digest| !wanted.contains(digest)) {
            let message = "the data that came with the call is not the job's";
            return Err(Failure::invalid(message));
        }
        let task = TaskOrder {
            assignment: permit.passed.assignment.clone(),
            reports_to: permit.passed.reports_to,
            rank: permit.passed.rank,
            // Canonical JSON is text.
            canonical: String::from_utf8_lossy(&spec.canonical()).into_owned(),
            spec,
            resume: None,
            inputs: Vec::new(),
        };
        match Box::pin(self.inner.parts.tasks.start(task)).await {
            // It runs already: whoever asks again finds it.
            Ok(_) | Err(NotStarted::Refused(Refusal::Replayed)) => {}
            Err(not) => return Err(failure::not_started(&not)),
        }
        for bytes in inputs.into_values() {
            let stored = site.blobs.import_bytes(bytes).await;
            stored.map_err(|error| {
                let code = if error.is_full() {
                    ErrorCode::Exhausted
                } else {
                    ErrorCode::Unavailable
                };
                Failure::new(code, error.to_string())
            })?;
            site.blob_brought();
        }
        view::of(site, &self.found(&permit).await?).await
    }
}

/// Says a word to a running task.
async fn obey(handle: &TaskHandle, word: Steer) -> Result<(), Failure> {
    match word {
        Steer::Pause => {
            handle.pause(true).await;
        }
        Steer::Resume => {
            handle.pause(false).await;
        }
        Steer::Cancel => handle.stop(StopWhy::Cancelled).await,
        Steer::Finish => {
            tasks::finish(handle).await.map_err(failure::status)?;
            // A long step is not the caller's to wait for.
            let _ = timeout(FINISH_WAIT, handle.ended()).await;
        }
        // Whatever is changed, nothing included, is saved at once.
        Steer::Checkpoint => {
            tasks::trains(handle).map_err(|_| {
                let message = "only a training makes checkpoints when it is asked to";
                Failure::new(ErrorCode::Precondition, message)
            })?;
            handle.tell(Told::Adjust(Adjustment::default())).await;
        }
        Steer::Adjust {
            learning_rate,
            weight_decay,
        } => {
            let asked = Adjustment {
                learning_rate,
                weight_decay,
            };
            let adjustment = tasks::adjustment(handle, asked).map_err(failure::status)?;
            handle.tell(Told::Adjust(adjustment)).await;
        }
    }
    Ok(())
}
