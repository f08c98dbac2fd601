//! An agent of TitanCompute's own, in this process. It takes whoever shows a session that
//! is signed by the coordinator and names it, and says the words of the prompt backwards.

use std::{pin::Pin, time::SystemTime};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use embermesh_proto::titancompute::{
    AgentRegistration, AgentStatusRequest, AgentStatusResponse, HealthUpdate, InferenceRequest,
    PublicKeyRequest, StreamRequest, StreamResponse,
    agent_service_server::{AgentService, AgentServiceServer},
    coordinator_service_client::CoordinatorServiceClient,
};
use futures::Stream;
use serde_json::Value;
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    support::{Mesh, link},
    titancompute::{answer, streamed},
};

const MODEL: &str = "backwards";
const ID: &str = "agent-1";

struct Agent {
    /// The public half of the coordinator's key, as DER.
    key: Vec<u8>,
}

impl Agent {
    /// What a session says, where it is one for this agent.
    fn session(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key)
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let (_, claims) = signed.split_once('.')?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let lives = claims["exp"].as_u64()? > now.ok()?.as_secs();
        (lives && claims["agent_id"] == ID && claims["model"] == MODEL).then_some(claims)
    }
}

fn backwards(prompt: &str) -> Vec<&str> {
    prompt.split(' ').rev().collect()
}

#[tonic::async_trait]
impl AgentService for Agent {
    type StreamInferenceStream = Pin<Box<dyn Stream<Item = Result<StreamResponse, Status>> + Send>>;

    async fn stream_inference(
        &self,
        request: Request<StreamRequest>,
    ) -> Result<Response<Self::StreamInferenceStream>, Status> {
        let said = request.into_inner();
        let refused = || Status::unauthenticated("Invalid session token");
        self.session(&said.session_token).ok_or_else(refused)?;
        let words = backwards(&said.prompt);
        let last = words.len() - 1;
        let pieces = words.into_iter().enumerate().map(|(at, word)| {
            Ok(StreamResponse {
                content: format!("{word} "),
                done: at == last,
                created_at: 1,
                ..StreamResponse::default()
            })
        });
        let pieces: Vec<_> = pieces.collect();
        Ok(Response::new(Box::pin(futures::stream::iter(pieces))))
    }

    async fn get_status(
        &self,
        _: Request<AgentStatusRequest>,
    ) -> Result<Response<AgentStatusResponse>, Status> {
        Err(Status::unimplemented("nobody asks for it"))
    }
}

/// An agent joins, and a client is sent to it and answered by it.
pub(super) async fn runs(mesh: &Mesh) -> String {
    let mut ops = CoordinatorServiceClient::new(link(mesh, "titancompute", "agents").await);
    let key = ops.get_public_key(PublicKeyRequest {}).await.unwrap();
    let pem = key.into_inner().public_key_pem;
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let key = BASE64_STANDARD.decode(lines.collect::<String>()).unwrap();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = incoming.local_addr().unwrap().to_string();
    let service = AgentServiceServer::new(Agent { key });
    // It ends with the runtime of the test.
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    let offer = AgentRegistration {
        agent_id: ID.to_owned(),
        endpoint: endpoint.clone(),
        total_ram_mb: 16_000,
        max_jobs: 2,
        supported_models: vec![MODEL.to_owned()],
        ..AgentRegistration::default()
    };
    ops.register_agent(offer).await.unwrap();
    let health = HealthUpdate {
        agent_id: ID.to_owned(),
        free_ram_mb: 8_000,
        ..HealthUpdate::default()
    };
    let acks = ops.report_health(futures::stream::iter([health])).await;
    let ack = acks.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!(ack.status, "ok", "{}", ack.message);

    let prompt = "the cat sat on it";
    let mut user = CoordinatorServiceClient::new(link(mesh, "titancompute", "alice").await);
    let request = InferenceRequest {
        client_id: "alice".to_owned(),
        model: MODEL.to_owned(),
        prompt: prompt.to_owned(),
        ..InferenceRequest::default()
    };
    let session = user.request_inference(request).await.unwrap().into_inner();
    assert_eq!(session.agent_endpoint, endpoint);
    let request = streamed(&session.session_token, prompt);
    let (text, pieces) = answer(&endpoint, request).await.unwrap();
    assert_eq!((text.trim_end(), pieces), ("it on sat cat the", 5));
    // One that the coordinator has not signed gets nothing from the agent.
    let (head, _) = session.session_token.rsplit_once('.').unwrap();
    let forged = answer(&endpoint, streamed(&format!("{head}.AAAA"), prompt)).await;
    assert_eq!(forged.unwrap_err().code(), Code::Unauthenticated);
    format!("{pieces} words by a session that the agent has verified")
}
