//! `ZiskDistributedApi`: streams of provers, and what operators ask.

use std::{pin::Pin, sync::Arc};

use embermesh_proto::zisk as wire;
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};
use wire::{
    job_status_response::Result as JobResult, jobs_list_response::Result as JobsResult,
    launch_proof_response::Result as LaunchResult, provers_list_response::Result as ProversResult,
    system_status_response::Result as StatusResult,
    zisk_distributed_api_server::ZiskDistributedApi as Service,
};

use super::{render, stream};
use crate::{
    Dialect, Failure, caller,
    port::{
        Principal,
        provers::{ProofRequest, ProofView, Proofs, Provers},
        sessions::Sessions,
        users::Users,
    },
};

/// The longest name of a block, and the longest path of an input, in bytes.
const MAX_TEXT: usize = 4096;

/// Serves `zisk.distributed.api.v1.ZiskDistributedApi`.
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

impl<P: Users + Provers + Proofs + Sessions> Coordinator<P> {
    /// Who makes a call: whom its token says, or the address that it comes from.
    async fn who<T>(&self, request: &Request<T>) -> Result<Principal, Failure> {
        let address = caller::remote(request).map(|remote| remote.to_canonical().to_string());
        // A name has no colons.
        let name = address.unwrap_or_default().replace(':', "-");
        let credentials = caller::credentials(request, "", &name);
        self.port.authenticate(Dialect::Zisk, credentials).await
    }

    async fn converse(
        &self,
        request: Request<Streaming<wire::ProverMessage>>,
    ) -> Result<Response<Messages>, Status> {
        let who = self.who(&request).await?;
        let port = Arc::clone(&self.port);
        let messages = stream::conversation(port, who, request.into_inner());
        Ok(Response::new(Box::pin(messages)))
    }

    async fn list(
        &self,
        request: Request<wire::ProversListRequest>,
    ) -> Result<Response<wire::ProversListResponse>, Status> {
        self.who(&request).await?;
        let free_only = request.get_ref().available_only;
        let provers = self.port.provers().into_iter();
        let provers = provers.filter(|prover| !free_only || prover.here && prover.busy.is_none());
        let provers = provers.map(render::prover).collect();
        Ok(Response::new(wire::ProversListResponse {
            result: Some(ProversResult::ProversList(wire::ProversList { provers })),
        }))
    }
}

/// A proof to make, as a call asks for it.
fn asked(said: wire::LaunchProofRequest) -> Result<ProofRequest, Failure> {
    if said.simulated_node.is_some() {
        let message = "simulated_node makes no proof and is not served: leave it out";
        return Err(Failure::invalid(message));
    }
    if said.compute_capacity == 0 {
        let message = "compute_capacity: say how many units the proof is of";
        return Err(Failure::invalid(message));
    }
    if said.input_path.is_empty() {
        let message = "input_path: say where provers find the input";
        return Err(Failure::invalid(message));
    }
    for (name, text) in [
        ("block_id", &said.block_id),
        ("input_path", &said.input_path),
    ] {
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            let message =
                format!("{name}: give {MAX_TEXT} bytes at most, without control characters");
            return Err(Failure::invalid(message));
        }
    }
    Ok(ProofRequest {
        block: said.block_id,
        input: said.input_path,
        units: said.compute_capacity,
    })
}

