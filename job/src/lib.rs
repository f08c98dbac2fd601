//! What a job is: spec, lifecycle, placement. Pure: no IO, no clock, no global
//! randomness.
//!
//! - [`units`]: sizes, spans and prices that people can write.
//! - [`model`]: networks as data, with shapes checked and cost known.
//! - [`program`]: operations over whole tensors, likewise: what ONNX files and
//!   direct computations become.
//! - [`spec`]: what is asked, in a canonical form that has one digest.
//! - [`mod@file`]: the same as people write it, in TOML or JSON.
//! - [`event`]: what a task says while it runs.
//! - [`ask`]: what a resident model is asked, and what it answers.
//! - [`lifecycle`]: how a job's state changes; attempts, leases, epochs.
//! - [`place`]: which node a job goes to, and why not to the others.
//! - [`copies`]: who keeps copies of a blob.
//! - [`plan`]: tasks in a graph with leases, and what becomes of their results.
//! - [`proof`]: proofs that a program was executed, step by step.
//! - [`ledger`]: accounts, holds and transfers in millionths of a unit.
//! - [`turns`]: whose turn it is on a node that no index schedules.
//! - [`price`]: what time on a node costs. [`bill`]: what a job costs its owner.
//! - [`reservation`]: nodes taken for a time.
//! - [`address`], [`assignment`], [`order`]: where peers are, and the permission
//!   to run; what an index and a node say to each other of a task.
//! - `wire` (feature `wire`): all of these to and from the protobuf types.

pub mod address;
pub mod ask;
pub mod assignment;
pub mod bill;
pub mod copies;
pub mod event;
pub mod file;
pub mod ledger;
pub mod lifecycle;
pub mod model;
pub mod order;
pub mod place;
pub mod plan;
pub mod price;
pub mod program;
pub mod proof;
pub mod reservation;
pub mod spec;
pub mod turns;
pub mod units;
#[cfg(feature = "wire")]
pub mod wire;

/// The identities and digests that a job's types are made of, for crates that
/// may name this one only.
pub use embermesh_crypto as crypto;
