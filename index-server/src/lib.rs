//! The optional index: a registry of nodes, a queue of jobs, and an issuer of
//! assignments. A mesh works without one; with one, jobs wait for a free node,
//! outlive the node that runs them, and are known after they have ended.
//!
//! - [`state`]: what the index knows and decides, as a pure state machine.
//! - [`store`]: SQLite, where it outlives the process.
//! - `actor`: one task that owns the state, and commits before it answers.
//! - `service`: gRPC, thin: who asks, one call, render.
//! - [`Index::start`]: all of it together, joined to the mesh.

mod actor;
pub mod config;
mod index;
mod intake;
mod metrics;
mod service;
pub mod state;
pub mod store;

pub use self::{
    config::{IndexConfig, InvalidConfig},
    index::{Beside, BoundIndex, Index, IndexError, RunningIndex},
};
