//! The services of dialects, put together for whoever serves a port.

use std::sync::Arc;

use embermesh_proto::{dim, titancompute as titan};
use tonic::{server::NamedService, service::Routes};

use crate::{
    dim::{Daemon, Orchestrator, PatternEngine},
    port::{models::Models, nodes::Nodes, plans::Plans, sessions::Sessions, users::Users},
    titancompute::{Agent, Coordinator},
};

/// The largest request of a TitanCompute client, in bytes: a prompt and room around it.
const TITAN_REQUEST: usize = 1 << 20;
/// The largest request of a DIM client, in bytes: a configuration with its data.
const DIM_REQUEST: usize = 5 << 20;

/// Services of dialects, with what reflection says of them.
#[derive(Default)]
pub struct Mount {
    add: Vec<Box<dyn FnOnce(Routes) -> Routes + Send>>,
    names: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
}

impl Mount {
    /// Adds a service.
    fn add<S: NamedService>(&mut self, add: impl FnOnce(Routes) -> Routes + Send + 'static) {
        self.names.push(S::NAME);
        self.add.push(Box::new(add));
    }

    /// Adds the services of TitanCompute: the coordinator's and the agent's.
    #[must_use]
    pub fn titancompute<P>(mut self, port: &Arc<P>) -> Self
    where
        P: Users + Models + Nodes + Sessions,
    {
        use titan::{
            agent_service_server::AgentServiceServer,
            coordinator_service_server::CoordinatorServiceServer,
        };
        let coordinator = CoordinatorServiceServer::new(Coordinator::new(Arc::clone(port)))
            .max_decoding_message_size(TITAN_REQUEST);
        let agent = AgentServiceServer::new(Agent::new(Arc::clone(port)))
            .max_decoding_message_size(TITAN_REQUEST);
        self.add::<CoordinatorServiceServer<Coordinator<P>>>(|routes| {
            routes.add_service(coordinator)
        });
        self.add::<AgentServiceServer<Agent<P>>>(|routes| routes.add_service(agent));
        self.descriptors.push(titan::DESCRIPTORS);
        self
    }

    /// Adds the services of DIM: the orchestrator, the daemon and the pattern engine.
    #[must_use]
    pub fn dim<P: Users + Plans>(mut self, port: &Arc<P>) -> Self {
        use dim::{
            daemon::daemon_server::DaemonServer,
            orchestrator::orchestrator_server::OrchestratorServer,
            pattern_engine::pattern_engine_server::PatternEngineServer,
        };
        let orchestrator = OrchestratorServer::new(Orchestrator::new(Arc::clone(port)))
            .max_decoding_message_size(DIM_REQUEST);
        let daemon =
            DaemonServer::new(Daemon::new(Arc::clone(port))).max_decoding_message_size(DIM_REQUEST);
        let engine = PatternEngineServer::new(PatternEngine::new(Arc::clone(port)))
            .max_decoding_message_size(DIM_REQUEST);
        self.add::<OrchestratorServer<Orchestrator<P>>>(|routes| routes.add_service(orchestrator));
        self.add::<DaemonServer<Daemon<P>>>(|routes| routes.add_service(daemon));
        self.add::<PatternEngineServer<PatternEngine<P>>>(|routes| routes.add_service(engine));
        self.descriptors.push(dim::DESCRIPTORS);
        self
    }

    /// The names of the services.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Encoded `FileDescriptorSet`s that have them.
    #[must_use]
    pub fn descriptors(&self) -> &[&'static [u8]] {
        &self.descriptors
    }

    /// Puts the services beside others.
    #[must_use]
    pub fn onto(self, routes: Routes) -> Routes {
        self.add.into_iter().fold(routes, |routes, add| add(routes))
    }
}
