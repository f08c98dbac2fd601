//! Tasks: one actor for each attempt that runs here.
//!
//! - `registry`: admits an attempt, starts its actor, finds it again.
//! - `order`: what an attempt is started with.
//! - `handle`, `reins`: the two ends of what an actor is told.
//! - `run`: the actor: from inputs to receipt.
//! - `inputs`: brings what the work needs.
//! - `feed`: samples that stay with the client, between it and the worker.
//! - `drive`: the worker at work, under its ceilings; `wall`: how long it may take.
//! - `watch`: what it has taken, held against what it may.
//! - `output`: checkpoints and artifacts made into blobs.
//! - `end`: receipt, last event, report.
//! - `log`: what a task says, written and followed.

mod drive;
mod end;
mod feed;
mod handle;
mod inputs;
mod log;
mod order;
mod output;
mod registry;
mod reins;
mod run;
mod wall;
mod watch;

pub(crate) use feed::{Exchange, Feeder, NotFed, SILENCE as FEEDER_SILENCE, Want};
pub(crate) use handle::{About, Phase, StopWhy, TaskHandle, Told};
pub(crate) use log::{Follow, Log};
pub(crate) use order::TaskOrder;
pub(crate) use registry::{Found, NotStarted, Tasks};
