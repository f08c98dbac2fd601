//! The methods of `embermesh.v1.Node`.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_compute::pipe::Adjustment;
use embermesh_crypto::{
    digest::Digest,
    ids::TaskIndex,
    time::UnixMillis,
    token::{Bearer, Method, TaskRef},
};
use embermesh_job::{spec::JobSpec, wire};
use embermesh_mesh::{blob::BlobService, road::Caller};
use embermesh_proto::v1::{self, node_server};
use futures::{Stream, stream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{blobs, feed, infer, keep, permit, refusal, status, tasks};
use crate::{
    gate::{Gate, Passed},
    site::Site,
    task::{Follow, Found, StopWhy, TaskHandle, TaskOrder, Tasks, Told},
};

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How long a feeder may take to name its task.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Blobs that one question may name.
const MAX_DIGESTS: usize = 512;

/// Serves `embermesh.v1.Node`.
pub(super) struct NodeService {
    pub(super) site: Arc<Site>,
    pub(super) tasks: Tasks,
    pub(super) gate: Gate,
    pub(super) blobs: BlobService,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) keeping: Arc<Semaphore>,
    pub(super) followers: Arc<Semaphore>,
    pub(super) feeders: Arc<Semaphore>,
    pub(super) since: Instant,
    pub(super) cancel: CancellationToken,
}

#[tonic::async_trait]
impl node_server::Node for NodeService {
    async fn permit(
        &self,
        request: Request<v1::PermitRequest>,
    ) -> Result<Response<v1::PermitResponse>, Status> {
        let client = Caller::peer_of(&request)?;
        let asked = permit::permit(&self.site, &self.gate, client, request.into_inner());
        let answer = Some(Box::pin(asked).await?);
        Ok(Response::new(v1::PermitResponse { answer }))
    }

    type RunStream = Boxed<v1::RunUpdate>;

    async fn run(
        &self,
        request: Request<v1::RunRequest>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let bearer = Bearer::Peer(Caller::peer_of(&request)?);
        let order = self.order(bearer, request.into_inner())?;
        let after = order.resume_after();
        let started = Box::pin(self.tasks.start(order)).await;
        let handle = started.map_err(|not| refusal::not_started(&not))?;
        self.stream(handle.log().follow(after, &self.cancel))
    }

    type AttachStream = Boxed<v1::RunUpdate>;

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let bearer = Bearer::Peer(Caller::peer_of(&request)?);
        let request = request.into_inner();
        let task = task_ref(&request.job_id, request.task)?;
        let found = self
            .found(&request.token, bearer, Method::Attach, task)
            .await?;
        self.stream(found.log.follow(request.after, &self.cancel))
    }

    async fn cancel(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        let found = self.control(request, Method::Cancel).await?;
        if let Some(handle) = &found.running {
            handle.stop(StopWhy::Cancelled).await;
        }
        self.state(&found).await
    }

    async fn pause(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        let found = self.control(request, Method::Pause).await?;
        if let Some(handle) = &found.running {
            handle.pause(true).await;
        }
        self.state(&found).await
    }

    async fn resume(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        let found = self.control(request, Method::Resume).await?;
        if let Some(handle) = &found.running {
            handle.pause(false).await;
        }
        self.state(&found).await
    }

    async fn adjust(
        &self,
        request: Request<v1::AdjustRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        let asked = request.get_ref().clone();
        let request = request.map(|asked| asked.task.unwrap_or_default());
        let found = self.control(request, Method::Resume).await?;
        if let Some(handle) = &found.running {
            let asked = Adjustment {
                learning_rate: asked.learning_rate,
                weight_decay: asked.weight_decay,
            };
            let adjustment = tasks::adjustment(handle, asked)?;
            handle.tell(Told::Adjust(adjustment)).await;
        }
        self.state(&found).await
    }

    async fn finish(
        &self,
        request: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        let found = self.control(request, Method::Cancel).await?;
        if let Some(handle) = &found.running {
            tasks::finish(handle).await?;
        }
        self.state(&found).await
    }

    type FetchBlobStream = Boxed<v1::BlobChunk>;

    async fn fetch_blob(
        &self,
        request: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<Self::FetchBlobStream>, Status> {
        let peer = Caller::peer_of(&request)?;
        let chunks = blobs::fetch(&self.blobs, peer, &request.into_inner())?;
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<v1::PutBlobResponse>, Status> {
        let peer = Caller::peer_of(&request)?;
        let _place = self.uploads.try_acquire().map_err(|_| {
            Status::resource_exhausted("this node takes no more uploads now: try again")
        })?;
        let parts = request.into_inner();
        let stored = Box::pin(blobs::put(&self.site, &self.gate, peer, parts)).await?;
        Ok(Response::new(v1::PutBlobResponse { stored }))
    }

    async fn has_blobs(
        &self,
        request: Request<v1::HasBlobsRequest>,
    ) -> Result<Response<v1::HasBlobsResponse>, Status> {
        Caller::peer_of(&request)?;
        let digests = request.into_inner().digests;
        if digests.len() > MAX_DIGESTS {
            let message = format!("digests: ask for {MAX_DIGESTS} at most");
            return Err(Status::invalid_argument(message));
        }
        let has = digests
            .iter()
            .map(|bytes| {
                let digest = wire::digest("digests", bytes).map_err(refusal::message)?;
                Ok(self.site.blobs.contains(&digest))
            })
            .collect::<Result<_, Status>>()?;
        Ok(Response::new(v1::HasBlobsResponse { has }))
    }

    async fn keep_blobs(
        &self,
        request: Request<v1::KeepBlobsRequest>,
    ) -> Result<Response<v1::KeepBlobsResponse>, Status> {
        let peer = Caller::peer_of(&request)?;
        let _place = self.keeping.try_acquire().map_err(|_| {
            Status::resource_exhausted("this node keeps as much as it can now: ask another")
        })?;
        let request = request.into_inner();
        let kept = Box::pin(keep::keep(&self.site, peer, request, &self.cancel)).await?;
        Ok(Response::new(v1::KeepBlobsResponse { kept }))
    }

    type InferStream = Boxed<v1::InferUpdate>;

    async fn infer(
        &self,
        request: Request<v1::InferRequest>,
    ) -> Result<Response<Self::InferStream>, Status> {
        let peer = Caller::peer_of(&request)?;
        let request = request.into_inner();
        let answer = infer::infer(&self.site, &self.gate, peer, &request, self.cancel.clone())?;
        Ok(Response::new(Box::pin(answer)))
    }

    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let peer = Caller::peer_of(&request)?;
        let models = self.site.residents.visible(&peer, self.gate.allows(&peer));
        Ok(Response::new(v1::ListModelsResponse {
            models: models.into_iter().map(Into::into).collect(),
        }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Caller::peer_of(&request)?;
        Ok(Response::new(status::show(
            &self.site,
            &self.tasks,
            self.since,
        )))
    }

    type FeedStream = Boxed<v1::FeedWant>;

    async fn feed(
        &self,
        request: Request<Streaming<v1::FeedRequest>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let peer = Caller::peer_of(&request)?;
        let place = Arc::clone(&self.feeders).try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted("this node is fed by as many as it can be: try again")
        })?;
        let mut parts = request.into_inner();
        let asked = tokio::time::timeout(FIRST_WORD, feed::task(&mut parts)).await;
        let asked = asked.map_err(|_| Status::deadline_exceeded("no task was named"))??;
        let task = task_ref(&asked.job_id, asked.task)?;
        let bearer = Bearer::Peer(peer);
        let found = self
            .found(&asked.token, bearer, Method::PutBlob, task)
            .await?;
        let exchange = found.running.as_ref().and_then(TaskHandle::exchange);
        let exchange = exchange.ok_or_else(|| {
            refusal::refused(
                Code::FailedPrecondition,
                "task_ended",
                "no data of this task stays with its client, or it has ended",
            )
        })?;
        let (serving, questions) = feed::serve(exchange, parts, place, self.cancel.clone());
        self.site.tracker.spawn(serving);
        Ok(Response::new(Box::pin(questions)))
    }
}

