//! Nodes as the pool lists them, and workers of the system that report to it.

use bytes::Bytes;
use embermesh_crypto::statement::DeviceKind;
use tonic::Request;

use super::{Pool, caller::credentials, codec::Registration};
use crate::{
    Dialect, Failure,
    port::{
        IndexPort,
        nodes::{NodeView, Nodes as _},
        workers::{OfTask, Offer, Workers},
    },
};

/// A node, in the system's own measures.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) node_id: String,
    pub(super) hostname: String,
    pub(super) port: i32,
    pub(super) memory_gb: i32,
    pub(super) cpu_score: i32,
    pub(super) gpu_score: i32,
    pub(super) gpu_memory_gb: i32,
    pub(super) gpu_name: String,
    pub(super) location: String,
    /// Seconds since the epoch.
    pub(super) last_heartbeat: f64,
    pub(super) live: bool,
}

/// A node as it is listed: its processor and its largest graphics card; a score is
/// thousands of millions of operations a second, as measured.
fn listed(node: &NodeView) -> Listed {
    let mut listed = Listed {
        node_id: node.address.peer.to_string(),
        last_heartbeat: seconds(node.last_seen),
        live: node.live,
        ..Listed::default()
    };
    if let Some((host, port)) = node.address.tls.first().and_then(|at| at.rsplit_once(':')) {
        host.clone_into(&mut listed.hostname);
        listed.port = port.parse().unwrap_or_default();
    }
    let Some(advert) = &node.advert else {
        return listed;
    };
    listed.location.clone_from(&advert.region);
    let offered = advert
        .devices
        .iter()
        .filter(|device| device.fault.is_none());
    for device in offered {
        let (memory, score) = (gb(device.memory_bytes), whole(device.mflops / 1000));
        if device.kind == DeviceKind::Cpu {
            (listed.memory_gb, listed.cpu_score) = (memory, score);
        } else if listed.gpu_name.is_empty() || memory > listed.gpu_memory_gb {
            (listed.gpu_memory_gb, listed.gpu_score) = (memory, score);
            listed.gpu_name.clone_from(&device.name);
        }
    }
    listed
}

/// An instant as the system writes it: seconds since the epoch.
#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds are exact in a double for longer than anybody looks"
)]
pub(super) fn seconds(at: embermesh_crypto::UnixMillis) -> f64 {
    at.0 as f64 / 1000.0
}

fn gb(bytes: u64) -> i32 {
    whole(bytes >> 30)
}

fn whole(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn offer(registration: Registration) -> Offer {
    let bytes = |gb: i32| u64::from(u32::try_from(gb).unwrap_or_default()) << 30;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let endpoint = format!("{}:{}", registration.hostname, registration.port);
    Offer {
        id: registration.node_id,
        endpoint: Some(endpoint).filter(|_| !registration.hostname.is_empty()),
        cores: u32::try_from(registration.cpu_cores).unwrap_or_default(),
        memory: bytes(registration.memory_gb),
        gpu: given(registration.gpu_name),
        gpu_memory: bytes(registration.gpu_memory_gb),
        region: given(registration.location),
    }
}

impl<P: IndexPort + Workers> Pool<P> {
    /// Every node, for whoever has logged in.
    pub(super) async fn nodes<T>(&self, request: &Request<T>) -> Result<Vec<Listed>, Failure> {
        self.who(request, "", "").await?;
        let nodes = self.port.nodes().await?;
        Ok(nodes.iter().map(listed).collect())
    }

    /// Whether a node is heard of, or, without an id, that the pool answers.
    pub(super) async fn health(&self, id: &str) -> Result<bool, Failure> {
        if id.is_empty() {
            return Ok(true);
        }
        let nodes = self.port.nodes().await?;
        let node = nodes
            .iter()
            .find(|node| node.address.peer.to_string() == id);
        node.map(|node| node.live)
            .ok_or_else(|| Failure::not_found(format!("there is no node {id:?}")))
    }

    pub(super) async fn enroll(&self, request: Request<Registration>) -> Result<String, Failure> {
        let credentials = credentials(&request, "", &request.get_ref().node_id);
        let offer = offer(request.into_inner());
        self.port
            .enroll(Dialect::HiveMind, credentials, offer)
            .await?;
        Ok("the worker is known".to_owned())
    }

    pub(super) async fn alive<T>(
        &self,
        request: &Request<T>,
        worker: &str,
        state: &str,
    ) -> Result<String, Failure> {
        let who = self.who(request, "", worker).await?;
        self.port.alive(&who, worker, state).await?;
        Ok("noted".to_owned())
    }

    pub(super) async fn wrote<T>(
        &self,
        request: &Request<T>,
        worker: &str,
        task: &str,
        text: &str,
    ) -> Result<String, Failure> {
        let who = self.who(request, "", worker).await?;
        let of = of(worker, task);
        self.port.wrote(&who, of, text.to_owned()).await?;
        Ok("kept".to_owned())
    }

    pub(super) async fn made<T>(
        &self,
        request: &Request<T>,
        task: &str,
        result: Bytes,
    ) -> Result<String, Failure> {
        let who = self.who(request, "", "").await?;
        self.port.made(&who, of("", task), result).await?;
        Ok("kept".to_owned())
    }

    pub(super) async fn ended<T>(
        &self,
        request: &Request<T>,
        worker: &str,
        task: &str,
        well: bool,
    ) -> Result<String, Failure> {
        let who = self.who(request, "", worker).await?;
        self.port.ended(&who, of(worker, task), well).await?;
        Ok("noted".to_owned())
    }
}

fn of(worker: &str, task: &str) -> OfTask {
    OfTask {
        worker: Some(worker.to_owned()).filter(|worker| !worker.is_empty()),
        task: task.to_owned(),
    }
}
