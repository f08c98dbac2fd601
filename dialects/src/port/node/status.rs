//! The machine of a node, and what it does.

use embermesh_crypto::{
    UnixMillis,
    statement::{DeviceAdvert, Runtime},
};

use super::{Line, asking::ResidentView};
use crate::Failure;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// What it is, and why it does not work if it does not.
    pub advert: DeviceAdvert,
    /// Tasks on it.
    pub busy: u32,
}

/// What is taken of the machine now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Percent of all cores together.
    pub cpu_percent: f32,
    /// Cores.
    pub cores: u32,
    /// Bytes of memory in use.
    pub memory_used: u64,
    /// Bytes of memory.
    pub memory_total: u64,
}

/// A node at one moment.
#[derive(Clone, Debug)]
pub struct NodeNow {
    /// Its id.
    pub id: String,
    /// The version of its program.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// The time, by its clock.
    pub now: UnixMillis,
    /// Whether it takes nothing more and will stop.
    pub draining: bool,
    /// Its devices.
    pub devices: Vec<DeviceView>,
    /// Tasks that it can run at once, and how many more it would take now.
    pub slots: (u32, u32),
    /// What is taken of the machine.
    pub load: Load,
    /// Bytes of blobs, and how many blobs there are.
    pub blobs: (u64, u64),
    /// The most bytes of blobs.
    pub blob_quota: u64,
    /// What of programs of clients runs here.
    pub runtimes: Vec<Runtime>,
    /// Peers of the mesh.
    pub peers: u64,
    /// Indexes that it registers with.
    pub indexes: Vec<String>,
    /// Whether one of them has taken it.
    pub registered: bool,
    /// Models that are resident.
    pub residents: Vec<ResidentView>,
}

/// The verbs over the machine.
#[tonic::async_trait]
pub trait Status: Send + Sync + 'static {
    /// The node now, for whoever may speak to it.
    async fn now(&self, line: &Line) -> Result<NodeNow, Failure>;
}
