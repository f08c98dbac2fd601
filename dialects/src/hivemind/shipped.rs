//! The form that shipped.

use embermesh_proto::hivemind::shipped as wire;
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
            code::{About, Code, answer, refusal},
            nodes::{Listed, seconds},
            tasks::{said, word},
        },
        port::jobs::JobView,
    };

    /// The form of a request that does not tell.
    pub(super) const FORM: crate::Profile = crate::Profile::Shipped;

    /// The word by which its clients know that they must log in again. It stands alone:
    /// they compare the whole message.
    pub(super) fn no_session<T>(result: &Result<T, Failure>) -> Option<String> {
        let failure = result.as_ref().err()?;
        (failure.code == ErrorCode::Unauthenticated).then(|| "TOKEN_EXPIRED".to_owned())
    }

    /// Its request names no node: the pool itself is asked for.
    pub(super) fn asked(_: &wire::HealthCheckRequest) -> &'static str {
        ""
    }

    pub(super) fn state(request: &wire::ReportStatusRequest) -> &str {
        &request.status_message
    }

    pub(super) fn health(health: Result<bool, Failure>) -> wire::HealthCheckResponse {
        let (healthy, message) = match health {
            Ok(true) => (true, Code::Success.say("it answers")),
            Ok(false) => (
                false,
                Code::NodeOffline.say("it has not been heard of lately"),
            ),
            Err(failure) => (false, refusal(&failure, About::Node)),
        };
        wire::HealthCheckResponse { healthy, message }
    }

    #[allow(
        clippy::unnecessary_wraps,
        reason = "the documented form can fail here"
    )]
    pub(super) fn nodes(
        nodes: Result<Vec<Listed>, Failure>,
    ) -> Result<wire::GetNodeListResponse, Status> {
        let (nodes, result) = match nodes {
            Ok(nodes) => (nodes, Ok("every node".to_owned())),
            Err(failure) => (Vec::new(), Err(failure)),
        };
        let (success, message) = answer(result, About::Node);
        let nodes = nodes.into_iter().map(|node| wire::WorkerNodeInfo {
            node_id: node.node_id,
            hostname: node.hostname,
            cpu_cores: node.cpu_cores,
            memory_gb: node.memory_gb,
            status: if node.live { "ONLINE" } else { "OFFLINE" }.to_owned(),
            last_heartbeat: node.last_heartbeat,
            cpu_score: node.cpu_score,
            gpu_score: node.gpu_score,
            gpu_memory_gb: node.gpu_memory_gb,
            location: node.location,
            port: node.port,
            gpu_name: node.gpu_name,
        });
        Ok(wire::GetNodeListResponse {
            success,
            message,
            nodes: nodes.collect(),
        })
    }

    pub(super) fn poll(
        id: &str,
        polled: Result<(JobView, Vec<String>), Failure>,
    ) -> wire::PollTaskStatusResponse {
        let (status, output, message) = match polled {
            Ok((job, output)) => (word(job.state), output, said(&job)),
            Err(failure) => {
                let word = match failure.code {
                    ErrorCode::NotFound => "NOT_FOUND",
                    _ => "ERROR",
                };
                (word, Vec::new(), refusal(&failure, About::Task))
            }
        };
        wire::PollTaskStatusResponse {
            task_id: id.to_owned(),
            status: status.to_owned(),
            output,
            message,
        }
    }

    pub(super) fn result(
        success: bool,
        message: String,
        result_zip: bytes::Bytes,
    ) -> wire::GetTaskResultResponse {
        wire::GetTaskResultResponse {
            success,
            message,
            result_zip,
        }
    }

    #[allow(
        clippy::unnecessary_wraps,
        reason = "the documented form can fail here"
    )]
    pub(super) fn tasks(
        jobs: Result<Vec<JobView>, Failure>,
    ) -> Result<wire::GetAllTasksResponse, Status> {
        let (jobs, result) = match jobs {
            Ok(jobs) => (jobs, Ok("your tasks".to_owned())),
            Err(failure) => (Vec::new(), Err(failure)),
        };
        let (success, message) = answer(result, About::Task);
        let tasks = jobs.into_iter().map(|job| {
            let updated = job.ended_at.or(job.started_at).unwrap_or(job.submitted_at);
            wire::TaskStatus {
                task_id: job.id,
                status: word(job.state).to_owned(),
                created_at: seconds(job.submitted_at).to_string(),
                updated_at: seconds(updated).to_string(),
                assigned_node: job.node.unwrap_or_default(),
            }
        });
        Ok(wire::GetAllTasksResponse {
            success,
            message,
            tasks: tasks.collect(),
        })
    }
}
