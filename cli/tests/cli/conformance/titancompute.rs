//! A user of TitanCompute: a session, and the tokens that it is good for.

use embermesh_proto::titancompute::{
    InferenceRequest, StreamRequest, agent_service_client::AgentServiceClient,
    coordinator_service_client::CoordinatorServiceClient,
};
use tonic::Status;

use super::{Face, Length, Seen};
use crate::{
    support::{Link, Mesh, link},
    titancompute::with_model,
};

pub(super) struct Client {
    coordinator: CoordinatorServiceClient<Link>,
    agent: AgentServiceClient<Link>,
    name: String,
}

const PROMPT: &str = "her the";

impl Face for Client {
    const NAME: &'static str = "titancompute";
    const CALL: &'static str = "/titancompute.v1.CoordinatorService/RequestInference";
    const SESSIONS: bool = true;

    async fn mesh() -> Mesh {
        with_model("").await
    }

    async fn of(mesh: &Mesh, name: &str) -> Self {
        let link = link(mesh, "titancompute", name).await;
        Self {
            coordinator: CoordinatorServiceClient::new(link.clone()),
            agent: AgentServiceClient::new(link),
            name: name.to_owned(),
        }
    }

    async fn submit(&mut self, _: Length) -> Result<String, Status> {
        let request = InferenceRequest {
            client_id: self.name.clone(),
            model: "chat".to_owned(),
            prompt: PROMPT.to_owned(),
            ..InferenceRequest::default()
        };
        let session = self.coordinator.request_inference(request).await?;
        Ok(session.into_inner().session_token)
    }

    async fn observe(&mut self, _: &str) -> Option<Result<(Seen, f64), Status>> {
        None
    }

    async fn list(&mut self) -> Option<Result<Vec<String>, Status>> {
        None
    }

    async fn result(&mut self, job: &str) -> Result<Vec<u8>, Status> {
        let request = StreamRequest {
            session_token: job.to_owned(),
            prompt: PROMPT.to_owned(),
            max_tokens: 8,
            stream: true,
            ..StreamRequest::default()
        };
        let mut stream = self.agent.stream_inference(request).await?.into_inner();
        let mut text = Vec::new();
        while let Some(piece) = stream.message().await? {
            text.extend(piece.content.into_bytes());
        }
        Ok(text)
    }

    async fn cancel(&mut self, _: &str) -> Option<Result<(), Status>> {
        None
    }
}