fn status(
    found: Result<ProofView, Failure>,
    with_proof: bool,
) -> Response<wire::JobStatusResponse> {
    let result = match found {
        Ok(view) => JobResult::Job(render::job(view, with_proof)),
        Err(failure) => JobResult::Error(render::error(failure)),
    };
    Response::new(wire::JobStatusResponse {
        result: Some(result),
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

type Messages = Pin<Box<dyn Stream<Item = Result<wire::CoordinatorMessage, Status>> + Send>>;

#[tonic::async_trait]
impl<P: Users + Provers + Proofs + Sessions> Service for Coordinator<P> {
    type WorkerStreamStream = Messages;
    type ProverStreamStream = Messages;

    async fn worker_stream(
        &self,
        request: Request<Streaming<wire::ProverMessage>>,
    ) -> Result<Response<Messages>, Status> {
        self.converse(request).await
    }

    async fn prover_stream(
        &self,
        request: Request<Streaming<wire::ProverMessage>>,
    ) -> Result<Response<Messages>, Status> {
        self.converse(request).await
    }

    async fn provers_list(
        &self,
        request: Request<wire::ProversListRequest>,
    ) -> Result<Response<wire::ProversListResponse>, Status> {
        self.list(request).await
    }

    async fn workers_list(
        &self,
        request: Request<wire::ProversListRequest>,
    ) -> Result<Response<wire::ProversListResponse>, Status> {
        self.list(request).await
    }

    async fn health_check(
        &self,
        _: Request<wire::HealthCheckRequest>,
    ) -> Result<Response<wire::HealthCheckResponse>, Status> {
        Ok(Response::new(wire::HealthCheckResponse {}))
    }

    async fn system_status(
        &self,
        request: Request<wire::SystemStatusRequest>,
    ) -> Result<Response<wire::SystemStatusResponse>, Status> {
        self.who(&request).await?;
        let provers = self.port.provers();
        let busy = provers.iter().filter(|prover| prover.busy.is_some());
        let busy = busy.count();
        let idle = provers
            .iter()
            .filter(|prover| prover.here && prover.busy.is_none());
        let capacity = provers
            .iter()
            .fold(0u32, |sum, prover| sum.saturating_add(prover.capacity));
        let status = wire::SystemStatus {
            total_provers: count(provers.len()),
            compute_capacity: capacity,
            idle_provers: count(idle.count()),
            busy_provers: count(busy),
            active_jobs: count(self.port.open_proofs()),
        };
        Ok(Response::new(wire::SystemStatusResponse {
            result: Some(StatusResult::Status(status)),
        }))
    }

    async fn status_info(
        &self,
        request: Request<wire::StatusInfoRequest>,
    ) -> Result<Response<wire::StatusInfoResponse>, Status> {
        self.who(&request).await?;
        let started = self.port.started_at();
        let here = self.port.provers().into_iter();
        let here = here.filter(|prover| prover.here).count();
        Ok(Response::new(wire::StatusInfoResponse {
            service_name: "embermesh".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.port.now().0.saturating_sub(started.0) / 1000,
            start_time: Some(render::timestamp(started)),
            metrics: Some(wire::Metrics {
                active_connections: count(here),
            }),
        }))
    }

    async fn jobs_list(
        &self,
        request: Request<wire::JobsListRequest>,
    ) -> Result<Response<wire::JobsListResponse>, Status> {
        let who = self.who(&request).await?;
        let result = match self.port.proofs(&who, request.get_ref().active_only).await {
            Ok(proofs) => {
                let jobs = proofs.into_iter().map(|view| render::job(view, false));
                JobsResult::JobsList(wire::JobsList {
                    jobs: jobs.collect(),
                })
            }
            Err(failure) => JobsResult::Error(render::error(failure)),
        };
        Ok(Response::new(wire::JobsListResponse {
            result: Some(result),
        }))
    }

    async fn job_status(
        &self,
        request: Request<wire::JobStatusRequest>,
    ) -> Result<Response<wire::JobStatusResponse>, Status> {
        let who = self.who(&request).await?;
        let said = request.into_inner();
        let found = self.port.proof(&who, &said.job_id).await;
        Ok(status(found, said.with_proof))
    }

    async fn job_cancel(
        &self,
        request: Request<wire::JobCancelRequest>,
    ) -> Result<Response<wire::JobStatusResponse>, Status> {
        let who = self.who(&request).await?;
        let cancelled = self
            .port
            .cancel_proof(&who, &request.get_ref().job_id)
            .await;
        Ok(status(cancelled, false))
    }

    async fn launch_proof(
        &self,
        request: Request<wire::LaunchProofRequest>,
    ) -> Result<Response<wire::LaunchProofResponse>, Status> {
        let who = self.who(&request).await?;
        let launched = match asked(request.into_inner()) {
            Ok(asked) => self.port.launch_proof(&who, asked).await,
            Err(failure) => Err(failure),
        };
        let result = match launched {
            Ok(id) => LaunchResult::JobId(id),
            Err(failure) => LaunchResult::Error(render::error(failure)),
        };
        Ok(Response::new(wire::LaunchProofResponse {
            result: Some(result),
        }))
    }
}
