//! A plan: a small graph of tasks with leases, and what becomes of their
//! results.
//!
//! The engine is a pure state machine: inputs are what nodes report and how
//! time goes on, outputs are what has to be done. Whoever drives it places
//! tasks, calls nodes, and keeps the state, which is plain data.
//!
//! - [`task`]: the tasks and the rules of a plan; [`invalid`]: why one is
//!   refused.
//! - [`value`]: what a task can give.
//! - [`run`]: the engine: attempts, leases, epochs, and an end to every wait.
//! - [`combine`]: what becomes of the results: [`vote`]s with a tolerance
//!   ([`alike`]), [`average`]s over [`leaves`] with noise where it is asked for
//!   ([`privacy`]).
//! - [`replicas`], [`shards`], [`chain`]: shapes of plans, ready made.
//! - [`gang`], [`proving`]: contribute, challenge, prove and aggregate over a
//!   gang of workers, dealt again when one of them dies.

use std::time::Duration;

pub mod alike;
pub mod average;
pub mod chain;
pub mod combine;
pub mod gang;
pub mod invalid;
pub mod leaves;
pub mod privacy;
pub mod proving;
pub mod replicas;
pub mod run;
pub mod shards;
pub mod task;
pub mod value;
pub mod vote;

pub use combine::{Combine, Combined};
pub use invalid::InvalidPlan;
pub use run::{Ended, Failure, Input, Output, Refused, Run};
pub use task::{Draft, Need, NodeName, OnFailure, Plan, Task, Wish};
pub use value::{Row, Value};

/// The most tasks of one plan.
pub const MAX_TASKS: usize = 512;
/// The most attempts of one task between two rollbacks.
pub const MAX_ATTEMPTS: u32 = 16;
/// The most rollbacks of one plan.
pub const MAX_RETRIES: u32 = 16;
/// The longest name of a task or a node, in bytes.
pub const MAX_NAME: usize = 128;
/// The longest reason that is kept, in bytes.
pub const MAX_REASON: usize = 1024;
/// The most bytes of one task's value, roughly.
pub const MAX_VALUE: usize = 64 << 20;
/// The most bytes of all values that one plan holds, roughly.
pub const MAX_HELD: usize = 256 << 20;
/// The most entries of a run's trace; the oldest go first.
pub const MAX_TRACE: usize = 1024;
/// The longest time that a task, or a whole plan, may take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a plan waits: the three spans that its constructors need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long an attempt counts as alive without another word.
    pub lease: Duration,
    /// How long one attempt of a task may take, where the task does not say.
    pub task: Duration,
    /// How long the whole plan may take.
    pub plan: Duration,
}

#[cfg(test)]
mod tests;
