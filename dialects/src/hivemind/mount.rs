//! The services of a node pool, mounted.

use std::sync::Arc;

use embermesh_proto::hivemind::{
    DESCRIPTORS, SHIPPED_DESCRIPTORS,
    nodepool::worker_node_service_server::WorkerNodeServiceServer,
    taskworker::task_worker_service_server::TaskWorkerServiceServer,
};

use super::{MAX_MESSAGE, MAX_RESULT, Pool, PoolPort, documented, helpers, node::Worker, shipped};
use crate::{
    Mount, Profile,
    port::node::{execution::Execution, status::Status},
};

impl Mount {
    /// Adds the services of a HiveMind pool, in one form: `UserService`,
    /// `NodeManagerService` and `MasterNodeService` of the package `nodepool`.
    #[must_use]
    pub fn hivemind<P: PoolPort>(self, port: &Arc<P>, profile: Profile) -> Self {
        let pool = Arc::new(Pool::new(Arc::clone(port)));
        match profile {
            Profile::Documented => {
                helpers::mount(documented::add(&pool, self)).describe(DESCRIPTORS)
            }
            Profile::Shipped => shipped::add(&pool, self).describe(SHIPPED_DESCRIPTORS),
        }
    }

    /// Adds what a node serves of HiveMind: a worker, in the documented form.
    #[must_use]
    pub fn hivemind_node<P: Execution + Status>(self, port: &Arc<P>) -> Self {
        let worker = || Worker::new(Arc::clone(port));
        let pool = WorkerNodeServiceServer::new(worker());
        let result = usize::try_from(MAX_RESULT).unwrap_or(usize::MAX);
        let tasks = TaskWorkerServiceServer::new(worker())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(result.saturating_mul(2));
        helpers::mount(self)
            .serve(pool.max_decoding_message_size(MAX_MESSAGE))
            .serve(tasks)
            .describe(DESCRIPTORS)
    }
}
