//! HiveMind: the node pool's side of its wire, in its documented form and in the one that
//! shipped, and the pool's calls to its workers.
//!
//! `Pool` has the logic once; a profile's module says how its messages are written.
//! Whether a call went well is in its answer, with gRPC's OK, and the system's numbers
//! stand at the head of its `message` (`code` lists them). Two answers of the documented
//! form have no room for that (`GetNodeListResponse`, `GetAllTasksResponse`): there a
//! failure is a gRPC status with the same message.
//!
//! A session's token is taken from the metadata (`authorization: Bearer …`) and from the
//! fields that the shipped form has for it.
//!
//! - `people`, `tasks`, `nodes`, `reports`: users, tasks, nodes and workers, what workers say.
//! - `program`, `results`: a task's archive becomes a job, and its results an archive.
//! - `services`, `documented`, `shipped`: the calls, in both forms.
//! - `forms`, `codec`: requests that are read in either form.
//! - `bulk`: large requests, a few at a time.
//! - [`worker`]: calls a worker of the system. `node`: a node as such a worker. `helpers`:
//!   what workers of the system do for programs, which is refused.

mod bulk;
mod caller;
mod code;
mod codec;
mod documented;
mod forms;
mod helpers;
mod mount;
mod node;
mod nodes;
mod people;
mod program;
mod reports;
mod results;
mod services;
mod shipped;
mod tasks;
pub mod worker;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::port::{
    IndexPort,
    workers::{Reports, Workers},
};

/// The largest task, in bytes.
pub const MAX_TASK: usize = 100_000_000;
/// What a message may have beside a task, in bytes.
const ROOM: usize = 64 << 10;
/// The largest message that is taken.
const MAX_MESSAGE: usize = MAX_TASK + ROOM;
/// The most bytes of a task's results that are packed into one answer.
pub const MAX_RESULT: u64 = 128 << 20;
/// The most tasks that are listed.
const MAX_LISTED: usize = 1000;
/// How many results are packed at once: each is in memory twice.
const PACKING: usize = 2;
/// How many tasks and results of callers with a session are received at once: each is in
/// memory until it is on the disk.
const TAKING: usize = 4;
/// The same of callers without one: one, so that nobody who is refused in the end takes
/// memory or a turn from the others.
const TAKING_UNKNOWN: usize = 1;

/// What a pool needs.
pub trait PoolPort: IndexPort + Workers + Reports {}

impl<T: IndexPort + Workers + Reports> PoolPort for T {}

/// A node pool over the ports of an index.
#[derive(Debug)]
struct Pool<P> {
    port: Arc<P>,
    packing: Semaphore,
    taking: Semaphore,
    taking_unknown: Semaphore,
}

impl<P> Pool<P> {
    fn new(port: Arc<P>) -> Self {
        Self {
            port,
            packing: Semaphore::new(PACKING),
            taking: Semaphore::new(TAKING),
            taking_unknown: Semaphore::new(TAKING_UNKNOWN),
        }
    }
}
