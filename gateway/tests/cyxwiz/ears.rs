//! What a server node of CyxWiz hears: its two services, which take every job and tell the
//! test of it. The tests of `cli` use it too.

use embermesh_proto::cyxwiz::protocol::{
    self as wire, job_execution_service_server as execution, node_service_server as service,
};
use futures::stream::{self, BoxStream};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// What a server node was told.
#[derive(Debug)]
pub(crate) enum Told {
    Assign(Box<wire::AssignJobRequest>),
    Connect(wire::ConnectRequest),
    Send(Box<wire::SendJobRequest>),
}

#[derive(Clone)]
struct Ears(mpsc::Sender<Told>);

impl Ears {
    async fn hear(&self, told: Told) {
        // The test may have ended.
        let _ = self.0.send(told).await;
    }
}

fn not_here() -> Status {
    Status::unimplemented("a server node has no such call")
}

#[tonic::async_trait]
impl service::NodeService for Ears {
    async fn assign_job(
        &self,
        request: Request<wire::AssignJobRequest>,
    ) -> Result<Response<wire::AssignJobResponse>, Status> {
        self.hear(Told::Assign(Box::new(request.into_inner())))
            .await;
        Ok(Response::new(wire::AssignJobResponse {
            status: 1,
            accepted: true,
            ..Default::default()
        }))
    }

    async fn register_node(
        &self,
        _: Request<wire::RegisterNodeRequest>,
    ) -> Result<Response<wire::RegisterNodeResponse>, Status> {
        Err(not_here())
    }

    async fn heartbeat(
        &self,
        _: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::HeartbeatResponse>, Status> {
        Err(not_here())
    }

    async fn report_progress(
        &self,
        _: Request<wire::ReportProgressRequest>,
    ) -> Result<Response<wire::ReportProgressResponse>, Status> {
        Err(not_here())
    }

    async fn report_completion(
        &self,
        _: Request<wire::ReportCompletionRequest>,
    ) -> Result<Response<wire::ReportCompletionResponse>, Status> {
        Err(not_here())
    }

    async fn get_node_metrics(
        &self,
        _: Request<wire::GetNodeMetricsRequest>,
    ) -> Result<Response<wire::GetNodeMetricsResponse>, Status> {
        Err(not_here())
    }

    async fn notify_job_accepted(
        &self,
        _: Request<wire::JobAcceptedRequest>,
    ) -> Result<Response<wire::JobAcceptedResponse>, Status> {
        Err(not_here())
    }
}

#[tonic::async_trait]
impl execution::JobExecutionService for Ears {
    async fn connect_to_node(
        &self,
        request: Request<wire::ConnectRequest>,
    ) -> Result<Response<wire::ConnectResponse>, Status> {
        self.hear(Told::Connect(request.into_inner())).await;
        Ok(Response::new(wire::ConnectResponse {
            status: 1,
            ..Default::default()
        }))
    }

    async fn send_job(
        &self,
        request: Request<wire::SendJobRequest>,
    ) -> Result<Response<wire::SendJobResponse>, Status> {
        self.hear(Told::Send(Box::new(request.into_inner()))).await;
        Ok(Response::new(wire::SendJobResponse {
            status: 1,
            accepted: true,
            ..Default::default()
        }))
    }

    async fn disconnect_from_node(
        &self,
        _: Request<wire::DisconnectRequest>,
    ) -> Result<Response<wire::DisconnectResponse>, Status> {
        Err(not_here())
    }

    type StreamTrainingMetricsStream = BoxStream<'static, Result<wire::TrainingUpdate, Status>>;

    async fn stream_training_metrics(
        &self,
        _: Request<Streaming<wire::TrainingCommand>>,
    ) -> Result<Response<Self::StreamTrainingMetricsStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    type DownloadWeightsStream = BoxStream<'static, Result<wire::WeightsChunk, Status>>;

    async fn download_weights(
        &self,
        _: Request<wire::DownloadRequest>,
    ) -> Result<Response<Self::DownloadWeightsStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    async fn pause_training(
        &self,
        _: Request<wire::PauseTrainingRequest>,
    ) -> Result<Response<wire::PauseTrainingResponse>, Status> {
        Err(not_here())
    }

    async fn resume_training(
        &self,
        _: Request<wire::ResumeTrainingRequest>,
    ) -> Result<Response<wire::ResumeTrainingResponse>, Status> {
        Err(not_here())
    }

    async fn cancel_training(
        &self,
        _: Request<wire::CancelTrainingRequest>,
    ) -> Result<Response<wire::CancelTrainingResponse>, Status> {
        Err(not_here())
    }

    async fn start_new_job(
        &self,
        _: Request<wire::StartNewJobRequest>,
    ) -> Result<Response<wire::StartNewJobResponse>, Status> {
        Err(not_here())
    }
}

/// Serves a server node at an address; its port, and what it will be told.
pub(crate) async fn listen(address: &str) -> (u16, mpsc::Receiver<Told>) {
    let (sender, told) = mpsc::channel(64);
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let ears = Ears(sender);
    // It ends with the runtime of the test.
    tokio::spawn(
        Server::builder()
            .add_service(service::NodeServiceServer::new(ears.clone()))
            .add_service(execution::JobExecutionServiceServer::new(ears))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (port, told)
}
