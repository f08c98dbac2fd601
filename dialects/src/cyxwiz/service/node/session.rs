//! `JobExecutionService`: a client and the node that its job was assigned to.

use std::sync::Arc;

use bytes::Bytes;
use embermesh_crypto::Digest;
use embermesh_job::{event::Artifact, lifecycle::JobState};
use futures::{StreamExt as _, stream, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    super::super::{PROFILE, wire},
    Node, assigned, order, stream as training,
};
use crate::{
    ErrorCode, Failure, caller,
    cyxwiz::{code, config::WEIGHTS, proof::place},
    port::node::{
        Call,
        execution::{Execution, MAX_READ, Steer, TaskView},
    },
};

/// Bytes of a chunk, where the call does not say.
const USUAL_CHUNK: u64 = 1 << 20;

/// What trainings can learn by, in this system's words.
const OPTIMIZERS: [&str; 5] = ["sgd", "adam", "adamw", "rmsprop", "adagrad"];

#[tonic::async_trait]
impl<P: Execution> wire::job_execution_service_server::JobExecutionService for Node<P> {
    async fn connect_to_node(
        &self,
        request: Request<wire::ConnectRequest>,
    ) -> Result<Response<wire::ConnectResponse>, Status> {
        let said = request.get_ref();
        let call = caller::call(&request, &said.auth_token, &said.job_id);
        let opened = self.0.open(&call).await?;
        let mut devices: Vec<i32> = opened
            .devices
            .iter()
            .map(|device| code::device_type(PROFILE, device.kind))
            .collect();
        devices.dedup();
        Ok(Response::new(wire::ConnectResponse {
            status: code::SUCCESS,
            node_id: opened.node,
            capabilities: Some(wire::NodeCapabilities {
                supported_devices: devices,
                max_memory: code::int64(opened.memory),
                // Memory bounds a batch, and nothing else does.
                max_batch_size: 0,
                supported_optimizers: OPTIMIZERS.map(str::to_owned).to_vec(),
                supports_checkpointing: true,
                supports_distributed: false,
            }),
            error: None,
        }))
    }

    async fn disconnect_from_node(
        &self,
        request: Request<wire::DisconnectRequest>,
    ) -> Result<Response<wire::DisconnectResponse>, Status> {
        let closed = self.0.close(&caller::line(&request));
        Ok(Response::new(wire::DisconnectResponse {
            status: code::SUCCESS,
            message: format!("{closed} jobs let go; what runs goes on"),
        }))
    }

    async fn send_job(
        &self,
        request: Request<wire::SendJobRequest>,
    ) -> Result<Response<wire::SendJobResponse>, Status> {
        let call = caller::call(&request, "", &request.get_ref().job_id);
        // Who may not hears so before anything of the job is read.
        self.0.allowed(&call)?;
        let said = request.into_inner();
        let mut config = said
            .config
            .ok_or_else(|| Status::invalid_argument("config: there is none"))?;
        if !said.dataset_uri.is_empty() {
            config.dataset_uri = said.dataset_uri;
        }
        let started = async {
            let order = assigned(&*self.0, &call, order(config, said.initial_dataset)?)?;
            Ok::<_, super::Rejected>(self.0.start(&call, order).await?)
        };
        let answer = match started.await {
            Ok(task) => wire::SendJobResponse {
                status: code::status(PROFILE, task.state),
                accepted: true,
                ..Default::default()
            },
            Err(rejected) => {
                let (error, reason) = rejected.answer()?;
                wire::SendJobResponse {
                    status: code::failed(PROFILE),
                    accepted: false,
                    estimated_start_time: 0,
                    rejection_reason: reason,
                    error: Some(error),
                }
            }
        };
        Ok(Response::new(answer))
    }

    type StreamTrainingMetricsStream = BoxStream<'static, Result<wire::TrainingUpdate, Status>>;

