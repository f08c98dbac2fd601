//! What adapters speak to. Each trait is a handful of verbs over one thing; whoever
//! serves a dialect implements them, and no adapter knows how.
//!
//! - [`users`]: who somebody is, by the credentials of his system.
//! - [`jobs`]: submit, look, watch, cancel, fetch.
//! - [`accounts`]: balances, holds, transfers, quotes.
//! - [`nodes`]: who could run something.
//! - [`models`]: models that answer.
//! - [`plans`]: jobs of several tasks.
//! - [`sessions`]: permissions to ask a model once.
//! - [`workers`]: programs of foreign systems that take tasks.

pub mod accounts;
pub mod jobs;
pub mod models;
pub mod nodes;
pub mod plans;
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
