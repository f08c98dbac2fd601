//! A node as a worker of the pool's: `WorkerNodeService` and `TaskWorkerService`.
//!
//! A task is a program of somebody's, so it runs only where the node's owner has allowed
//! Python, in the sandbox of every script, and only for a caller who has shown a key or a
//! token whose client that owner lets use the node without an index. What a task has
//! written and made is given to the connection that brought it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use embermesh_job::lifecycle::JobState;
use embermesh_proto::hivemind::{nodepool, taskworker as wire};
use nodepool::worker_node_service_server::WorkerNodeService;
use tonic::{Request, Response, Status as GrpcStatus};
use wire::task_worker_service_server::TaskWorkerService;

use super::{
    MAX_RESULT, MAX_TASK,
    code::{About, Code, answer, refusal},
    codec::Upload,
    program, results,
    tasks::word,
};
use crate::{
    ErrorCode, Failure, caller,
    port::node::{
        Call,
        execution::{Execution, MAX_READ, Order, Steer, TaskView},
        status::Status,
    },
};

/// The one kind of task.
const PYTHON: &str = "python";

/// Serves a worker's two services.
#[derive(Debug)]
pub(super) struct Worker<P> {
    port: Arc<P>,
}

impl<P> Worker<P> {
    /// Over a port.
    pub(super) const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

impl<P: Execution> Worker<P> {
    async fn execute(&self, call: &Call, task_id: &str, data: Bytes) -> Result<String, Failure> {
        if data.len() > MAX_TASK {
            let message = format!("a task has {MAX_TASK} bytes at most");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        // Who may not hears so before anything of the task is read.
        self.port.may_start(call)?;
        let (job, _) = program::submission(Upload {
            task_id: task_id.to_owned(),
            data,
            ..Upload::default()
        })?;
        let order = Order {
            spec: job.spec,
            inputs: job.inputs,
        };
        let task = self.port.start_own(call, task_id, order).await?;
        Ok(format!("the task is job {}", task.job))
    }

    async fn stop(&self, call: &Call) -> Result<String, Failure> {
        let task = self.port.steer(call, Steer::Cancel).await?;
        Ok(format!("the task is {}", task.state))
    }

    /// What a task that has ended has made, as an archive.
    async fn packed(&self, call: &Call, task: &TaskView) -> Result<Bytes, Failure> {
        let size: u64 = task.artifacts.iter().map(|made| made.size).sum();
        if size > MAX_RESULT {
            let message = format!("the results have {size} bytes, of {MAX_RESULT} that are given");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        let mut artifacts = Vec::new();
        for made in &task.artifacts {
            let mut bytes = BytesMut::new();
            while (bytes.len() as u64) < made.size {
                let from = bytes.len() as u64;
                let piece = self.port.read(call, made, from..from + MAX_READ).await?;
                bytes.extend_from_slice(&piece);
            }
            artifacts.push((made.name.clone(), bytes.freeze()));
        }
        let log = results::lines(&task.log).join("\n");
        tokio::task::spawn_blocking(move || results::pack(&artifacts, &log))
            .await
            .unwrap_or_else(|_| {
                let message = "the results could not be packed";
                Err(Failure::new(ErrorCode::Internal, message))
            })
    }
}

#[tonic::async_trait]
impl<P: Execution> WorkerNodeService for Worker<P> {
    async fn execute_task(
        &self,
        request: Request<nodepool::ExecuteTaskRequest>,
    ) -> Result<Response<nodepool::ExecuteTaskResponse>, GrpcStatus> {
        let call = caller::call(&request, "", &request.get_ref().task_id);
        let said = request.into_inner();
        let started = self.execute(&call, &said.task_id, said.task_data).await;
        let (success, message) = answer(started, About::Task);
        let response = nodepool::ExecuteTaskResponse { success, message };
        Ok(Response::new(response))
    }

    async fn report_output(
        &self,
        _: Request<nodepool::ReportOutputRequest>,
    ) -> Result<Response<nodepool::StatusResponse>, GrpcStatus> {
        Err(GrpcStatus::unimplemented(
            "nobody reports to a node: GetTaskStatus has what a task has written",
        ))
    }

    async fn report_running_status(
        &self,
        request: Request<nodepool::RunningStatusRequest>,
    ) -> Result<Response<nodepool::RunningStatusResponse>, GrpcStatus> {
        let call = caller::call(&request, "", &request.get_ref().task_id);
        let known = self.port.task(&call).await;
        let said = known.map(|task| format!("the task is {}", word(task.state)));
        let (success, message) = answer(said, About::Task);
        Ok(Response::new(nodepool::RunningStatusResponse {
            success,
            message,
            // What it earns is the ledger's to say.
            cpt_reward: 0,
        }))
    }

    async fn stop_task_execution(
        &self,
        request: Request<nodepool::StopTaskExecutionRequest>,
    ) -> Result<Response<nodepool::StopTaskExecutionResponse>, GrpcStatus> {
        let call = caller::call(&request, "", &request.get_ref().task_id);
        let (success, message) = answer(self.stop(&call).await, About::Task);
        let response = nodepool::StopTaskExecutionResponse { success, message };
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl<P: Execution + Status> TaskWorkerService for Worker<P> {
    async fn execute_task(
        &self,
        request: Request<wire::ExecuteTaskRequest>,
    ) -> Result<Response<wire::ExecuteTaskResponse>, GrpcStatus> {
        let call = caller::call(&request, "", &request.get_ref().task_id);
        let said = request.into_inner();
        let started = async {
            if !["", PYTHON].contains(&said.task_type.as_str()) {
                let message = format!("task_type: {:?} is not {PYTHON:?}", said.task_type);
                return Err(Failure::invalid(message));
            }
            if !said.parameters.is_empty() {
                let message = "parameters: a task is given nothing: put it into the archive";
                return Err(Failure::invalid(message));
            }
            self.execute(&call, &said.task_id, said.task_data).await
        };
        let (success, message) = answer(started.await, About::Task);
        Ok(Response::new(wire::ExecuteTaskResponse {
            success,
            message,
        }))
    }

    async fn get_task_status(
        &self,
        request: Request<wire::GetTaskStatusRequest>,
    ) -> Result<Response<wire::GetTaskStatusResponse>, GrpcStatus> {
        let call = caller::call(&request, "", &request.get_ref().task_id);
        let task = match self.port.task(&call).await {
            Ok(task) => task,
            Err(failure) => {
                return Ok(Response::new(wire::GetTaskStatusResponse {
                    success: false,
                    message: refusal(&failure, About::Task),
                    ..Default::default()
                }));
            }
        };
        let result = if task.state == JobState::Succeeded {
            self.packed(&call, &task).await
        } else {
            Ok(Bytes::new())
        };
        let (result_data, problem) = match result {
            Ok(bytes) => (bytes, None),
            Err(failure) => (Bytes::new(), Some(refusal(&failure, About::Task))),
        };
        Ok(Response::new(wire::GetTaskStatusResponse {
            success: problem.is_none(),
            message: problem.unwrap_or_else(|| match task.state {
                JobState::Failed => Code::TaskFailed.say(&task.message),
                JobState::Cancelled => Code::TaskCancelled.say(&task.message),
                _ => Code::Success.say(&task.message),
            }),
            status: word(task.state).to_owned(),
            output: results::lines(&task.log),
            result_data,
        }))
    }

    async fn cancel_task(
        &self,
        request: Request<wire::CancelTaskRequest>,
    ) -> Result<Response<wire::CancelTaskResponse>, GrpcStatus> {
        let call = caller::call(&request, "", &request.get_ref().task_id);
        let (success, message) = answer(self.stop(&call).await, About::Task);
        Ok(Response::new(wire::CancelTaskResponse { success, message }))
    }

    async fn get_system_info(
        &self,
        request: Request<wire::GetSystemInfoRequest>,
    ) -> Result<Response<wire::GetSystemInfoResponse>, GrpcStatus> {
        use embermesh_crypto::statement::{DeviceKind, Runtime};
        let now = self.port.now(&caller::line(&request)).await?;
        let works = |device: &&crate::port::node::status::DeviceView| {
            device.advert.fault.is_none() && device.advert.kind != DeviceKind::Cpu
        };
        let runs = now.runtimes.contains(&Runtime::Python);
        Ok(Response::new(wire::GetSystemInfoResponse {
            capabilities: Some(wire::NodeCapabilities {
                cpu_cores: i32::try_from(now.load.cores).unwrap_or(i32::MAX),
                memory_mb: i64::try_from(now.load.memory_total >> 20).unwrap_or(i64::MAX),
                has_gpu: now.devices.iter().any(|device| works(&device)),
                supported_tasks: if runs {
                    vec![PYTHON.to_owned()]
                } else {
                    Vec::new()
                },
            }),
            usage: Some(wire::ResourceUsage {
                cpu_percent: now.load.cpu_percent,
                memory_percent: percent(now.load.memory_used, now.load.memory_total),
                disk_percent: percent(now.blobs.0, now.blob_quota),
                // It is not measured.
                network_mbps: 0.0,
            }),
        }))
    }
}

#[allow(clippy::cast_precision_loss, reason = "the wire has floats")]
fn percent(used: u64, total: u64) -> f32 {
    100.0 * used as f32 / total.max(1) as f32
}
