//! The connection to a node, and the calls on it.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId},
    time::UnixMillis,
};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    ask::Ask,
    assignment::NodeAssignment,
    event::RunUpdate,
    lifecycle::JobState,
    wire::ResidentModel,
};
use embermesh_mesh::{
    Mesh,
    road::{self, Identity, RoadChoice, RoadKind, Target, bounds::MAX_MESSAGE_BYTES},
};
use embermesh_proto::v1::{self, node_client::NodeClient, permit_response::Answer};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming, transport::Channel};

use crate::{
    ClientError, ask,
    bounds::{CALL_TIMEOUT, MAX_MODELS, NODE_SILENCE},
    status,
    view::{convert, present},
};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its version.
    pub version: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Peers of the mesh that it knows.
    pub peers: u64,
    /// Tasks that run.
    pub running: usize,
    /// Bytes of the blobs that it keeps.
    pub blob_bytes: u64,
    /// What its clock said; nothing from one that does not say.
    pub now: Option<UnixMillis>,
}

/// What a client may ask of a running task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Cancel,
    Pause,
    Resume,
    Finish,
}

/// What a node answers who asks it for a permit.
#[derive(Debug)]
pub(crate) enum Permit {
    /// It gives one.
    Given(NodeAssignment),
    /// The job waits there, for as long as it is asked again.
    Queued {
        ahead: u32,
        code: String,
        message: String,
    },
    /// It does not.
    Refused { code: String, message: String },
}

/// A connection to one node.
#[derive(Clone)]
pub(crate) struct NodeLink {
    stub: NodeClient<Channel>,
    name: String,
    pub(crate) road: RoadKind,
}

