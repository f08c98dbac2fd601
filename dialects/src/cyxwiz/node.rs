//! The services of a node, mounted in one form of the wire.

use std::sync::Arc;

use embermesh_proto::cyxwiz::{DESCRIPTORS, SHIPPED_DESCRIPTORS};

use super::{documented, shipped};
use crate::{
    Mount, Profile,
    port::node::{asking::Asking, execution::Execution},
};

impl Mount {
    /// Adds what a node serves of CyxWiz: a job by its assignment, and the
    /// models that are resident.
    #[must_use]
    pub fn cyxwiz_node<P: Execution + Asking>(self, port: &Arc<P>, profile: Profile) -> Self {
        match profile {
            Profile::Documented => documented::node(self, port).describe(DESCRIPTORS),
            Profile::Shipped => shipped::node(self, port).describe(SHIPPED_DESCRIPTORS),
        }
    }
}
