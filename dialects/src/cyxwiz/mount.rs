//! The services of CyxWiz, mounted.

use std::sync::Arc;

use embermesh_proto::cyxwiz::{DESCRIPTORS, SHIPPED_DESCRIPTORS};

use super::{closed, documented, shipped};
use crate::{Mount, Profile, port::IndexPort};

impl Mount {
    /// Adds the services of CyxWiz that an index has, in one form of their wire. Those
    /// that it has not are there too, and say why.
    #[must_use]
    pub fn cyxwiz<P: IndexPort>(self, port: &Arc<P>, profile: Profile) -> Self {
        closed::mount(match profile {
            Profile::Documented => documented::mount(self, port).describe(DESCRIPTORS),
            Profile::Shipped => shipped::mount(self, port).describe(SHIPPED_DESCRIPTORS),
        })
    }
}
