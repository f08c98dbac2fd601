//! `Daemon` at a node: a question to a model that is resident there, and how the machine
//! is.

use std::{sync::Arc, time::Duration};

use embermesh_job::lifecycle::JobState;
use embermesh_proto::dim::daemon as wire;
use tonic::{Request, Response, Status as GrpcStatus};
use wire::daemon_server::Daemon as Service;

use super::{
    config,
    daemon::{MAX_TIMEOUT, USUAL_TIMEOUT, word},
    question, render,
};
use crate::{
    Failure, caller,
    port::node::{
        asking::{AskedView, Asking},
        status::{NodeNow, Status},
    },
};

/// Percent of the processor or of the memory from which a node is degraded, and from
/// which it is unhealthy.
const DEGRADED: f32 = 90.0;
const UNHEALTHY: f32 = 95.0;

/// Serves `dim.daemon.Daemon` of one node.
#[derive(Debug)]
pub struct NodeDaemon<P> {
    port: Arc<P>,
}

impl<P> NodeDaemon<P> {
    /// Over a port.
    pub const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

#[tonic::async_trait]
impl<P: Asking + Status> Service for NodeDaemon<P> {
    async fn submit_job(
        &self,
        request: Request<wire::SubmitJobRequest>,
    ) -> Result<Response<wire::SubmitJobResponse>, GrpcStatus> {
        let line = caller::line(&request);
        let said = request.into_inner();
        if said.model_id.is_empty() {
            return Err(Failure::invalid("model_id is required").into());
        }
        if !said.data_source.is_empty() {
            let message = "data_source is not known here: give the data as input_data_json";
            return Err(Failure::invalid(message).into());
        }
        if said.input_data_json.len() > config::MAX_CONFIG {
            let message = format!("input_data_json has more than {} bytes", config::MAX_CONFIG);
            return Err(Failure::invalid(message).into());
        }
        let data = serde_json::from_str(&said.input_data_json)
            .map_err(|error| Failure::invalid(format!("input_data_json is not JSON: {error}")))?;
        let ask = question::ask(&data)?;
        let within = timeout(said.timeout)?;
        let asked = self
            .port
            .ask_later(&line, &said.job_id, &said.model_id, ask, within)
            .await?;
        Ok(Response::new(wire::SubmitJobResponse {
            status: word(asked.state).to_owned(),
            job_id: asked.id,
            error: None,
        }))
    }

    async fn get_job_status(
        &self,
        request: Request<wire::GetJobStatusRequest>,
    ) -> Result<Response<wire::JobStatusResponse>, GrpcStatus> {
        let line = caller::line(&request);
        let asked = self.port.asked(&line, &request.get_ref().job_id)?;
        Ok(Response::new(wire::JobStatusResponse {
            status: word(asked.state).to_owned(),
            result_json: result(&asked),
            started_at: render::iso(Some(asked.began)),
            completed_at: render::iso(asked.ended),
            execution_time: render::span(Some(asked.began), asked.ended),
            error: asked.message,
            job_id: asked.id,
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<wire::CancelJobRequest>,
    ) -> Result<Response<wire::CancelJobResponse>, GrpcStatus> {
        let line = caller::line(&request);
        let asked = self.port.unask(&line, &request.get_ref().job_id)?;
        Ok(Response::new(wire::CancelJobResponse {
            success: asked.state == JobState::Cancelled,
            message: format!("the job {:?} is {}", asked.id, word(asked.state)),
            error: None,
        }))
    }

    async fn get_health(
        &self,
        request: Request<wire::GetHealthRequest>,
    ) -> Result<Response<wire::HealthResponse>, GrpcStatus> {
        let now = self.port.now(&caller::line(&request)).await?;
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let ready = now.residents.iter().filter(|model| model.ready);
        let queued: u32 = now.residents.iter().map(|model| model.asks).sum();
        let open = self.port.counts().open;
        Ok(Response::new(wire::HealthResponse {
            status: health(&now).to_owned(),
            node_id: now.id.clone(),
            resources: Some(resources(&now)),
            cached_models: ready.map(|model| model.name.clone()).collect(),
            active_jobs: count(open as usize),
            queued_jobs: count(queued.saturating_sub(open) as usize),
        }))
    }

    async fn get_stats(
        &self,
        request: Request<wire::GetStatsRequest>,
    ) -> Result<Response<wire::StatsResponse>, GrpcStatus> {
        let now = self.port.now(&caller::line(&request)).await?;
        let counts = self.port.counts();
        let count = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
        let memory: u64 = now.residents.iter().map(|model| model.memory).sum();
        Ok(Response::new(wire::StatsResponse {
            node_id: now.id.clone(),
            total_jobs: count(counts.total),
            successful_jobs: count(counts.succeeded),
            failed_jobs: count(counts.failed),
            avg_execution_time: mean_seconds(counts.total_ms, counts.succeeded),
            cached_models_count: count(now.residents.len() as u64),
            cache_size_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
            resources: Some(resources(&now)),
        }))
    }
}

/// How long an answer may take.
pub(super) fn timeout(seconds: i32) -> Result<Duration, Failure> {
    let seconds = match seconds {
        0 => USUAL_TIMEOUT,
        seconds if (1..=MAX_TIMEOUT).contains(&seconds) => seconds,
        _ => {
            let message = format!("timeout: give 1 to {MAX_TIMEOUT} seconds");
            return Err(Failure::invalid(message));
        }
    };
    Ok(Duration::from_secs(u64::from(seconds.unsigned_abs())))
}

fn result(asked: &AskedView) -> String {
    if asked.state == JobState::Succeeded {
        question::verdict(&asked.answer).to_string()
    } else {
        String::new()
    }
}

#[allow(clippy::cast_precision_loss, reason = "the wire has floats")]
fn mean_seconds(total_ms: u64, count: u64) -> f32 {
    total_ms as f32 / 1000.0 / count.max(1) as f32
}

#[allow(clippy::cast_precision_loss, reason = "the wire has floats")]
fn memory_percent(now: &NodeNow) -> f32 {
    100.0 * now.load.memory_used as f32 / now.load.memory_total.max(1) as f32
}

fn health(now: &NodeNow) -> &'static str {
    let most = now.load.cpu_percent.max(memory_percent(now));
    if now.draining || most >= UNHEALTHY {
        "unhealthy"
    } else if most >= DEGRADED {
        "degraded"
    } else {
        "healthy"
    }
}

fn resources(now: &NodeNow) -> wire::ResourceStatus {
    use embermesh_crypto::statement::DeviceKind;
    let free = now.load.memory_total.saturating_sub(now.load.memory_used);
    let is_gpu = |kind: DeviceKind| kind != DeviceKind::Cpu;
    let mut works = now
        .devices
        .iter()
        .filter(|device| device.advert.fault.is_none());
    wire::ResourceStatus {
        cpu_available: i32::try_from(now.load.cores).unwrap_or(i32::MAX),
        memory_available_gb: i32::try_from(free >> 30).unwrap_or(i32::MAX),
        gpu_available: works.any(|device| is_gpu(device.advert.kind)),
        cpu_percent: now.load.cpu_percent,
        memory_percent: memory_percent(now),
    }
}