    async fn stream_training_metrics(
        &self,
        request: Request<Streaming<wire::TrainingCommand>>,
    ) -> Result<Response<Self::StreamTrainingMetricsStream>, Status> {
        // A stream names no job: it is the newest that this line has connected for.
        let call = caller::call(&request, "", "");
        let followed = self.0.follow(&call).await?;
        let commands = request.into_inner();
        let updates = training::run(Arc::clone(&self.0), call, followed, commands);
        Ok(Response::new(updates))
    }

    type DownloadWeightsStream = BoxStream<'static, Result<wire::WeightsChunk, Status>>;

    async fn download_weights(
        &self,
        request: Request<wire::DownloadRequest>,
    ) -> Result<Response<Self::DownloadWeightsStream>, Status> {
        let said = request.get_ref();
        let call = caller::call(&request, "", &said.job_id);
        let offset = at_least_nothing("offset", said.offset)?;
        let chunk = match at_least_nothing("chunk_size", said.chunk_size.into())? {
            0 => USUAL_CHUNK,
            size => size.min(MAX_READ),
        };
        let weights = weights(&self.0.task(&call).await?)?;
        if offset > weights.size {
            let message = format!("offset: the weights end at {}", weights.size);
            return Err(Status::out_of_range(message));
        }
        let port = Arc::clone(&self.0);
        let next = move |at: Option<u64>| {
            let (port, call, weights) = (Arc::clone(&port), call.clone(), weights.clone());
            async move {
                let at = at?;
                let data = port.read(&call, &weights, at..at + chunk).await;
                let data = match data {
                    Ok(data) => data,
                    Err(failure) => return Some((Err(failure.into()), None)),
                };
                let end = at + data.len() as u64;
                let next = (end < weights.size).then_some(end);
                Some((Ok(piece(data, at, &weights)), next))
            }
        };
        Ok(Response::new(stream::unfold(Some(offset), next).boxed()))
    }

    async fn pause_training(
        &self,
        request: Request<wire::PauseTrainingRequest>,
    ) -> Result<Response<wire::PauseTrainingResponse>, Status> {
        let call = caller::call(&request, "", &request.get_ref().job_id);
        Ok(Response::new(self.pause(&call).await?))
    }

    async fn resume_training(
        &self,
        request: Request<wire::ResumeTrainingRequest>,
    ) -> Result<Response<wire::ResumeTrainingResponse>, Status> {
        let call = caller::call(&request, "", &request.get_ref().job_id);
        let checkpoint = request.into_inner().checkpoint_path;
        Ok(Response::new(self.resume(&call, &checkpoint).await?))
    }

    async fn cancel_training(
        &self,
        request: Request<wire::CancelTrainingRequest>,
    ) -> Result<Response<wire::CancelTrainingResponse>, Status> {
        let call = caller::call(&request, "", &request.get_ref().job_id);
        let save = request.into_inner().save_partial_model;
        Ok(Response::new(self.cancel(&call, save).await?))
    }

    async fn start_new_job(
        &self,
        request: Request<wire::StartNewJobRequest>,
    ) -> Result<Response<wire::StartNewJobResponse>, Status> {
        let call = caller::call(&request, "", "");
        Ok(Response::new(
            self.start_new(&call, request.into_inner()).await?,
        ))
    }
}

impl<P: Execution> Node<P> {
    /// Pauses a task, and says where.
    pub(super) async fn pause(&self, call: &Call) -> Result<wire::PauseTrainingResponse, Failure> {
        Ok(match said(self.0.steer(call, Steer::Pause).await)? {
            Ok(task) => wire::PauseTrainingResponse {
                success: task.state == JobState::Paused,
                checkpoint_path: checkpoint(&task),
                current_epoch: code::int32(task.pass.0.into()),
                current_batch: code::int32(task.step.0),
                message: format!("the task is {}", task.state),
            },
            Err(message) => wire::PauseTrainingResponse {
                message,
                ..Default::default()
            },
        })
    }

