//! `JobStatusService`: what server nodes of the system say of the jobs that they have, by
//! other names than in their `NodeService`.

use tonic::{Request, Response, Status};

use super::{
    super::{PROFILE, wire},
    Adapter,
    server::{answered, ended, is_of_the_job, of, pass, refusal, taken, weights},
};
use crate::{
    cyxwiz::{caller::caller, code},
    port::{
        IndexPort,
        servers::{Advance, Served, ServerPort},
    },
};

#[tonic::async_trait]
impl<P: IndexPort + ServerPort> wire::job_status_service_server::JobStatusService for Adapter<P> {
    async fn update_job_status(
        &self,
        request: Request<wire::UpdateJobStatusRequest>,
    ) -> Result<Response<wire::UpdateJobStatusResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().node_id).await?;
        let said = request.into_inner();
        let advance = Advance {
            progress: Some(said.progress),
            pass: pass(said.current_epoch),
            metrics: said.metrics.into_iter().collect(),
            text: said.log_message,
            port: None,
        };
        let of = of(said.node_id, said.job_id);
        let error = refusal(self.0.advanced(&who, of, advance).await)?;
        Ok(Response::new(wire::UpdateJobStatusResponse {
            status: taken(error.is_none()),
            should_continue: error.is_none(),
            error,
        }))
    }

    async fn report_job_result(
        &self,
        request: Request<wire::ReportJobResultRequest>,
    ) -> Result<Response<wire::ReportJobResultResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().node_id).await?;
        let said = request.into_inner();
        let how = Served {
            state: ended("final_status", said.final_status)?,
            metrics: said.final_metrics.into_iter().collect(),
            message: said.error_message,
            weights: weights(
                said.model_weights_uri,
                said.model_weights_hash,
                said.model_size,
            ),
        };
        let of = of(said.node_id, said.job_id);
        Ok(Response::new(match self.0.served(&who, of, how).await {
            Ok(_) => wire::ReportJobResultResponse {
                status: code::SUCCESS,
                error: None,
            },
            Err(failure) => wire::ReportJobResultResponse {
                status: code::failed(PROFILE),
                error: Some(answered(failure, is_of_the_job)?),
            },
        }))
    }
}
