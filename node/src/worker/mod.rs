//! Worker processes, as the daemon sees them.
//!
//! - `command`: how one is started, and with how little of an environment.
//! - `spawner`: the thread that starts them all and outlives them.
//! - `process`: one of them: its pipe, its last words, its end.
//! - `group`: the end by force, of a process with all that it has started.
//! - `cgroup`: the kernel's ceilings around it, where there are any.
//! - `tail`: the last bytes of what it wrote to stderr.
//! - `warm`: the one that waits on each device.

mod cgroup;
mod command;
mod group;
mod process;
mod spawner;
mod tail;
mod warm;

pub(crate) use cgroup::{Group, describe as describe_groups};
pub(crate) use command::WorkerCommand;
pub(crate) use group::end_group;
pub(crate) use process::{Worker, WorkerLost};
pub(crate) use spawner::Spawner;
pub(crate) use warm::{Nursery, Warm};
