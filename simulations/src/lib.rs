//! Many nodes in one process, by seed: the production code of `job`, of the
//! mesh's protocol and of the index's state machine, under virtual time.
//!
//! - [`world`]: the clock, the queue of what happens next, the trace.
//! - [`peer`]: one node: its advert table and the tasks that it runs.
//! - `gossip`: how adverts travel between tables; stands in for gossipsub.
//! - `index`: the index, behind a network that takes time.
//! - `tasks`: what a node does with an assignment.
//! - [`client`]: who submits, and what it sees of its jobs.
//! - [`invariants`]: what must hold whatever happens.
//! - [`scenario`]: nodes join, jobs come, a third of the nodes dies.
//!
//! Beside them, [`lab`]: a network that is made up, for real programs in real time.
//!
//! And [`swarm`]: a thousand production meshes in this process, in real time.
//!
//! Nothing else here reads a clock or the system's randomness: one seed gives one
//! trace, whose hash two runs can compare.

pub mod client;
mod gossip;
mod index;
pub mod invariants;
pub mod lab;
pub mod peer;
pub mod scenario;
pub mod swarm;
mod tasks;
pub mod world;

pub use invariants::Violation;
pub use scenario::{Scenario, Summary, run};
pub use world::World;
