//! `NodeService` at an index: server nodes of the system that join, live, and speak of the
//! jobs that they were assigned. What a server says of a job that is not with it (any
//! more) is answered in the message, with a word that it shall not go on; whoever may not
//! speak for a server gets a gRPC status.

use embermesh_crypto::UnixMillis;
use embermesh_job::lifecycle::JobState;
use tonic::{Request, Response, Status};

use super::{
    super::{ASSIGN_OFFSET, PROFILE, server_device, wire},
    Adapter, error,
};
use crate::{
    ErrorCode, Failure, caller as credentials,
    cyxwiz::{
        caller::{caller, caller_with},
        code, find,
    },
    port::{
        IndexPort,
        nodes::NodeView,
        servers::{
            Advance, OfServed, Served, ServerBeat, ServerOffer, ServerPort, ServerView, Weights,
        },
    },
};

/// The longest text that a server says of itself, in bytes.
const MAX_TEXT: usize = 256;
/// The most devices of a server, and the most runtimes.
const MAX_LIST: usize = 64;

#[tonic::async_trait]
impl<P: IndexPort + ServerPort> wire::node_service_server::NodeService for Adapter<P> {
    async fn register_node(
        &self,
        request: Request<wire::RegisterNodeRequest>,
    ) -> Result<Response<wire::RegisterNodeResponse>, Status> {
        let said = request.get_ref();
        let id = said.info.as_ref().map_or("", |info| &info.node_id);
        let who = caller_with(&*self.0, &request, &said.authentication_token, id).await?;
        let remote = credentials::remote(&request);
        let info = request.into_inner().info;
        let info = info.ok_or_else(|| Status::invalid_argument("info: there is none"))?;
        let enrolled = match offer(info) {
            Ok(offer) => self.0.enroll(&who, remote, offer).await,
            Err(invalid) => Err(invalid),
        };
        Ok(Response::new(match enrolled {
            Ok(enrolled) => wire::RegisterNodeResponse {
                status: code::SUCCESS,
                node_id: enrolled.id,
                session_token: enrolled.key,
                error: None,
            },
            Err(failure) => wire::RegisterNodeResponse {
                status: code::failed(PROFILE),
                error: Some(answered(failure, code::is_answer)?),
                ..Default::default()
            },
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::HeartbeatResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().node_id).await?;
        let said = request.into_inner();
        let free = said.current_status.map_or(0, |status| status.ram_available);
        let beat = ServerBeat {
            free_memory: u64::try_from(free).ok().filter(|free| *free > 0),
            jobs: said.active_jobs,
        };
        let stopped = self.0.alive(&who, &said.node_id, beat).await?;
        Ok(Response::new(wire::HeartbeatResponse {
            status: code::SUCCESS,
            keep_alive: true,
            jobs_to_cancel: stopped,
            error: None,
        }))
    }

    async fn assign_job(
        &self,
        _: Request<wire::AssignJobRequest>,
    ) -> Result<Response<wire::AssignJobResponse>, Status> {
        Err(Status::unimplemented(
            "jobs are assigned at nodes: call the node, or submit the job here",
        ))
    }

    async fn report_progress(
        &self,
        request: Request<wire::ReportProgressRequest>,
    ) -> Result<Response<wire::ReportProgressResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().node_id).await?;
        let said = request.into_inner();
        let status = said.status.unwrap_or_default();
        let mut metrics = status.metrics;
        metrics.extend(said.current_metrics);
        let advance = Advance {
            progress: Some(status.progress),
            pass: pass(status.current_epoch),
            metrics: metrics.into_iter().collect(),
            ..Advance::default()
        };
        let of = of(said.node_id, said.job_id);
        let heard = self.0.advanced(&who, of, advance).await;
        let error = refusal(heard)?;
        Ok(Response::new(wire::ReportProgressResponse {
            status: taken(error.is_none()),
            continue_job: error.is_none(),
            error,
        }))
    }

