//! Many nodes in one process, by seed: the production code of `job`, of the
//! mesh's protocol and of the index's state machine, under virtual time.
//!
//! - [`world`]: the clock, the queue of what happens next, the trace. [`happening`]: what
//!   can happen. `transport`: what becomes of a message.
//! - [`peer`]: one node. `links`, `gossip`: whom it is connected with, and how adverts
//!   travel; they stand in for libp2p. `uplink`, `tasks`, `streams`: its line to the
//!   index, what it runs, and who hears of that.
//! - `index`, `disk`: the index, behind a network that takes time, and what it has made
//!   durable.
//! - [`client`]: who submits, and what it sees of its jobs.
//! - [`faults`], `crash`, `liars`: what goes wrong.
//! - [`invariants`], `audit`, `money`: what must hold whatever happens.
//! - [`scenario`]: nodes join, jobs come, a third of the nodes dies. [`storm`]:
//!   everything goes wrong at once.
//!
//! [`scale`] is a model of what a mesh costs at sizes that no test reaches.
//!
//! Beside them, [`lab`]: a network that is made up, for real programs in real time.
//!
//! And [`swarm`]: a thousand production meshes in this process, in real time.
//!
//! Nothing else here reads a clock or the system's randomness: one seed gives one
//! trace, whose hash two runs can compare.

mod audit;
pub mod client;
mod crash;
mod disk;
pub mod faults;
mod gossip;
pub mod happening;
mod index;
pub mod invariants;
pub mod lab;
mod liars;
mod links;
mod money;
pub mod peer;
pub mod scale;
pub mod scenario;
pub mod storm;
mod streams;
pub mod swarm;
mod tasks;
mod transport;
mod uplink;
pub mod world;

pub use invariants::Violation;
pub use scenario::{Scenario, Summary, run};
pub use world::World;