impl NodeLink {
    pub(crate) async fn connect(
        identity: &Identity,
        target: &Target,
        mesh: Option<&Mesh>,
        choice: RoadChoice,
    ) -> Result<Self, ClientError> {
        let name = match &target.peer {
            Some(peer) => format!("node {}", peer.short()),
            None => format!("the node at {target}"),
        };
        let connecting = road::connect(identity, target, mesh, choice);
        let connection = Box::pin(connecting)
            .await
            .map_err(|error| ClientError::Unreachable {
                what: name.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            stub: NodeClient::new(connection.channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
            name,
            road: connection.road,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    async fn call<T, R>(&self, bound: Duration, call: R) -> Result<T, ClientError>
    where
        R: Future<Output = Result<Response<T>, Status>>,
    {
        match timeout(bound, call).await {
            Err(_) => Err(ClientError::Timeout {
                what: self.name.clone(),
                after: bound,
            }),
            Ok(Err(status)) => Err(status::error(&self.name, &status)),
            Ok(Ok(response)) => Ok(response.into_inner()),
        }
    }

    /// Asks for a permit to run a job.
    pub(crate) async fn permit(
        &self,
        job: JobId,
        epoch: Epoch,
        spec: Bytes,
        grants: Vec<Bytes>,
    ) -> Result<Permit, ClientError> {
        let request = v1::PermitRequest {
            spec,
            job_id: job.to_string(),
            epoch: epoch.0,
            grants,
        };
        let mut stub = self.stub.clone();
        let answer = match timeout(CALL_TIMEOUT, stub.permit(request)).await {
            Err(_) => {
                return Err(ClientError::Timeout {
                    what: self.name.clone(),
                    after: CALL_TIMEOUT,
                });
            }
            Ok(Err(status)) => {
                let word = status::refusal(&status).or_else(|| status::no_slot(&status));
                return match word {
                    Some(code) => Ok(Permit::Refused {
                        code: code.to_owned(),
                        message: status.message().to_owned(),
                    }),
                    None => Err(status::error(&self.name, &status)),
                };
            }
            Ok(Ok(response)) => response.into_inner().answer,
        };
        Ok(match present(&self.name, "the answer", answer)? {
            Answer::Assignment(permit) => Permit::Given(convert(&self.name, permit)?),
            Answer::Queued(queued) => Permit::Queued {
                ahead: queued.ahead,
                code: queued.code,
                message: queued.message,
            },
        })
    }

    /// Starts the task that the token names.
    pub(crate) async fn run(
        &self,
        assignment: &NodeAssignment,
        spec: Bytes,
        resume: Option<Checkpoint>,
        inputs: &[BlobRef],
    ) -> Result<UpdateStream, ClientError> {
        let request = v1::RunRequest {
            token: assignment.token.clone(),
            spec,
            resume: resume.map(Into::into),
            inputs: inputs.iter().cloned().map(Into::into).collect(),
        };
        let mut stub = self.stub.clone();
        let stream = self.call(CALL_TIMEOUT, stub.run(request)).await?;
        Ok(UpdateStream::new(stream, &self.name))
    }

    /// Joins the task, behind event `after`.
    pub(crate) async fn attach(
        &self,
        assignment: &NodeAssignment,
        after: u64,
    ) -> Result<UpdateStream, ClientError> {
        let request = v1::AttachRequest {
            token: assignment.token.clone(),
            job_id: assignment.job.to_string(),
            task: assignment.task.0,
            after,
        };
        let mut stub = self.stub.clone();
        let stream = self.call(CALL_TIMEOUT, stub.attach(request)).await?;
        Ok(UpdateStream::new(stream, &self.name))
    }

    pub(crate) async fn control(
        &self,
        assignment: &NodeAssignment,
        what: Control,
    ) -> Result<JobState, ClientError> {
        let request = v1::ControlRequest {
            token: assignment.token.clone(),
            job_id: assignment.job.to_string(),
            task: assignment.task.0,
        };
        let mut stub = self.stub.clone();
        let asked = async move {
            match what {
                Control::Cancel => stub.cancel(request).await,
                Control::Pause => stub.pause(request).await,
                Control::Resume => stub.resume(request).await,
                Control::Finish => stub.finish(request).await,
            }
        };
        let answer = self.call(CALL_TIMEOUT, asked).await?;
        convert(&self.name, answer.state())
    }

    /// Gives a training other hyperparameters.
    pub(crate) async fn adjust(
        &self,
        assignment: &NodeAssignment,
        learning_rate: Option<f64>,
        weight_decay: Option<f64>,
    ) -> Result<JobState, ClientError> {
        let request = v1::AdjustRequest {
            task: Some(v1::ControlRequest {
                token: assignment.token.clone(),
                job_id: assignment.job.to_string(),
                task: assignment.task.0,
            }),
            learning_rate,
            weight_decay,
        };
        let mut stub = self.stub.clone();
        let answer = self.call(CALL_TIMEOUT, stub.adjust(request)).await?;
        convert(&self.name, answer.state())
    }

    /// What the node says of itself now.
    pub(crate) async fn status(&self) -> Result<NodeStatus, ClientError> {
        let mut stub = self.stub.clone();
        let status = self
            .call(CALL_TIMEOUT, stub.status(v1::StatusRequest {}))
            .await?;
        Ok(NodeStatus {
            version: status.version,
            uptime: Duration::from_millis(status.uptime_ms),
            draining: status.draining,
            peers: status.peers,
            running: status.running.len(),
            blob_bytes: status.blob_bytes,
            now: (status.now_ms != 0).then_some(UnixMillis(status.now_ms)),
        })
    }

    /// The resident models that the caller may ask.
    pub(crate) async fn models(&self) -> Result<Vec<ResidentModel>, ClientError> {
        let mut stub = self.stub.clone();
        let asked = stub.list_models(v1::ListModelsRequest {});
        let models = self.call(CALL_TIMEOUT, asked).await?.models;
        models
            .into_iter()
            .take(MAX_MODELS)
            .map(|model| convert(&self.name, model))
            .collect()
    }

    /// Asks a resident model, with the permission of an index where one is needed.
    pub(crate) async fn infer(
        &self,
        model: &str,
        ask: &Ask,
        within: Duration,
        permit: Option<&str>,
    ) -> Result<ask::Answer, ClientError> {
        let request = v1::InferRequest {
            model: model.to_owned(),
            within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            ask: ask.to_json()?.into(),
            token: permit.unwrap_or_default().to_owned(),
        };
        let mut stub = self.stub.clone();
        let stream = self.call(CALL_TIMEOUT, stub.infer(request)).await?;
        Ok(ask::Answer::new(stream, self.clone(), within))
    }

    /// Which of the blobs the node has.
    pub(crate) async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, ClientError> {
        let request = v1::HasBlobsRequest {
            digests: digests
                .iter()
                .map(|digest| Bytes::copy_from_slice(digest.as_bytes()))
                .collect(),
        };
        let mut stub = self.stub.clone();
        let has = self.call(CALL_TIMEOUT, stub.has_blobs(request)).await?.has;
        present(
            &self.name,
            "an answer for each blob",
            (has.len() == digests.len()).then_some(has),
        )
    }

    /// Sends the parts of one blob. The caller bounds the wait.
    pub(crate) async fn put(
        &self,
        parts: ReceiverStream<v1::PutBlobRequest>,
    ) -> Result<bool, ClientError> {
        let mut stub = self.stub.clone();
        match stub.put_blob(parts).await {
            Ok(response) => Ok(response.into_inner().stored),
            Err(status) => Err(status::error(&self.name, &status)),
        }
    }
}

impl NodeLink {
    /// Begins to feed the task that the first message names.
    pub(crate) async fn feed(
        &self,
        answers: ReceiverStream<v1::FeedRequest>,
    ) -> Result<Streaming<v1::FeedWant>, ClientError> {
        let mut stub = self.stub.clone();
        self.call(CALL_TIMEOUT * 2, stub.feed(answers)).await
    }

    /// The next question; `None` when the task has ended. A task may think for long,
    /// and the stream of its events tells whether its node is alive.
    pub(crate) async fn next_want(
        &self,
        questions: &mut Streaming<v1::FeedWant>,
    ) -> Result<Option<v1::FeedWant>, ClientError> {
        let next = questions.message().await;
        next.map_err(|status| status::error(&self.name, &status))
    }
}

/// The updates of one attempt, from one connection.
pub(crate) struct UpdateStream {
    stream: Streaming<v1::RunUpdate>,
    name: String,
}

impl UpdateStream {
    fn new(stream: Streaming<v1::RunUpdate>, name: &str) -> Self {
        Self {
            stream,
            name: name.to_owned(),
        }
    }

    /// The next update; `None` when the node has closed the stream. A node that says
    /// nothing for too long counts as lost.
    pub(crate) async fn next(&mut self) -> Result<Option<RunUpdate>, ClientError> {
        match timeout(NODE_SILENCE, self.stream.message()).await {
            Err(_) => Err(ClientError::Timeout {
                what: self.name.clone(),
                after: NODE_SILENCE,
            }),
            Ok(Err(status)) => Err(status::error(&self.name, &status)),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(update))) => convert(&self.name, update).map(Some),
        }
    }
}
