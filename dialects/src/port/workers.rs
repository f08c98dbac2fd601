//! Workers that are not nodes of the mesh: programs of foreign systems that take tasks by
//! their system's own calls.

use bytes::Bytes;
use embermesh_crypto::UnixMillis;

use super::{
    Principal,
    jobs::{JobView, Submission},
    users::Credentials,
};
use crate::{Dialect, Failure, Profile};

/// What a task's result is called that a worker has made. It is given back as it came.
pub const RESULT: &str = "result.zip";

/// What a worker says of itself. Nothing of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The id that it wants to be known by.
    pub id: String,
    /// The form of the wire that it speaks.
    pub form: Profile,
    /// The host that it says it is. It is called where it registered from.
    pub host: String,
    /// The port that it serves.
    pub port: u16,
    /// Cores of the processor; 0 where it does not say.
    pub cores: u32,
    /// Memory, in bytes; 0 where it does not say.
    pub memory: u64,
    /// What its graphics card is called.
    pub gpu: Option<String>,
    /// The memory of that, in bytes.
    pub gpu_memory: u64,
    /// Where it is, in its owner's words.
    pub region: Option<String>,
}

/// A worker that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// What it said of itself.
    pub offer: Offer,
    /// Whether it has been heard of lately.
    pub live: bool,
    /// When it was last heard of.
    pub last_heard: Option<UnixMillis>,
}

/// What somebody says of a task. `worker` is the id, where the call has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfTask {
    /// Who says it.
    pub worker: Option<String>,
    /// The task, as it was called when the worker was given it.
    pub task: String,
}

/// Workers, and tasks for them.
#[tonic::async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Makes a worker known, or known anew. It belongs to the first who registered it.
    ///
    /// # Errors
    /// `Denied` when its id is somebody else's.
    async fn enroll(
        &self,
        dialect: Dialect,
        credentials: Credentials,
        offer: Offer,
    ) -> Result<(), Failure>;

    /// A sign of life of the caller's worker, with what it says it does.
    async fn alive(&self, who: &Principal, worker: &str, state: &str) -> Result<(), Failure>;

    /// Every worker of a system, by its id.
    async fn workers(&self, dialect: Dialect) -> Result<Vec<WorkerView>, Failure>;

    /// Takes a job on that a worker can run too: `package` is the form in which the
    /// system's workers take it.
    async fn take_on(
        &self,
        who: &Principal,
        job: Submission,
        package: Bytes,
    ) -> Result<JobView, Failure>;
}

/// What workers say of the tasks that they have. A worker speaks only of those: a report
/// on another is refused with `Denied`, or `NotFound` where there is no such task.
#[tonic::async_trait]
pub trait Reports: Send + Sync + 'static {
    /// Something that a task has written.
    async fn wrote(&self, who: &Principal, of: OfTask, text: String) -> Result<(), Failure>;

    /// What a task has made; said again, it takes the place of what was said before.
    async fn made(&self, who: &Principal, of: OfTask, result: Bytes) -> Result<(), Failure>;

    /// The end of a task, and whether it went well.
    async fn ended(&self, who: &Principal, of: OfTask, well: bool) -> Result<(), Failure>;
}
