//! TitanCompute: a coordinator says which agent answers, with a session for it, and the
//! client streams from the agent.
//!
//! Every model that is deployed in the mesh is an agent's; the agent's id is the node's.
//! A session is bound to the client, the node, the model and, where it was said, the
//! prompt, and can be taken once. `max_tokens` is 100 and `temperature` 0.7 unless the
//! call says otherwise.
//!
//! - [`Coordinator`] serves `CoordinatorService`.
//! - [`Agent`] serves `AgentService`; [`NodeAgent`] what of it one node can say.
//! - [`rest`] has the three paths over HTTP.

mod agent;
mod coordinator;
mod mount;
mod node;
pub mod rest;

pub use agent::Agent;
pub use coordinator::Coordinator;
pub use node::NodeAgent;

/// What issues sessions, as clients know it.
pub const ISSUER: &str = "titancompute-coordinator";
