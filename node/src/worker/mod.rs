//! Worker processes, as the daemon sees them.
//!
//! - `command`: how one is started, and with how little of an environment.
//! - `spawner`: the thread that starts them all and outlives them.
//! - `process`: one of them: its pipe, its last words, its end.
//! - `group`: the end by force, of a process with all that it has started.
//! - `tail`: the last bytes of what it wrote to stderr.
//! - `memory`: what it takes of the machine.
//! - `warm`: the one that waits on each device.

mod command;
mod group;
mod memory;
mod process;
mod spawner;
mod tail;
mod warm;

pub(crate) use command::WorkerCommand;
pub(crate) use group::end_group;
pub(crate) use memory::resident;
pub(crate) use process::{Worker, WorkerLost};
pub(crate) use spawner::Spawner;
pub(crate) use warm::{Nursery, Warm};