    async fn report_completion(
        &self,
        request: Request<wire::ReportCompletionRequest>,
    ) -> Result<Response<wire::ReportCompletionResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().node_id).await?;
        let said = request.into_inner();
        let result = said
            .result
            .ok_or_else(|| Status::invalid_argument("result: there is none"))?;
        let how = Served {
            state: ended("result.status", result.status)?,
            metrics: result.final_metrics.into_iter().collect(),
            message: String::new(),
            weights: weights(
                result.model_weights_uri,
                result.model_weights_hash,
                result.model_size,
            ),
        };
        let of = of(said.node_id, said.job_id);
        Ok(Response::new(match self.0.served(&who, of, how).await {
            Ok(paid) => wire::ReportCompletionResponse {
                status: code::SUCCESS,
                payment_released: paid.is_some(),
                payment_tx_hash: paid.unwrap_or_default(),
                error: None,
            },
            Err(failure) => wire::ReportCompletionResponse {
                status: code::failed(PROFILE),
                error: Some(answered(failure, is_of_the_job)?),
                ..Default::default()
            },
        }))
    }

    async fn get_node_metrics(
        &self,
        request: Request<wire::GetNodeMetricsRequest>,
    ) -> Result<Response<wire::GetNodeMetricsResponse>, Status> {
        caller(&*self.0, &request, "").await?;
        let said = request.into_inner();
        let servers = self.0.servers().await?;
        let point = match servers
            .iter()
            .find(|server| server.offer.id == said.node_id)
        {
            Some(server) => server_load(server)?,
            None => {
                let nodes = self.0.nodes().await?;
                let is_it = |node: &&NodeView| node.address.peer.to_string() == said.node_id;
                let node = nodes.iter().find(is_it).ok_or_else(|| {
                    Failure::not_found(format!("node_id: there is no node {:?}", said.node_id))
                })?;
                node_load(node)?
            }
        };
        // A time of 0 leaves its end open.
        let is_meant = point.timestamp >= said.start_time
            && (said.end_time == 0 || point.timestamp <= said.end_time);
        let outside = || {
            let message = format!(
                "no history is kept: the one point that is known is of {}",
                point.timestamp
            );
            error(code::error(ErrorCode::NotFound), message, String::new())
        };
        Ok(Response::new(wire::GetNodeMetricsResponse {
            error: (!is_meant).then(outside),
            metrics: if is_meant { vec![point] } else { Vec::new() },
        }))
    }

    async fn notify_job_accepted(
        &self,
        request: Request<wire::JobAcceptedRequest>,
    ) -> Result<Response<wire::JobAcceptedResponse>, Status> {
        let who = caller(&*self.0, &request, &request.get_ref().node_id).await?;
        let said = request.into_inner();
        let port = said.node_endpoint.rsplit_once(':');
        let advance = Advance {
            port: port.and_then(|(_, port)| port.parse().ok()),
            ..Advance::default()
        };
        let of = of(said.node_id, said.job_id);
        let error = refusal(self.0.advanced(&who, of, advance).await)?;
        Ok(Response::new(wire::JobAcceptedResponse {
            status: taken(error.is_none()),
            acknowledged: error.is_none(),
            error,
        }))
    }
}

/// Whether a failure is about a job, and so an answer to the server that speaks of it.
pub(super) const fn is_of_the_job(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotFound | ErrorCode::Precondition)
}

/// A failure in the message, where it is an answer, else as a status.
pub(super) fn answered(
    failure: Failure,
    is_answer: fn(ErrorCode) -> bool,
) -> Result<wire::Error, Status> {
    if is_answer(failure.code) {
        let code = code::error(failure.code);
        return Ok(error(code, failure.message, String::new()));
    }
    Err(failure.into())
}

/// Why a server shall not go on with a job, if it shall not.
pub(super) fn refusal(heard: Result<(), Failure>) -> Result<Option<wire::Error>, Status> {
    heard.err().map_or(Ok(None), |failure| {
        answered(failure, is_of_the_job).map(Some)
    })
}

pub(super) const fn taken(is_taken: bool) -> i32 {
    if is_taken {
        code::SUCCESS
    } else {
        code::failed(PROFILE)
    }
}

pub(super) const fn of(server: String, job: String) -> OfServed {
    OfServed { server, job }
}

/// The pass that a number says; 0 says none.
pub(super) fn pass(epoch: i32) -> u32 {
    u32::try_from(epoch).unwrap_or(0)
}

/// The end that a number says.
pub(super) fn ended(field: &str, number: i32) -> Result<JobState, Failure> {
    if number == code::SUCCESS {
        return Ok(JobState::Succeeded);
    }
    let ends = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];
    let found = ends
        .into_iter()
        .find(|state| code::status(PROFILE, *state) == number);
    found.ok_or_else(|| Failure::invalid(format!("{field}: {number} is no end of a job")))
}