    /// Lets a task go on: from where it was paused, and from nowhere else.
    pub(super) async fn resume(
        &self,
        call: &Call,
        from: &str,
    ) -> Result<wire::ResumeTrainingResponse, Failure> {
        if !from.is_empty() && from != checkpoint(&self.0.task(call).await?) {
            return Ok(wire::ResumeTrainingResponse {
                message: "checkpoint_path: a task goes on from where it was paused: leave it empty, or give what the pause said".to_owned(),
                ..Default::default()
            });
        }
        Ok(match said(self.0.steer(call, Steer::Resume).await)? {
            Ok(task) => wire::ResumeTrainingResponse {
                success: task.state == JobState::Running,
                resumed_epoch: code::int32(task.pass.0.into()),
                resumed_batch: code::int32(task.step.0),
                message: format!("the task is {}", task.state),
            },
            Err(message) => wire::ResumeTrainingResponse {
                message,
                ..Default::default()
            },
        })
    }

    /// Ends a task: at once, or with the weights as they are.
    pub(super) async fn cancel(
        &self,
        call: &Call,
        save: bool,
    ) -> Result<wire::CancelTrainingResponse, Failure> {
        let word = if save { Steer::Finish } else { Steer::Cancel };
        Ok(match said(self.0.steer(call, word).await)? {
            Ok(task) => {
                let saved = weights(&task).ok();
                wire::CancelTrainingResponse {
                    success: task.state.is_final(),
                    epochs_completed: code::int32(task.pass.0.into()),
                    partial_model_saved: saved.is_some(),
                    partial_model_path: saved.map(|made| place(&made)).unwrap_or_default(),
                    message: format!("the task is {}", task.state),
                }
            }
            Err(message) => wire::CancelTrainingResponse {
                message,
                ..Default::default()
            },
        })
    }

    /// Starts another job for the client of a line.
    pub(super) async fn start_new(
        &self,
        call: &Call,
        request: wire::StartNewJobRequest,
    ) -> Result<wire::StartNewJobResponse, Status> {
        let config = request
            .job_config
            .ok_or_else(|| Status::invalid_argument("job_config: there is none"))?;
        let started = async {
            let order = order(config, Bytes::new())?;
            let name = match request.job_id.as_str() {
                "" => order.spec.name.clone(),
                name => name.to_owned(),
            };
            Ok::<_, super::Rejected>(self.0.start_own(call, &name, order).await?)
        };
        Ok(match started.await {
            Ok(task) => wire::StartNewJobResponse {
                accepted: true,
                message: format!("job {} is {}", task.job, task.state),
            },
            Err(rejected) => wire::StartNewJobResponse {
                accepted: false,
                message: rejected.answer()?.1,
            },
        })
    }
}

/// What came of a word: a task, or why it was not obeyed where that is an answer.
fn said(steered: Result<TaskView, Failure>) -> Result<Result<TaskView, String>, Failure> {
    match steered {
        Ok(task) => Ok(Ok(task)),
        Err(failure) if code::is_answer(failure.code) => Ok(Err(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// The weights that a task has made, or else the first of what it has made.
pub(super) fn weights(task: &TaskView) -> Result<Artifact, Failure> {
    let named = task.artifacts.iter().find(|made| made.name == WEIGHTS);
    named.or(task.artifacts.first()).cloned().ok_or_else(|| {
        let message = format!("the job has made nothing yet: it is {}", task.state);
        Failure::new(ErrorCode::Precondition, message)
    })
}

fn checkpoint(task: &TaskView) -> String {
    let digest = task.checkpoint.map(|digest| digest.to_string());
    digest.unwrap_or_default()
}

/// A chunk, with the BLAKE3 digest of its bytes.
fn piece(data: Bytes, offset: u64, whole: &Artifact) -> wire::WeightsChunk {
    wire::WeightsChunk {
        offset: code::int64(offset),
        total_size: code::int64(whole.size),
        is_last_chunk: offset + data.len() as u64 >= whole.size,
        checksum: Digest::of(&data).to_string(),
        data,
    }
}

fn at_least_nothing(name: &str, value: i64) -> Result<u64, Failure> {
    u64::try_from(value)
        .map_err(|_| Failure::invalid(format!("{name}: {value} is less than nothing")))
}
