//! The services of DIM, mounted.

use std::sync::Arc;

use embermesh_proto::dim::{
    DESCRIPTORS, daemon::daemon_server::DaemonServer,
    orchestrator::orchestrator_server::OrchestratorServer,
    pattern_engine::pattern_engine_server::PatternEngineServer,
};

use super::{Daemon, NodeDaemon, Orchestrator, PatternEngine};
use crate::{
    Mount,
    port::{
        node::{asking::Asking, status::Status},
        plans::Plans,
        users::Users,
    },
};

/// The largest request, in bytes: a configuration with its data.
const MAX_REQUEST: usize = 5 << 20;

impl Mount {
    /// Adds the services of DIM: the orchestrator, the daemon and the pattern engine.
    #[must_use]
    pub fn dim<P: Users + Plans>(self, port: &Arc<P>) -> Self {
        let orchestrator = OrchestratorServer::new(Orchestrator::new(Arc::clone(port)))
            .max_decoding_message_size(MAX_REQUEST);
        let daemon =
            DaemonServer::new(Daemon::new(Arc::clone(port))).max_decoding_message_size(MAX_REQUEST);
        let engine = PatternEngineServer::new(PatternEngine::new(Arc::clone(port)))
            .max_decoding_message_size(MAX_REQUEST);
        self.serve(orchestrator)
            .serve(daemon)
            .serve(engine)
            .describe(DESCRIPTORS)
    }

    /// Adds what a node serves of DIM: the daemon.
    #[must_use]
    pub fn dim_node<P: Asking + Status>(self, port: &Arc<P>) -> Self {
        let daemon = DaemonServer::new(NodeDaemon::new(Arc::clone(port)))
            .max_decoding_message_size(MAX_REQUEST);
        self.serve(daemon).describe(DESCRIPTORS)
    }
}
