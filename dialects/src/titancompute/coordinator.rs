//! `CoordinatorService`: which agent answers.

use std::{pin::Pin, sync::Arc};

use embermesh_crypto::Digest;
use embermesh_proto::titancompute as wire;
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use wire::coordinator_service_server::CoordinatorService;

use super::ISSUER;
use crate::{
    Dialect, ErrorCode, Failure, caller,
    port::{
        agents::{AgentHealth, AgentOffer, AgentView, Agents, Standing},
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

/// How often an agent is to say how it is, in seconds.
const HEARTBEAT_S: i32 = 15;

fn count(number: i64, name: &str) -> Result<u64, Failure> {
    u64::try_from(number).map_err(|_| Failure::invalid(format!("{name} is less than nothing")))
}

fn places(number: i32, name: &str) -> Result<u32, Failure> {
    u32::try_from(number).map_err(|_| Failure::invalid(format!("{name} is less than nothing")))
}

fn offer(said: wire::AgentRegistration) -> Result<AgentOffer, Failure> {
    required(&said.agent_id, "agent_id")?;
    required(&said.endpoint, "endpoint")?;
    Ok(AgentOffer {
        id: said.agent_id,
        endpoint: said.endpoint,
        vram_mb: count(said.total_vram_mb, "total_vram_mb")?,
        ram_mb: count(said.total_ram_mb, "total_ram_mb")?,
        most_jobs: places(said.max_jobs, "max_jobs")?,
        models: said.supported_models,
    })
}

fn health(said: &wire::HealthUpdate) -> Result<AgentHealth, Failure> {
    Ok(AgentHealth {
        free_vram_mb: count(said.free_vram_mb, "free_vram_mb")?,
        free_ram_mb: count(said.free_ram_mb, "free_ram_mb")?,
        running: places(said.running_jobs, "running_jobs")?,
        cpu_percent: said.cpu_percent,
        rtt_ms: said.rtt_ms,
    })
}

/// What a sign of life is answered with: what is wrong with it is said in band.
fn ack(agent_id: String, taken: Result<(), Failure>) -> wire::HealthAck {
    let (status, message) = match taken {
        Ok(()) => ("ok", String::new()),
        Err(failure) => ("error", failure.message),
    };
    wire::HealthAck {
        agent_id,
        status: status.to_owned(),
        message,
    }
}

#[tonic::async_trait]
impl<P: Users + Models + Nodes + Sessions + Agents> CoordinatorService for Coordinator<P> {
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
        let deployed = models
            .into_iter()
            .find(|model| model.name == said.model || model.job == said.model);
        let (agent, model, endpoint, rtt_ms) = match deployed {
            Some(found) => {
                let agent = found.node.peer.to_string();
                (agent, found.job, self.port.endpoint(), 0.0)
            }
            None => {
                let found = self.port.agent_for(Dialect::TitanCompute, &said.model);
                let found = found.await?.ok_or_else(|| {
                    let message =
                        format!("no agents available: nobody has {:?} loaded", said.model);
                    Failure::new(ErrorCode::Unavailable, message)
                })?;
                let offer = found.offer;
                (
                    offer.id,
                    said.model.clone(),
                    offer.endpoint,
                    found.health.rtt_ms,
                )
            }
        };
        let grant = Grant {
            client,
            agent: agent.clone(),
            model,
            prompt: (!said.prompt.is_empty()).then(|| Digest::of(said.prompt.as_bytes())),
        };
        let session = self.port.issue(&grant).await?;
        Ok(Response::new(wire::InferenceResponse {
            agent_endpoint: endpoint,
            session_token: session.token,
            expires_at: i64::try_from(session.expires.0 / 1000).unwrap_or(i64::MAX),
            job_id: session.id,
            estimated_rtt_ms: rtt_ms,
            agent_id: agent,
        }))
    }

    async fn register_agent(
        &self,
        request: Request<wire::AgentRegistration>,
    ) -> Result<Response<wire::RegistrationResponse>, Status> {
        let credentials = caller::credentials(&request, "", "");
        let offer = offer(request.into_inner())?;
        self.port
            .enroll(Dialect::TitanCompute, credentials, offer)
            .await?;
        Ok(Response::new(wire::RegistrationResponse {
            status: "success".to_owned(),
            message: "Agent registered successfully".to_owned(),
            heartbeat_interval_seconds: HEARTBEAT_S,
        }))
    }

    type ReportHealthStream =
        Pin<Box<dyn Stream<Item = Result<wire::HealthAck, Status>> + Send + 'static>>;

    async fn report_health(
        &self,
        request: Request<Streaming<wire::HealthUpdate>>,
    ) -> Result<Response<Self::ReportHealthStream>, Status> {
        let credentials = caller::credentials(&request, "", "");
        let port = Arc::clone(&self.port);
        let acks = request.into_inner().then(move |update| {
            let (port, credentials) = (Arc::clone(&port), credentials.clone());
            async move {
                let said = update?;
                let taken = match health(&said) {
                    Ok(health) => {
                        let (dialect, id) = (Dialect::TitanCompute, &said.agent_id);
                        port.report(dialect, credentials, id, health).await
                    }
                    Err(failure) => Err(failure),
                };
                Ok(ack(said.agent_id, taken))
            }
        });
        Ok(Response::new(Box::pin(acks)))
    }

    async fn query_system_status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::SystemStatus>, Status> {
        let nodes = self.port.nodes().await?;
        let foreign = self.port.agents(Dialect::TitanCompute).await?;
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let own_jobs = nodes.iter().map(|node| u64::from(node.running));
        let foreign_jobs = foreign.iter().map(|agent| u64::from(agent.health.running));
        let jobs: u64 = own_jobs.chain(foreign_jobs).sum();
        let healthy = nodes.iter().filter(|node| node.live).count()
            + foreign
                .iter()
                .filter(|agent| agent.standing == Standing::Healthy)
                .count();
        let agents = if request.get_ref().include_agents {
            let nodes = nodes.iter().map(agent_status);
            nodes.chain(foreign.iter().map(foreign_status)).collect()
        } else {
            Vec::new()
        };
        let up = self.port.now().0.saturating_sub(self.port.started_at().0);
        Ok(Response::new(wire::SystemStatus {
            total_agents: count(nodes.len() + foreign.len()),
            healthy_agents: count(healthy),
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

fn foreign_status(agent: &AgentView) -> wire::AgentStatus {
    wire::AgentStatus {
        agent_id: agent.offer.id.clone(),
        status: agent.standing.as_str().to_owned(),
        free_vram_mb: i64::try_from(agent.health.free_vram_mb).unwrap_or(i64::MAX),
        running_jobs: i32::try_from(agent.health.running).unwrap_or(i32::MAX),
        last_heartbeat: i64::try_from(agent.heard_at.0 / 1000).unwrap_or(i64::MAX),
    }
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
