//! The services of CyxWiz, mounted.

use std::sync::Arc;

use embermesh_proto::cyxwiz::{DESCRIPTORS, SHIPPED_DESCRIPTORS};

use super::{closed, documented, shipped};
use crate::{
    Mount, Profile,
    port::{IndexPort, ModelPort, reservations::Reservations, servers::ServerPort},
};

impl Mount {
    /// Adds the services of CyxWiz for jobs, for nodes and for wallets, in one form of
    /// their wire. Those that are not there say why.
    #[must_use]
    pub fn cyxwiz<P: IndexPort + ServerPort>(self, port: &Arc<P>, profile: Profile) -> Self {
        closed::mount(match profile {
            Profile::Documented => documented::mount(self, port).describe(DESCRIPTORS),
            Profile::Shipped => shipped::mount(self, port).describe(SHIPPED_DESCRIPTORS),
        })
    }

    /// Adds the services of CyxWiz over models: their registry, their deployments, and
    /// what they are asked.
    #[must_use]
    pub fn cyxwiz_models<P: ModelPort>(self, port: &Arc<P>, profile: Profile) -> Self {
        match profile {
            Profile::Documented => documented::mount_models(self, port),
            Profile::Shipped => shipped::mount_models(self, port),
        }
    }

    /// Adds the service of CyxWiz over reservations of nodes.
    #[must_use]
    pub fn cyxwiz_reservations<P>(self, port: &Arc<P>, profile: Profile) -> Self
    where
        P: IndexPort + Reservations + ServerPort,
    {
        match profile {
            Profile::Documented => documented::mount_reservations(self, port),
            Profile::Shipped => shipped::mount_reservations(self, port),
        }
    }
}
