//! `AgentService` at a node: how the agent is. Its streams are the index's: a session
//! can be taken once, and only whoever issued it knows whether it was.

use std::{pin::Pin, sync::Arc};

use embermesh_proto::titancompute as wire;
use futures::Stream;
use tonic::{Request, Response, Status as GrpcStatus};
use wire::agent_service_server::AgentService;

use crate::{
    Failure, caller,
    port::node::{
        asking::Asking,
        status::{NodeNow, Status},
    },
};

/// Serves `titancompute.v1.AgentService` of one node.
#[derive(Debug)]
pub struct NodeAgent<P> {
    port: Arc<P>,
}

impl<P> NodeAgent<P> {
    /// Over a port.
    pub const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<wire::StreamResponse, GrpcStatus>> + Send>>;

#[tonic::async_trait]
impl<P: Asking + Status> AgentService for NodeAgent<P> {
    type StreamInferenceStream = Responses;

    async fn stream_inference(
        &self,
        _: Request<wire::StreamRequest>,
    ) -> Result<Response<Responses>, GrpcStatus> {
        Err(GrpcStatus::unimplemented(
            "a session is taken where it was issued: stream from the agent_endpoint that RequestInference says, which streams from this node",
        ))
    }

    async fn get_status(
        &self,
        request: Request<wire::AgentStatusRequest>,
    ) -> Result<Response<wire::AgentStatusResponse>, GrpcStatus> {
        let now = self.port.now(&caller::line(&request)).await?;
        let id = &request.get_ref().agent_id;
        if !id.is_empty() && *id != now.id {
            let message = format!("no agent {id:?} is here: this is {}", now.id);
            return Err(Failure::not_found(message).into());
        }
        let asks: u32 = now.residents.iter().map(|model| model.asks).sum();
        let answered: u64 = now.residents.iter().map(|model| model.answered).sum();
        let ready = now.residents.iter().filter(|model| model.ready);
        let names: Vec<&str> = ready.map(|model| model.name.as_str()).collect();
        let free = now.load.memory_total.saturating_sub(now.load.memory_used);
        Ok(Response::new(wire::AgentStatusResponse {
            agent_id: now.id.clone(),
            status: status(&now).to_owned(),
            free_vram_mb: free_vram(&now),
            free_ram_mb: mebibytes(free),
            active_sessions: i32::try_from(asks).unwrap_or(i32::MAX),
            total_requests_processed: i64::try_from(answered).unwrap_or(i64::MAX),
            model_loaded: names.join(","),
        }))
    }
}

fn status(now: &NodeNow) -> &'static str {
    if now.draining { "draining" } else { "healthy" }
}

/// The memory of devices that work and have nothing to do: that of a processor is the
/// machine's.
fn free_vram(now: &NodeNow) -> i64 {
    let free = now
        .devices
        .iter()
        .filter(|device| device.advert.fault.is_none() && device.busy == 0);
    mebibytes(free.map(|device| device.advert.memory_bytes).sum())
}

fn mebibytes(bytes: u64) -> i64 {
    i64::try_from(bytes >> 20).unwrap_or(i64::MAX)
}
