//! `NodeService`: of its calls one is a node's to serve, that which assigns a job to it.
//! The others are an index's.

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::{
    super::super::{PROFILE, wire},
    Node, assigned, order,
};
use crate::{caller, cyxwiz::code, port::node::execution::Execution};

/// Why a node does not serve the rest.
fn of_an_index() -> Status {
    Status::unimplemented("this is a node: nodes are registered with an index, and report to it")
}

#[tonic::async_trait]
impl<P: Execution> wire::node_service_server::NodeService for Node<P> {
    async fn assign_job(
        &self,
        request: Request<wire::AssignJobRequest>,
    ) -> Result<Response<wire::AssignJobResponse>, Status> {
        let said = request.get_ref();
        let token = said.authorization_token.clone();
        let name = said.job.as_ref().map(|job| job.job_id.clone());
        let call = caller::call(&request, &token, &name.unwrap_or_default());
        let opened = self.0.open(&call).await?;
        let said = request.into_inner();
        if !said.node_id.is_empty() && said.node_id != opened.node {
            return Err(Status::failed_precondition(format!(
                "node_id: this is node {}",
                opened.node
            )));
        }
        let config = said
            .job
            .ok_or_else(|| Status::invalid_argument("job: there is none"))?;
        let started = async {
            let order = assigned(&*self.0, &call, order(config, Bytes::new())?)?;
            Ok::<_, super::Rejected>(self.0.start(&call, order).await?)
        };
        let answer = match started.await {
            Ok(task) => wire::AssignJobResponse {
                status: code::status(PROFILE, task.state),
                job_id: task.job.to_string(),
                accepted: true,
                ..Default::default()
            },
            Err(rejected) => wire::AssignJobResponse {
                status: code::failed(PROFILE),
                job_id: opened.job.to_string(),
                accepted: false,
                error: Some(rejected.answer()?.0),
                ..Default::default()
            },
        };
        Ok(Response::new(answer))
    }

    async fn register_node(
        &self,
        _: Request<wire::RegisterNodeRequest>,
    ) -> Result<Response<wire::RegisterNodeResponse>, Status> {
        Err(of_an_index())
    }

    async fn heartbeat(
        &self,
        _: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::HeartbeatResponse>, Status> {
        Err(of_an_index())
    }

    async fn report_progress(
        &self,
        _: Request<wire::ReportProgressRequest>,
    ) -> Result<Response<wire::ReportProgressResponse>, Status> {
        Err(of_an_index())
    }

    async fn report_completion(
        &self,
        _: Request<wire::ReportCompletionRequest>,
    ) -> Result<Response<wire::ReportCompletionResponse>, Status> {
        Err(of_an_index())
    }

    async fn get_node_metrics(
        &self,
        _: Request<wire::GetNodeMetricsRequest>,
    ) -> Result<Response<wire::GetNodeMetricsResponse>, Status> {
        Err(of_an_index())
    }

    async fn notify_job_accepted(
        &self,
        _: Request<wire::JobAcceptedRequest>,
    ) -> Result<Response<wire::JobAcceptedResponse>, Status> {
        Err(of_an_index())
    }
}
