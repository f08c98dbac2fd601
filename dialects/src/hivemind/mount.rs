//! The services of a node pool, mounted.

use std::sync::Arc;

use embermesh_proto::hivemind::{DESCRIPTORS, SHIPPED_DESCRIPTORS};

use super::{Pool, PoolPort, documented, shipped};
use crate::{Mount, Profile};

impl Mount {
    /// Adds the services of a HiveMind pool, in one form: `UserService`,
    /// `NodeManagerService` and `MasterNodeService` of the package `nodepool`.
    #[must_use]
    pub fn hivemind<P: PoolPort>(self, port: &Arc<P>, profile: Profile) -> Self {
        let pool = Arc::new(Pool::new(Arc::clone(port)));
        match profile {
            Profile::Documented => documented::add(&pool, self).describe(DESCRIPTORS),
            Profile::Shipped => shipped::add(&pool, self).describe(SHIPPED_DESCRIPTORS),
        }
    }
}
