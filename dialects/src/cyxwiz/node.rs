//! The services of a node, mounted in one form of the wire.

use std::sync::Arc;

use embermesh_proto::cyxwiz::{DESCRIPTORS, SHIPPED_DESCRIPTORS};

use super::{daemon, documented, shipped};
use crate::{
    Mount, Profile,
    port::node::{asking::Asking, computing::Computing, execution::Execution, owner::Owner},
};

impl Mount {
    /// Adds what a node serves of CyxWiz: a job by its assignment, the models that are
    /// resident, and operations over tensors.
    #[must_use]
    pub fn cyxwiz_node<P>(self, port: &Arc<P>, profile: Profile) -> Self
    where
        P: Execution + Asking + Computing,
    {
        match profile {
            Profile::Documented => documented::node(self, port).describe(DESCRIPTORS),
            Profile::Shipped => shipped::node(self, port).describe(SHIPPED_DESCRIPTORS),
        }
    }

    /// Adds the daemon of CyxWiz: a node, for its owner.
    #[must_use]
    pub fn cyxwiz_daemon<P: Owner>(self, port: &Arc<P>) -> Self {
        daemon::mount(self, port)
    }
}
