//! `CoordinatorService`: which agent answers.

use std::{pin::Pin, sync::Arc};

use embermesh_crypto::Digest;
use embermesh_proto::titancompute as wire;
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};
use wire::coordinator_service_server::CoordinatorService;

use super::ISSUER;
use crate::{
    Dialect, ErrorCode, Failure, caller,
    port::{
        models::Models,
        nodes::{NodeView, Nodes},
        sessions::{Grant, Sessions},
        users::Users,
    },
};

/// Serves `titancompute.v1.CoordinatorService`.
#[derive(Debug)]
pub struct Coordinator<P> {
    port: Arc<P>,
}

impl<P> Coordinator<P> {
    /// Over a port.
    pub const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

fn required(value: &str, name: &str) -> Result<(), Failure> {
    if value.is_empty() {
        return Err(Failure::invalid(format!("{name} is required")));
    }
    Ok(())
}

/// Why a foreign agent cannot join here.
fn no_agents() -> Status {
    Status::unimplemented(
        "agents of other kinds are not taken in: run `embermesh node run` beside the model, and deploy it",
    )
}

#[tonic::async_trait]
impl<P: Users + Models + Nodes + Sessions> CoordinatorService for Coordinator<P> {
    async fn request_inference(
        &self,
        request: Request<wire::InferenceRequest>,
    ) -> Result<Response<wire::InferenceResponse>, Status> {
        let said = request.get_ref();
        required(&said.client_id, "client_id")?;
        required(&said.model, "model")?;
        let credentials = caller::credentials(&request, "", &said.client_id);
        let client = self
            .port
            .authenticate(Dialect::TitanCompute, credentials)
            .await?;
        let models = self.port.models(&client).await?;
        let found = models
            .into_iter()
            .find(|model| model.name == said.model || model.job == said.model)
            .ok_or_else(|| {
                let message = format!("no agents available: nobody has {:?} loaded", said.model);
                Failure::new(ErrorCode::Unavailable, message)
            })?;
        let agent = found.node.peer.to_string();
        let grant = Grant {
            client,
            agent: agent.clone(),
            model: found.job,
            prompt: (!said.prompt.is_empty()).then(|| Digest::of(said.prompt.as_bytes())),
        };
        let session = self.port.issue(&grant).await?;
        Ok(Response::new(wire::InferenceResponse {
            agent_endpoint: self.port.endpoint(),
            session_token: session.token,
            expires_at: i64::try_from(session.expires.0 / 1000).unwrap_or(i64::MAX),
            job_id: session.id,
            estimated_rtt_ms: 0.0,
            agent_id: agent,
        }))
    }

    async fn register_agent(
        &self,
        _: Request<wire::AgentRegistration>,
    ) -> Result<Response<wire::RegistrationResponse>, Status> {
        Err(no_agents())
    }

    type ReportHealthStream =
        Pin<Box<dyn Stream<Item = Result<wire::HealthAck, Status>> + Send + 'static>>;

    async fn report_health(
        &self,
        _: Request<Streaming<wire::HealthUpdate>>,
    ) -> Result<Response<Self::ReportHealthStream>, Status> {
        Err(no_agents())
    }

    async fn query_system_status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::SystemStatus>, Status> {
        let nodes = self.port.nodes().await?;
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let jobs: u64 = nodes.iter().map(|node| u64::from(node.running)).sum();
        let agents = if request.get_ref().include_agents {
            nodes.iter().map(agent_status).collect()
        } else {
            Vec::new()
        };
        let up = self.port.now().0.saturating_sub(self.port.started_at().0);
        Ok(Response::new(wire::SystemStatus {
            total_agents: count(nodes.len()),
            healthy_agents: count(nodes.iter().filter(|node| node.live).count()),
            total_jobs: i32::try_from(jobs).unwrap_or(i32::MAX),
            uptime: format!("{}s", up / 1000),
            agents,
        }))
    }

    async fn get_public_key(
        &self,
        _: Request<wire::PublicKeyRequest>,
    ) -> Result<Response<wire::PublicKeyResponse>, Status> {
        Ok(Response::new(wire::PublicKeyResponse {
            public_key_pem: self.port.public_key(),
            algorithm: "RS256".to_owned(),
            issuer: ISSUER.to_owned(),
        }))
    }
}

/// Mebibytes of the memory that all devices of a node have free together.
pub(super) fn free_mb(node: &NodeView) -> i64 {
    let devices = node.advert.iter().flat_map(|advert| &advert.devices);
    let bytes: u64 = devices.map(|device| device.memory_bytes).sum();
    i64::try_from(bytes >> 20).unwrap_or(i64::MAX)
}

fn agent_status(node: &NodeView) -> wire::AgentStatus {
    wire::AgentStatus {
        agent_id: node.address.peer.to_string(),
        status: if node.live { "healthy" } else { "offline" }.to_owned(),
        free_vram_mb: free_mb(node),
        running_jobs: i32::try_from(node.running).unwrap_or(i32::MAX),
        last_heartbeat: i64::try_from(node.last_seen.0 / 1000).unwrap_or(i64::MAX),
    }
}
