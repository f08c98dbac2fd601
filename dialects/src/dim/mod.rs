//! DIM: one job over several nodes, in one of three patterns.
//!
//! - *collaborative*: one model at several nodes, and an average of what they say;
//! - *comparative*: several models, and a vote;
//! - *chained*: models one after another, each fed with what one before it said.
//!
//! A model is one that is deployed in the mesh, by its name; a node is its peer id. What
//! the models are asked is `input_data` of the configuration: a text, an object with
//! `prompt`, rows of numbers, or, for a collaboration, an object that has such data for
//! each node. Names in the configuration may be in `snake_case` or in `camelCase`.
//!
//! Failures are a gRPC status, whose message says what to do; the `error` of an answer is
//! for what failed after a job was taken on.
//!
//! - `config`: the configuration as a plan.
//! - `render`: plans as this wire has them.
//! - [`ask`]: what data asks of a model.
//! - [`Orchestrator`], [`Daemon`], [`PatternEngine`]: the services; [`NodeDaemon`]: that
//!   of one node.

mod config;
mod daemon;
mod engine;
mod mount;
mod node;
mod orchestrator;
mod question;
mod render;

#[cfg(test)]
mod tests;

use tonic::Request;

use crate::{
    Dialect, ErrorCode, Failure, caller,
    port::{Principal, users::Users},
};

/// Who makes a call on a wire that has no name of a caller: whom his token says, or the
/// only one who is believed from where he calls, or, where there is nobody yet, a name
/// of ours.
async fn nameless<P: Users, T>(port: &P, request: &Request<T>) -> Result<Principal, Failure> {
    let by = |name| port.authenticate(Dialect::Dim, caller::credentials(request, "", name));
    match by("").await {
        Err(failure) if failure.code == ErrorCode::Unauthenticated => by("daemon").await,
        known => known,
    }
}

pub use daemon::Daemon;
pub use engine::PatternEngine;
pub use node::NodeDaemon;
pub use orchestrator::Orchestrator;
pub use question::ask;
