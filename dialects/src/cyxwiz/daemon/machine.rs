//! The machine, its line to the indexes, and its end.

use std::time::Duration;

use embermesh_crypto::statement::DeviceKind;
use futures::StreamExt as _;
use tonic::{Request, Response};

use super::{Answer, Stream, call, obeyed, wire};
use crate::{
    Failure,
    cyxwiz::code,
    port::node::{
        owner::machine::{Link, Machine, Overview},
        status::{DeviceView, Load},
    },
};

/// How often a machine is told of, where the call does not say.
const USUAL_INTERVAL_MS: i32 = 1000;
/// How often it can be.
const INTERVALS_MS: std::ops::RangeInclusive<i32> = 200..=60_000;

pub(super) async fn status<P: Machine>(
    port: &P,
    request: &Request<wire::GetStatusRequest>,
) -> Answer<wire::GetStatusResponse> {
    let overview = port.overview(&call(request, "")).await?;
    let metrics = metrics(&overview);
    let now = &overview.now;
    Ok(Response::new(wire::GetStatusResponse {
        node_id: now.id.clone(),
        version: now.version.clone(),
        central_server_status: standing(overview.link).into(),
        uptime_seconds: code::int64(now.uptime_ms / 1000),
        active_jobs: code::int32(overview.jobs.into()),
        active_deployments: code::int32(overview.deployments.into()),
        gpu_name: metrics
            .gpus
            .first()
            .map(|gpu| gpu.name.clone())
            .unwrap_or_default(),
        gpu_count: metrics.gpu_count,
        metrics: Some(metrics),
    }))
}

pub(super) async fn measured<P: Machine>(
    port: &P,
    request: &Request<wire::GetMetricsRequest>,
) -> Answer<wire::GetMetricsResponse> {
    let call = call(request, "");
    let history = port.history(&call)?;
    let overview = port.overview(&call).await?;
    Ok(Response::new(wire::GetMetricsResponse {
        metrics: Some(metrics(&overview)),
        cpu_history: history.iter().map(processor).collect(),
        ram_history: history.iter().map(memory).collect(),
        ..Default::default()
    }))
}

pub(super) fn watch<P: Machine>(
    port: &P,
    request: &Request<wire::StreamMetricsRequest>,
) -> Answer<Stream<wire::MetricsUpdate>> {
    let every = match request.get_ref().interval_ms {
        0 => USUAL_INTERVAL_MS,
        every if INTERVALS_MS.contains(&every) => every,
        _ => {
            let (least, most) = INTERVALS_MS.into_inner();
            let message = format!("interval_ms: give {least} to {most}");
            return Err(Failure::invalid(message).into());
        }
    };
    let every = Duration::from_millis(every.unsigned_abs().into());
    let seen = port.watch(&call(request, ""), every)?;
    let updates = seen.map(|overview| {
        let overview = overview?;
        Ok(wire::MetricsUpdate {
            metrics: Some(metrics(&overview)),
            timestamp: code::int64(overview.now.now.0),
        })
    });
    Ok(Response::new(updates.boxed()))
}

pub(super) fn shutdown<P: Machine>(
    port: &P,
    request: &Request<wire::ShutdownRequest>,
) -> Answer<wire::ShutdownResponse> {
    let stopped = port.stop(&call(request, ""), request.get_ref().graceful);
    let (success, error_message) = obeyed(stopped)?;
    Ok(Response::new(wire::ShutdownResponse {
        success,
        error_message,
    }))
}

/// A token in the request is for another kind of server: an index knows a node by its
/// key.
pub(super) async fn retry<P: Machine>(
    port: &P,
    request: &Request<wire::RetryConnectionRequest>,
) -> Answer<wire::RetryConnectionResponse> {
    let call = call(request, "");
    let link = port.link(&call, true).await;
    let up = link == Ok(Link::Up);
    let (success, mut error_message) = obeyed(link.map(|_| ()))?;
    if success && !up {
        "no index has taken the node yet: it is tried on".clone_into(&mut error_message);
    }
    Ok(Response::new(wire::RetryConnectionResponse {
        success: up,
        error_message,
        connected_to_central: up,
        node_id: port.overview(&call).await?.now.id,
    }))
}

pub(super) async fn disconnect<P: Machine>(
    port: &P,
    request: &Request<wire::DisconnectFromCentralRequest>,
) -> Answer<wire::DisconnectFromCentralResponse> {
    let link = port.link(&call(request, ""), false).await;
    let (success, error_message) = obeyed(link.map(|_| ()))?;
    Ok(Response::new(wire::DisconnectFromCentralResponse {
        success,
        error_message,
    }))
}

const fn standing(link: Link) -> wire::ConnectionStatus {
    match link {
        Link::Off => wire::ConnectionStatus::Disconnected,
        Link::Trying => wire::ConnectionStatus::Connecting,
        Link::Up => wire::ConnectionStatus::Connected,
    }
}

/// Shares are from 0 to 1. What no driver and no system tells stays at 0.
fn metrics(overview: &Overview) -> wire::SystemMetrics {
    let load = &overview.now.load;
    let works = |device: &&DeviceView| {
        device.advert.kind != DeviceKind::Cpu && device.advert.fault.is_none()
    };
    let gpus: Vec<_> = overview
        .now
        .devices
        .iter()
        .filter(works)
        .enumerate()
        .map(|(number, device)| gpu(number, device))
        .collect();
    wire::SystemMetrics {
        cpu_usage: processor(load),
        ram_usage: memory(load),
        ram_total_bytes: load.memory_total,
        ram_used_bytes: load.memory_used,
        vram_total_bytes: gpus.first().map_or(0, |gpu| gpu.vram_total_bytes),
        gpu_count: code::int32(gpus.len() as u64),
        gpus,
        ..Default::default()
    }
}

fn gpu(number: usize, device: &DeviceView) -> wire::GpuMetrics {
    let is_nvidia = device.advert.kind == DeviceKind::Cuda;
    wire::GpuMetrics {
        device_id: code::int32(number as u64),
        name: device.advert.name.clone(),
        vendor: if is_nvidia { "NVIDIA" } else { "" }.to_owned(),
        vram_total_bytes: device.advert.memory_bytes,
        is_nvidia,
        ..Default::default()
    }
}

fn processor(load: &Load) -> f32 {
    load.cpu_percent / 100.0
}

#[allow(clippy::cast_precision_loss, reason = "the wire has floats")]
fn memory(load: &Load) -> f32 {
    load.memory_used as f32 / load.memory_total.max(1) as f32
}
