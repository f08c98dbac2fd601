//! `P2PTrainingService`: verbs of `JobExecutionService`, by themselves.

use tonic::{Request, Response, Status};

use super::{super::super::wire, Node};
use crate::{caller, port::node::execution::Execution};

#[tonic::async_trait]
impl<P: Execution> wire::p2p_training_service_server::P2pTrainingService for Node<P> {
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
        let started = self.start_new(&call, request.into_inner()).await?;
        Ok(Response::new(started))
    }
}
