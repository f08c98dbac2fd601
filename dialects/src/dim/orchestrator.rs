//! `Orchestrator`: jobs in one of three patterns.

use std::{collections::BTreeMap, sync::Arc};

use embermesh_job::lifecycle::JobState;
use embermesh_proto::dim::{common, orchestrator as wire};
use tonic::{Request, Response, Status};
use wire::orchestrator_server::Orchestrator as Service;

use super::{
    config::{self, Pattern},
    render,
};
use crate::{
    Dialect, ErrorCode, Failure, caller,
    port::{
        Principal,
        plans::{PlanSubmission, Plans},
        users::Users,
    },
};

/// Jobs of a page, where the call does not say.
const PAGE: usize = 50;
/// The most jobs of a page.
const LONGEST_PAGE: usize = 500;

/// Serves `dim.orchestrator.Orchestrator`.
#[derive(Debug)]
pub struct Orchestrator<P> {
    port: Arc<P>,
}

impl<P> Orchestrator<P> {
    /// Over a port.
    pub const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

impl<P: Users + Plans> Orchestrator<P> {
    async fn who<T>(&self, request: &Request<T>, user: &str) -> Result<Principal, Failure> {
        let credentials = caller::credentials(request, "", user);
        let who = self.port.authenticate(Dialect::Dim, credentials).await?;
        if !user.is_empty() && who.name != user {
            let message = format!("user_id {user:?} is not who the token was given to");
            return Err(Failure::new(ErrorCode::Denied, message));
        }
        Ok(who)
    }
}

#[tonic::async_trait]
impl<P: Users + Plans> Service for Orchestrator<P> {
    async fn submit_job(
        &self,
        request: Request<wire::SubmitJobRequest>,
    ) -> Result<Response<wire::SubmitJobResponse>, Status> {
        let who = self.who(&request, &request.get_ref().user_id).await?;
        let said = request.into_inner();
        let pattern = match said.pattern() {
            common::Pattern::Collaborative => Pattern::Collaborative,
            common::Pattern::Comparative => Pattern::Comparative,
            common::Pattern::Chained => Pattern::Chained,
            common::Pattern::Unspecified => {
                let message = "pattern: say collaborative, comparative or chained";
                return Err(Failure::invalid(message).into());
            }
        };
        if said.max_cost < 0 {
            return Err(Failure::invalid("max_cost: give 0 or more").into());
        }
        let submission = PlanSubmission {
            foreign_id: None,
            plan: config::plan(pattern, &said.config_json)?,
            notes: BTreeMap::from([
                (render::PATTERN.to_owned(), pattern.word().to_owned()),
                (render::CONFIG.to_owned(), said.config_json),
            ]),
        };
        let plan = self.port.submit_plan(&who, submission).await?;
        Ok(Response::new(wire::SubmitJobResponse {
            job_id: plan.id,
            status: render::word(plan.state).to_owned(),
            estimated_cost: 0,
            estimated_completion: String::new(),
            error: None,
        }))
    }

    async fn get_job_status(
        &self,
        request: Request<wire::GetJobStatusRequest>,
    ) -> Result<Response<wire::JobStatusResponse>, Status> {
        let who = self.who(&request, "").await?;
        let plan = self.port.plan(&who, &request.get_ref().job_id).await?;
        Ok(Response::new(render::status(&plan)))
    }

    async fn cancel_job(
        &self,
        request: Request<wire::CancelJobRequest>,
    ) -> Result<Response<wire::CancelJobResponse>, Status> {
        let who = self.who(&request, &request.get_ref().user_id).await?;
        let id = &request.get_ref().job_id;
        let plan = self.port.cancel_plan(&who, id).await?;
        Ok(Response::new(wire::CancelJobResponse {
            success: plan.state == JobState::Cancelled,
            message: format!("the job {id:?} is {}", render::word(plan.state)),
            error: None,
        }))
    }

    async fn get_job_result(
        &self,
        request: Request<wire::GetJobResultRequest>,
    ) -> Result<Response<wire::JobResultResponse>, Status> {
        let who = self.who(&request, "").await?;
        let plan = self.port.plan(&who, &request.get_ref().job_id).await?;
        if !plan.state.is_final() {
            let state = render::word(plan.state);
            let message = format!("the job {:?} has no result yet: it is {state}", plan.id);
            return Err(Failure::new(ErrorCode::Precondition, message).into());
        }
        let error = (plan.state != JobState::Succeeded).then(|| common::Error {
            code: "JOB_FAILED".to_owned(),
            message: plan.message.clone(),
            details: String::new(),
        });
        let used = plan.tasks.iter().filter(|task| task.node.is_some()).count();
        Ok(Response::new(wire::JobResultResponse {
            result_json: render::result(&plan)
                .map(|json| json.to_string())
                .unwrap_or_default(),
            metadata: Some(wire::ResultMetadata {
                nodes_used: i32::try_from(used).unwrap_or(i32::MAX),
                total_execution_time: render::span(render::began(&plan), plan.ended_at),
                total_cost: 0,
                completed_at: render::iso(plan.ended_at),
            }),
            job_id: plan.id,
            error,
        }))
    }

    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Result<Response<wire::ListJobsResponse>, Status> {
        let who = self.who(&request, &request.get_ref().user_id).await?;
        let said = request.get_ref();
        let states: &[JobState] = match said.status_filter() {
            common::JobState::Unspecified => &[],
            common::JobState::Pending => &[JobState::Queued, JobState::Assigned],
            common::JobState::Running => &[JobState::Running, JobState::Paused],
            common::JobState::Completed => &[JobState::Succeeded],
            common::JobState::Failed => &[JobState::Failed],
            common::JobState::Cancelled => &[JobState::Cancelled],
        };
        let number = |name: &str, number: i32| {
            usize::try_from(number).map_err(|_| Failure::invalid(format!("{name}: give 0 or more")))
        };
        let most = match number("limit", said.limit)? {
            0 => PAGE,
            most => most.min(LONGEST_PAGE),
        };
        let skip = number("offset", said.offset)?;
        let (plans, total) = self.port.plans(&who, states, skip, most).await?;
        Ok(Response::new(wire::ListJobsResponse {
            jobs: plans.iter().map(render::status).collect(),
            total: i32::try_from(total).unwrap_or(i32::MAX),
            limit: i32::try_from(most).unwrap_or(i32::MAX),
            offset: said.offset,
        }))
    }
}
