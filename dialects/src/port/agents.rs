//! Agents that are not nodes of the mesh: programs of a foreign system that answer for
//! models at an address of their own, to clients who come with a session.

use embermesh_crypto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::users::Credentials;
use crate::{Dialect, Failure};

/// What an agent says of itself when it joins. Nothing of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentOffer {
    /// The id that it is known by.
    pub id: String,
    /// Where clients reach it: `host:port`.
    pub endpoint: String,
    /// Memory of its graphics cards, in MiB; 0 where it has none.
    pub vram_mb: u64,
    /// Memory of the machine, in MiB.
    pub ram_mb: u64,
    /// Asks that it answers side by side.
    pub most_jobs: u32,
    /// The models that it has, by name.
    pub models: Vec<String>,
}

/// How an agent is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgentHealth {
    /// Free memory of its graphics cards, in MiB.
    pub free_vram_mb: u64,
    /// Free memory of the machine, in MiB.
    pub free_ram_mb: u64,
    /// Asks that it answers now.
    pub running: u32,
    /// Load of its processors, in percent.
    pub cpu_percent: f64,
    /// How long the way to it takes, in milliseconds; 0 where it was not measured.
    pub rtt_ms: f64,
}

/// Whether an agent can be sent anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Healthy,
    /// It is there, and has too much to do.
    Degraded,
    /// It was not heard of for too long.
    Offline,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
        }
    }
}

/// An agent as it is known now.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentView {
    /// What it has said of itself.
    pub offer: AgentOffer,
    /// How it was when it was heard last.
    pub health: AgentHealth,
    /// When that was.
    pub heard_at: UnixMillis,
    /// Whether it can be sent anybody.
    pub standing: Standing,
}

/// The verbs of foreign agents. An id belongs to whoever used it first.
#[tonic::async_trait]
pub trait Agents: Send + Sync + 'static {
    /// Makes an agent known, or known anew.
    ///
    /// # Errors
    /// `Unauthenticated`, `Denied` where the id is somebody else's, `Invalid`,
    /// `Exhausted`.
    async fn enroll(
        &self,
        dialect: Dialect,
        credentials: Credentials,
        offer: AgentOffer,
    ) -> Result<(), Failure>;

    /// Takes a sign of life.
    ///
    /// # Errors
    /// As [`Agents::enroll`]; `NotFound` for an agent that has not joined.
    async fn report(
        &self,
        dialect: Dialect,
        credentials: Credentials,
        id: &str,
        health: AgentHealth,
    ) -> Result<(), Failure>;

    /// Every agent that is known, by id.
    async fn agents(&self, dialect: Dialect) -> Result<Vec<AgentView>, Failure>;

    /// The agent to send an ask of a model to, if one can take it.
    async fn agent_for(&self, dialect: Dialect, model: &str) -> Result<Option<AgentView>, Failure>;
}