/// Weights that a server keeps, where it says anything of them.
pub(super) fn weights(uri: String, hash: String, size: i64) -> Option<Weights> {
    let is_said = !uri.is_empty() || !hash.is_empty();
    is_said.then(|| Weights {
        uri,
        hash,
        size: u64::try_from(size).unwrap_or(0),
    })
}

/// What a server says of itself.
fn offer(info: wire::NodeInfo) -> Result<ServerOffer, Failure> {
    let texts = [&info.node_id, &info.name, &info.region];
    let names = info.devices.iter().map(|device| &device.device_name);
    let long = |text: &String| text.len() > MAX_TEXT;
    if texts.into_iter().chain(names).any(long) || info.available_runtimes.iter().any(long) {
        let message = format!("info: a text of it has {MAX_TEXT} bytes at most");
        return Err(Failure::invalid(message));
    }
    if info.devices.len() > MAX_LIST || info.available_runtimes.len() > MAX_LIST {
        let message = format!("info: {MAX_LIST} devices and as many runtimes at most");
        return Err(Failure::invalid(message));
    }
    let port = u16::try_from(info.port).ok().filter(|port| *port > 0);
    let ports = port.and_then(|port| Some((port, port.checked_add(ASSIGN_OFFSET)?)));
    let (port, assign_port) =
        ports.ok_or_else(|| Failure::invalid(format!("info.port: {} is no port", info.port)))?;
    let version = info.version.unwrap_or_default();
    Ok(ServerOffer {
        id: info.node_id,
        name: info.name,
        form: PROFILE,
        port,
        assign_port,
        version: format!("{}.{}.{}", version.major, version.minor, version.patch),
        cores: u32::try_from(info.cpu_cores).unwrap_or(0),
        memory: u64::try_from(info.ram_total).unwrap_or(0),
        devices: info.devices.into_iter().map(server_device).collect(),
        region: info.region,
        price: info.pricing.as_ref().map(price).transpose()?,
        runtimes: info.available_runtimes,
    })
}

/// What an hour costs by a list of prices.
fn price(pricing: &wire::NodePricing) -> Result<u64, Failure> {
    let others = [
        pricing.price_per_epoch,
        pricing.price_per_job_base,
        pricing.price_per_inference,
        pricing.minimum_charge,
    ];
    if pricing.billing_model != 0 || others.iter().any(|price| *price != 0.0) {
        return Err(Failure::invalid(
            "info.pricing: servers are paid by the hour here: leave price_per_hour alone in it",
        ));
    }
    let micros = find::price("info.pricing.price_per_hour", pricing.price_per_hour)?;
    Ok(micros.unwrap_or(0))
}

/// What a server has said of its load when it was heard last.
#[allow(clippy::cast_precision_loss, reason = "a share")]
fn server_load(server: &ServerView) -> Result<wire::MetricPoint, Failure> {
    let (Some(at), Some(free), 1..) = (server.heard_at, server.free_memory, server.offer.memory)
    else {
        return Err(unknown(&server.offer.id));
    };
    let used = server.offer.memory.saturating_sub(free);
    Ok(wire::MetricPoint {
        memory_usage: used as f64 / server.offer.memory as f64,
        ..point(at)
    })
}

/// What a node of the mesh says of its load: how many of its places are taken.
fn node_load(node: &NodeView) -> Result<wire::MetricPoint, Failure> {
    let advert = node.advert.as_ref().filter(|advert| advert.slots > 0);
    let advert = advert.ok_or_else(|| unknown(&node.address.peer.to_string()))?;
    let taken = advert.slots.saturating_sub(advert.free_slots);
    Ok(wire::MetricPoint {
        cpu_usage: f64::from(taken) / f64::from(advert.slots),
        ..point(advert.issued_at)
    })
}

fn point(at: UnixMillis) -> wire::MetricPoint {
    wire::MetricPoint {
        timestamp: code::seconds(Some(at)),
        ..Default::default()
    }
}

fn unknown(id: &str) -> Failure {
    let message = format!("nothing is known of the load of {id:?} now");
    Failure::new(ErrorCode::Precondition, message)
}
