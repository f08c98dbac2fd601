//! A user of TitanCompute: a session, and the tokens that it is good for.

use embermesh_proto::titancompute::{
    InferenceRequest, StreamRequest, agent_service_client::AgentServiceClient,
    coordinator_service_client::CoordinatorServiceClient,
};
use tonic::Status;

use super::{Face, Length, Link, Seen, link};
use crate::support::{Mesh, tiny};

/// A mesh in which everybody may ask a tiny model.
pub(super) async fn with_model() -> Mesh {
    let mesh = Mesh::start(1).await;
    let path = mesh.path().join("tiny.gguf");
    std::fs::write(&path, tiny::endless(100_000).bytes()).unwrap();
    let mut words = vec!["deploy", path.to_str().unwrap(), "--name", "chat"];
    words.extend(["--memory", "512 MiB", "--context", "100000", "--anyone"]);
    mesh.json(&words).await;
    mesh
}

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
        with_model().await
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
