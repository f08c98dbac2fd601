//! HiveMind: the node pool's side of its wire, in its documented form and in the one that
//! shipped.
//!
//! [`Pool`] has the logic once; a profile's module says how its messages are written.
//! Whether a call went well is in its answer, with gRPC's OK, and the system's numbers
//! stand at the head of its `message` ([`code`] lists them). Two answers of the documented
//! form have no room for that (`GetNodeListResponse`, `GetAllTasksResponse`): there a
//! failure is a gRPC status with the same message.
//!
//! A session's token is taken from the metadata (`authorization: Bearer …`) and from the
//! fields that the shipped form has for it.

mod caller;
mod code;
mod codec;
mod documented;
mod forms;
mod people;
mod pool;
mod program;
mod results;
mod services;
mod shipped;
mod tasks;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::service::{Routes, RoutesBuilder};

use crate::{
    Profile,
    port::{IndexPort, workers::Workers},
};

/// The largest task, in bytes.
pub const MAX_TASK: usize = 100_000_000;
/// What a message may have beside a task, in bytes.
const ROOM: usize = 64 << 10;
/// The largest message that is taken.
const MAX_MESSAGE: usize = MAX_TASK + ROOM;
/// The most bytes of a task's results that are packed into one answer.
pub const MAX_RESULT: u64 = 256 << 20;
/// The most tasks that are listed.
const MAX_LISTED: usize = 1000;
/// How many results are packed at once: each is in memory twice.
const PACKING: usize = 2;

/// A node pool over the ports of an index.
#[derive(Debug)]
pub struct Pool<P> {
    port: Arc<P>,
    packing: Semaphore,
}

impl<P: IndexPort + Workers> Pool<P> {
    /// The services of a node pool, in one form: `UserService`, `NodeManagerService` and
    /// `MasterNodeService` of the package `nodepool`.
    #[must_use]
    pub fn routes(port: Arc<P>, profile: Profile) -> Routes {
        let pool = Arc::new(Self {
            port,
            packing: Semaphore::new(PACKING),
        });
        let mut routes = RoutesBuilder::default();
        match profile {
            Profile::Documented => documented::add(&pool, &mut routes),
            Profile::Shipped => shipped::add(&pool, &mut routes),
        }
        routes.routes()
    }
}
