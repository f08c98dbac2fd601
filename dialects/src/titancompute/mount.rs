//! The services of TitanCompute, mounted.

use std::sync::Arc;

use embermesh_proto::titancompute::{
    DESCRIPTORS, agent_service_server::AgentServiceServer,
    coordinator_service_server::CoordinatorServiceServer,
};

use super::{Agent, Coordinator, NodeAgent};
use crate::{
    Mount,
    port::{
        agents::Agents,
        models::Models,
        node::{asking::Asking, status::Status},
        nodes::Nodes,
        sessions::Sessions,
        users::Users,
    },
};

/// The largest request, in bytes: a prompt and room around it.
const MAX_REQUEST: usize = 1 << 20;

impl Mount {
    /// Adds the services of TitanCompute: the coordinator's and the agent's.
    #[must_use]
    pub fn titancompute<P>(self, port: &Arc<P>) -> Self
    where
        P: Users + Models + Nodes + Sessions + Agents,
    {
        let coordinator = CoordinatorServiceServer::new(Coordinator::new(Arc::clone(port)))
            .max_decoding_message_size(MAX_REQUEST);
        let agent = AgentServiceServer::new(Agent::new(Arc::clone(port)))
            .max_decoding_message_size(MAX_REQUEST);
        self.serve(coordinator).serve(agent).describe(DESCRIPTORS)
    }

    /// Adds what a node serves of TitanCompute: how the agent is.
    #[must_use]
    pub fn titancompute_node<P: Asking + Status>(self, port: &Arc<P>) -> Self {
        let agent = AgentServiceServer::new(NodeAgent::new(Arc::clone(port)))
            .max_decoding_message_size(MAX_REQUEST);
        self.serve(agent).describe(DESCRIPTORS)
    }
}
