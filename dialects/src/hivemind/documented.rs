//! The form of the system's documentation.

use embermesh_proto::hivemind::nodepool as wire;
use tonic::{Request, Response, Status};

use super::{
    MAX_MESSAGE, Pool, PoolPort,
    bulk::Bulk,
    code::{About, answer},
    codec::{Registration, Upload},
    forms::{Call, Forms},
    services::services,
};
use crate::Mount;

services!();

/// The answers that differ between the forms.
mod write {
    use tonic::Status;

    use super::wire;
    use crate::{
        ErrorCode, Failure,
        hivemind::{
            code::{About, Code, refusal, status},
            nodes::{Listed, seconds},
            tasks::{said, word},
        },
        port::jobs::JobView,
    };

    /// The form of a request that does not tell.
    pub(super) const FORM: crate::Profile = crate::Profile::Documented;

    pub(super) fn no_session<T>(_: &Result<T, Failure>) -> Option<String> {
        None
    }

    pub(super) fn asked(request: &wire::HealthCheckRequest) -> &str {
        &request.node_id
    }

    pub(super) fn state(request: &wire::ReportStatusRequest) -> &str {
        &request.status
    }

    pub(super) fn health(health: Result<bool, Failure>) -> wire::HealthCheckResponse {
        let (status, message) = match health {
            Ok(true) => ("healthy", Code::Success.say("it answers")),
            Ok(false) => (
                "offline",
                Code::NodeOffline.say("it has not been heard of lately"),
            ),
            Err(failure) => ("unknown", refusal(&failure, About::Node)),
        };
        wire::HealthCheckResponse {
            status: status.to_owned(),
            message,
        }
    }

    pub(super) fn nodes(
        nodes: Result<Vec<Listed>, Failure>,
    ) -> Result<wire::GetNodeListResponse, Status> {
        let nodes = nodes.map_err(|failure| status(&failure, About::Node))?;
        let nodes = nodes.into_iter().map(|node| wire::WorkerNodeInfo {
            node_id: node.node_id,
            hostname: node.hostname,
            cpu_cores: node.cpu_cores,
            memory_gb: node.memory_gb,
            cpu_score: node.cpu_score,
            gpu_score: node.gpu_score,
            gpu_memory_gb: node.gpu_memory_gb,
            location: node.location,
            port: node.port,
            gpu_name: node.gpu_name,
            trust_level: 0,
            last_heartbeat: node.last_heartbeat,
            docker_status: String::new(),
        });
        Ok(wire::GetNodeListResponse {
            nodes: nodes.collect(),
        })
    }

    pub(super) fn poll(
        _: &str,
        polled: Result<(JobView, Vec<String>), Failure>,
    ) -> wire::PollTaskStatusResponse {
        match polled {
            Ok((job, output)) => wire::PollTaskStatusResponse {
                success: true,
                message: said(&job),
                status: word(job.state).to_owned(),
                output,
            },
            Err(failure) => wire::PollTaskStatusResponse {
                success: false,
                message: refusal(&failure, About::Task),
                status: match failure.code {
                    ErrorCode::NotFound => "NOT_FOUND".to_owned(),
                    _ => "ERROR".to_owned(),
                },
                output: Vec::new(),
            },
        }
    }

    pub(super) fn result(
        success: bool,
        message: String,
        result_data: bytes::Bytes,
    ) -> wire::GetTaskResultResponse {
        wire::GetTaskResultResponse {
            success,
            message,
            result_data,
        }
    }

    pub(super) fn tasks(
        jobs: Result<Vec<JobView>, Failure>,
    ) -> Result<wire::GetAllTasksResponse, Status> {
        let jobs = jobs.map_err(|failure| status(&failure, About::Task))?;
        let tasks = jobs.into_iter().map(|job| wire::TaskStatus {
            task_id: job.id,
            status: word(job.state).to_owned(),
            assigned_node: job.node.unwrap_or_default(),
            created_at: seconds(job.submitted_at),
            started_at: job.started_at.map(seconds).unwrap_or_default(),
            completed_at: job.ended_at.map(seconds).unwrap_or_default(),
            user_id: job.owner.name,
        });
        Ok(wire::GetAllTasksResponse {
            tasks: tasks.collect(),
        })
    }
}
