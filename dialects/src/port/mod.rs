//! What adapters speak to. Each trait is a handful of verbs over one thing; whoever
//! serves a dialect implements them, and no adapter knows how.
//!
//! - [`users`]: who somebody is, by the credentials of his system.
//! - [`jobs`]: submit, look, watch, cancel, fetch.
//! - [`accounts`]: balances, holds, transfers, quotes.
//! - [`nodes`]: who could run something.
//! - [`node`]: one node, by those who come to it themselves.
//! - [`models`]: models that answer.
//! - [`plans`]: jobs of several tasks.
//! - [`agents`]: programs of foreign systems that answer for models.
//! - [`provers`]: provers that dial in, and proofs that gangs of them make.
//! - [`sessions`]: permissions to ask a model once.
//! - [`workers`]: programs of foreign systems that take tasks.
//! - [`registry`]: models that are kept, with their bytes.
//! - [`deployments`]: models that are put into memory, and asked there.
//! - [`reservations`]: nodes that are taken for a time.
//! - [`servers`]: server nodes of a foreign system, that take its jobs.

pub mod accounts;
pub mod agents;
pub mod deployments;
pub mod jobs;
pub mod models;
pub mod node;
pub mod nodes;
pub mod plans;
pub mod provers;
pub mod registry;
pub mod reservations;
pub mod servers;
pub mod sessions;
pub mod users;
pub mod workers;

use crate::Dialect;

/// Somebody, by the name that his system has for him.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The system.
    pub dialect: Dialect,
    /// The name: a user, a wallet, a client id.
    pub name: String,
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.dialect, self.name)
    }
}

/// Every verb of an index, for those who serve all of them.
pub trait IndexPort:
    users::Users + jobs::Jobs + accounts::Accounts + nodes::Nodes + models::Models
{
}

impl<T: users::Users + jobs::Jobs + accounts::Accounts + nodes::Nodes + models::Models> IndexPort
    for T
{
}

/// Every verb over models, for those who keep them, deploy them and ask them.
pub trait ModelPort:
    users::Users + registry::Registry + deployments::Deployments + deployments::Inference
{
}

impl<T: users::Users + registry::Registry + deployments::Deployments + deployments::Inference>
    ModelPort for T
{
}
