//! The machine of a node, and what it does.

use embermesh_crypto::{UnixMillis, statement::DeviceAdvert};

use super::{Line, asking::ResidentView, execution::TaskView};
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
    /// Peers of the mesh.
    pub peers: u64,
    /// Indexes that it registers with.
    pub indexes: Vec<String>,
    /// Whether one of them has taken it.
    pub registered: bool,
    /// Models that are resident.
    pub residents: Vec<ResidentView>,
}

/// A task as its node's owner sees it.
#[derive(Clone, Debug)]
pub struct OwnedTask {
    /// The task.
    pub task: TaskView,
    /// Its client's key.
    pub client: String,
    /// Where it runs; empty once it has ended.
    pub device: String,
    /// When it was admitted.
    pub began: UnixMillis,
}

/// The verbs over the machine.
#[tonic::async_trait]
pub trait Status: Send + Sync + 'static {
    /// The node now, for whoever may speak to it.
    async fn now(&self, line: &Line) -> Result<NodeNow, Failure>;
}
