//! Nodes and workers of the system, as the pool lists them, and workers that join.

use embermesh_crypto::statement::DeviceKind;
use tonic::Request;

use super::{Pool, PoolPort, codec::Registration};
use crate::{
    Dialect, Failure, Profile, caller,
    port::{
        nodes::NodeView,
        workers::{Offer, WorkerView},
    },
};

/// The longest text of what a worker says of itself, in bytes.
const MAX_TEXT: usize = 256;

/// A node, in the system's own measures.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) node_id: String,
    pub(super) hostname: String,
    pub(super) port: i32,
    /// What nodes say of themselves has no number of cores: 0.
    pub(super) cpu_cores: i32,
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

/// A worker as it is listed, by what it says of itself.
fn listed_worker(worker: WorkerView) -> Listed {
    let offer = worker.offer;
    Listed {
        node_id: offer.id,
        hostname: offer.host,
        port: offer.port.into(),
        cpu_cores: whole(offer.cores.into()),
        memory_gb: gb(offer.memory),
        gpu_memory_gb: gb(offer.gpu_memory),
        gpu_name: offer.gpu.unwrap_or_default(),
        location: offer.region.unwrap_or_default(),
        last_heartbeat: worker.last_heard.map(seconds).unwrap_or_default(),
        live: worker.live,
        ..Listed::default()
    }
}

fn offer(registration: Registration, form: Profile) -> Result<Offer, Failure> {
    let bytes = |gb: i32| u64::from(u32::try_from(gb).unwrap_or_default()) << 30;
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let texts = [
        &registration.hostname,
        &registration.location,
        &registration.gpu_name,
    ];
    if texts.iter().any(|text| text.len() > MAX_TEXT) {
        let message = format!("what a worker says of itself has {MAX_TEXT} bytes at most a field");
        return Err(Failure::invalid(message));
    }
    let port = u16::try_from(registration.port)
        .ok()
        .filter(|port| *port > 0);
    Ok(Offer {
        id: registration.node_id,
        form: registration.form.unwrap_or(form),
        host: registration.hostname,
        port: port.ok_or_else(|| Failure::invalid("say the port that the worker serves"))?,
        cores: u32::try_from(registration.cpu_cores).unwrap_or_default(),
        memory: bytes(registration.memory_gb),
        gpu: given(registration.gpu_name),
        gpu_memory: bytes(registration.gpu_memory_gb),
        region: given(registration.location),
    })
}

impl<P: PoolPort> Pool<P> {
    /// Every node and every worker, for whoever has logged in.
    pub(super) async fn nodes<T>(&self, request: &Request<T>) -> Result<Vec<Listed>, Failure> {
        self.who(request, "", "").await?;
        let nodes = self.port.nodes().await?;
        let workers = self.port.workers(Dialect::HiveMind).await?;
        let nodes = nodes.iter().map(listed);
        Ok(nodes
            .chain(workers.into_iter().map(listed_worker))
            .collect())
    }

    /// Whether a node or a worker is heard of, or, without an id, that the pool answers.
    pub(super) async fn health(&self, id: &str) -> Result<bool, Failure> {
        if id.is_empty() {
            return Ok(true);
        }
        let workers = self.port.workers(Dialect::HiveMind).await?;
        if let Some(worker) = workers.iter().find(|worker| worker.offer.id == id) {
            return Ok(worker.live);
        }
        let nodes = self.port.nodes().await?;
        let node = nodes
            .iter()
            .find(|node| node.address.peer.to_string() == id);
        node.map(|node| node.live)
            .ok_or_else(|| Failure::not_found(format!("there is no node {id:?}")))
    }

    pub(super) async fn enroll(
        &self,
        request: Request<Registration>,
        form: Profile,
    ) -> Result<String, Failure> {
        let credentials = caller::credentials(&request, "", &request.get_ref().node_id);
        let offer = offer(request.into_inner(), form)?;
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
}
