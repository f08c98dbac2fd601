//! The services of CyxWiz, mounted.

use std::sync::Arc;

use embermesh_proto::cyxwiz::{DESCRIPTORS, SHIPPED_DESCRIPTORS};

use super::{closed, documented, shipped};
use crate::{Mount, Profile, port::IndexPort};

impl Mount {
    /// Adds the services of CyxWiz for jobs, for finding nodes and for wallets, in one
    /// form of their wire. Those for nodes of the system say why they are not there.
    #[must_use]
    pub fn cyxwiz<P: IndexPort>(self, port: &Arc<P>, profile: Profile) -> Self {
        closed::mount(match profile {
            Profile::Documented => documented::mount(self, port).describe(DESCRIPTORS),
            Profile::Shipped => shipped::mount(self, port).describe(SHIPPED_DESCRIPTORS),
        })
    }
}