// A Status is what a handler returns, and tonic made it large.
#[allow(clippy::result_large_err)]
impl NodeService {
    /// A request to run, judged.
    fn order(&self, bearer: Bearer, request: v1::RunRequest) -> Result<TaskOrder, Status> {
        let digest = Digest::of(&request.spec);
        let passed = self
            .gate
            .pass(
                &request.token,
                bearer,
                Method::Run,
                None,
                Some(digest),
                UnixMillis::now(),
            )
            .map_err(|refused| refusal::token(&refused))?;
        let Passed {
            assignment,
            reports_to,
            rank,
        } = passed;
        let spec = JobSpec::from_canonical(&request.spec).map_err(|error| refusal::spec(&error))?;
        let inputs = request.inputs.into_iter().take(wire::MAX_ITEMS);
        Ok(TaskOrder {
            assignment,
            reports_to,
            rank,
            spec,
            // Canonical JSON is text.
            canonical: String::from_utf8_lossy(&request.spec).into_owned(),
            resume: request
                .resume
                .map(TryInto::try_into)
                .transpose()
                .map_err(refusal::message)?,
            inputs: inputs
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()
                .map_err(refusal::message)?,
        })
    }

    async fn control(
        &self,
        request: Request<v1::ControlRequest>,
        method: Method,
    ) -> Result<Found, Status> {
        let bearer = Bearer::Peer(Caller::peer_of(&request)?);
        let request = request.into_inner();
        let task = task_ref(&request.job_id, request.task)?;
        self.found(&request.token, bearer, method, task).await
    }

    /// The task that a token speaks of.
    async fn found(
        &self,
        token: &str,
        bearer: Bearer,
        method: Method,
        task: TaskRef,
    ) -> Result<Found, Status> {
        let passed = self
            .gate
            .pass(token, bearer, method, Some(task), None, UnixMillis::now())
            .map_err(|refused| refusal::token(&refused))?;
        tasks::found(&self.tasks, passed.assignment.claims()).await
    }

    fn stream(&self, follow: Follow) -> Result<Response<Boxed<v1::RunUpdate>>, Status> {
        let place = Arc::clone(&self.followers)
            .try_acquire_owned()
            .map_err(|_| {
                Status::resource_exhausted("this node streams to as many as it can: try again")
            })?;
        let updates = stream::unfold((follow, place), |(mut follow, place)| async move {
            let update = Box::pin(follow.next()).await?;
            let update = update
                .map(Into::into)
                .map_err(|error| refusal::store(&error));
            Some((update, (follow, place)))
        });
        Ok(Response::new(Box::pin(updates)))
    }

    async fn state(&self, found: &Found) -> Result<Response<v1::ControlResponse>, Status> {
        let state = tasks::state(&self.site, found).await?;
        let state = v1::JobState::from(state).into();
        Ok(Response::new(v1::ControlResponse { state }))
    }
}

#[allow(clippy::result_large_err)]
fn task_ref(job: &str, task: u32) -> Result<TaskRef, Status> {
    Ok(TaskRef {
        job: wire::job_id(job).map_err(refusal::message)?,
        task: TaskIndex(task),
    })
}
