//! `Daemon`: one question to one model.

use std::{collections::BTreeMap, sync::Arc};

use embermesh_job::lifecycle::JobState;
use embermesh_proto::dim::daemon as wire;
use tonic::{Request, Response, Status};
use wire::daemon_server::Daemon as Service;

use super::{config, nameless, node, render};
use crate::{
    Failure,
    port::{
        plans::{PlanSubmission, PlanView, Plans},
        users::Users,
    },
};

/// How long a job may take, where the call does not say.
pub(super) const USUAL_TIMEOUT: i32 = 300;
/// The longest that it may say, in seconds.
pub(super) const MAX_TIMEOUT: i32 = 24 * 3600;

/// Serves `dim.daemon.Daemon`. What is asked of a machine (its health, its counts) is a
/// node's to say, and not served where many nodes stand behind one port.
#[derive(Debug)]
pub struct Daemon<P> {
    port: Arc<P>,
}

impl<P> Daemon<P> {
    /// Over a port.
    pub const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

/// A state as this service says it.
pub(super) const fn word(state: JobState) -> &'static str {
    match state {
        JobState::Queued | JobState::Assigned => "queued",
        other => render::word(other),
    }
}

fn output(plan: &PlanView) -> String {
    let output = plan
        .combined
        .as_ref()
        .and_then(|combined| combined.output.as_ref());
    output
        .map(|output| render::value(output).to_string())
        .unwrap_or_default()
}

/// Why the machine is not described.
fn of_a_node() -> Status {
    Status::unimplemented("many nodes stand behind this port: `embermesh nodes ls` shows each")
}

#[tonic::async_trait]
impl<P: Users + Plans> Service for Daemon<P> {
    async fn submit_job(
        &self,
        request: Request<wire::SubmitJobRequest>,
    ) -> Result<Response<wire::SubmitJobResponse>, Status> {
        let who = nameless(&*self.port, &request).await?;
        let said = request.into_inner();
        if said.model_id.is_empty() {
            return Err(Failure::invalid("model_id is required").into());
        }
        if !said.data_source.is_empty() {
            let message = "data_source is not known here: give the data as input_data_json";
            return Err(Failure::invalid(message).into());
        }
        if said.input_data_json.len() > config::MAX_CONFIG {
            let message = format!("input_data_json has more than {} bytes", config::MAX_CONFIG);
            return Err(Failure::invalid(message).into());
        }
        let data = serde_json::from_str(&said.input_data_json)
            .map_err(|error| Failure::invalid(format!("input_data_json is not JSON: {error}")))?;
        let timeout = node::timeout(said.timeout)?;
        let plan = config::single(&said.model_id, data, timeout)
            .map_err(|error| Failure::invalid(error.to_string()))?;
        let submission = PlanSubmission {
            foreign_id: (!said.job_id.is_empty()).then_some(said.job_id),
            plan,
            notes: BTreeMap::new(),
        };
        let plan = self.port.submit_plan(&who, submission).await?;
        Ok(Response::new(wire::SubmitJobResponse {
            job_id: plan.id,
            status: word(plan.state).to_owned(),
            error: None,
        }))
    }

    async fn get_job_status(
        &self,
        request: Request<wire::GetJobStatusRequest>,
    ) -> Result<Response<wire::JobStatusResponse>, Status> {
        let who = nameless(&*self.port, &request).await?;
        let plan = self.port.plan(&who, &request.get_ref().job_id).await?;
        let began = render::began(&plan);
        Ok(Response::new(wire::JobStatusResponse {
            status: word(plan.state).to_owned(),
            result_json: output(&plan),
            error: plan.message,
            started_at: render::iso(began),
            completed_at: render::iso(plan.ended_at),
            execution_time: render::span(began, plan.ended_at),
            job_id: plan.id,
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<wire::CancelJobRequest>,
    ) -> Result<Response<wire::CancelJobResponse>, Status> {
        let who = nameless(&*self.port, &request).await?;
        let id = &request.get_ref().job_id;
        let plan = self.port.cancel_plan(&who, id).await?;
        Ok(Response::new(wire::CancelJobResponse {
            success: plan.state == JobState::Cancelled,
            message: format!("the job {id:?} is {}", word(plan.state)),
            error: None,
        }))
    }

    async fn get_health(
        &self,
        _: Request<wire::GetHealthRequest>,
    ) -> Result<Response<wire::HealthResponse>, Status> {
        Err(of_a_node())
    }

    async fn get_stats(
        &self,
        _: Request<wire::GetStatsRequest>,
    ) -> Result<Response<wire::StatsResponse>, Status> {
        Err(of_a_node())
    }
}
