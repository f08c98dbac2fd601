//! Workers that are not nodes of the mesh: programs of foreign systems that take tasks by
//! their system's own calls.

use bytes::Bytes;

use super::{Principal, users::Credentials};
use crate::{Dialect, ErrorCode, Failure};

/// What a worker says of itself. Nothing of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The id that it wants to be known by.
    pub id: String,
    /// Where it says that it can be called, as `host:port`.
    pub endpoint: Option<String>,
    /// Cores of the processor.
    pub cores: u32,
    /// Memory, in bytes.
    pub memory: u64,
    /// What its graphics card is called.
    pub gpu: Option<String>,
    /// The memory of that, in bytes.
    pub gpu_memory: u64,
    /// Where it is, in its owner's words.
    pub region: Option<String>,
}

/// What somebody says of a task. `worker` is the id, where the call has one; without, the
/// caller's only worker is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfTask {
    /// Who says it.
    pub worker: Option<String>,
    /// The task, as the lease named it.
    pub task: String,
}

/// A task that a worker has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is called.
    pub task: String,
    /// The program, in the form that the system's workers run.
    pub data: Bytes,
}

/// The verbs of foreign workers. A worker belongs to the first principal that registered
/// it, and speaks only of tasks that it has been given: a report on any other is refused
/// with `Denied`, or `NotFound` where there is no such task, before anything is looked at.
///
/// Whoever takes no foreign workers leaves the verbs as they are: they refuse, with the
/// cure.
#[tonic::async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Makes a worker known, or known anew.
    async fn enroll(
        &self,
        _dialect: Dialect,
        _credentials: Credentials,
        _offer: Offer,
    ) -> Result<(), Failure> {
        Err(none_taken())
    }

    /// A sign of life of the caller's worker, with what it says it does.
    async fn alive(&self, _who: &Principal, _worker: &str, _state: &str) -> Result<(), Failure> {
        Err(none_taken())
    }

    /// The next task for a worker, if there is one.
    async fn lease(&self, _who: &Principal, _worker: &str) -> Result<Option<Lease>, Failure> {
        Err(none_taken())
    }

    /// Something that a task has written.
    async fn wrote(&self, _who: &Principal, _of: OfTask, _text: String) -> Result<(), Failure> {
        Err(none_taken())
    }

    /// What a task has made.
    async fn made(&self, _who: &Principal, _of: OfTask, _result: Bytes) -> Result<(), Failure> {
        Err(none_taken())
    }

    /// The end of a task, and whether it went well.
    async fn ended(&self, _who: &Principal, _of: OfTask, _well: bool) -> Result<(), Failure> {
        Err(none_taken())
    }
}

fn none_taken() -> Failure {
    let message = "no workers of foreign systems are taken here: run an embermesh node beside it";
    Failure::new(ErrorCode::Unimplemented, message)
}
