//! `embermesh demo`: the main job, on this machine.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use figment::value::Dict;

use crate::{args::Global, config::Road, demo, exit::Exit, runtime};

/// Flags of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embermesh demo\n  embermesh demo --kill node          the node dies in mid-job, and the job goes on\n  embermesh demo --idx ./fashion-mnist --dir ./kept\n\nIt starts an index and three nodes as processes of their own on loopback, trains\na small network on one node, fetches the weights, verifies the receipt, and\nevaluates the weights on another node. Ctrl-C stops all of it."
)]
pub(crate) struct Flags {
    /// Train on an IDX folder instead of the digits: train-images-idx3-ubyte,
    /// train-labels-idx1-ubyte, and the same with t10k
    #[arg(long, value_name = "DIR")]
    pub(crate) idx: Option<PathBuf>,
    /// Keep everything in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Kill this with SIGKILL in mid-job
    #[arg(long, value_name = "WHAT")]
    pub(crate) kill: Option<Victim>,
    /// Road from the client to the nodes
    #[arg(long, value_name = "ROAD", default_value = "tls")]
    pub(crate) road: Road,
    /// Device that the nodes offer
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Victim {
    /// The node that runs the job.
    Node,
    /// The index.
    Index,
}

/// Does it.
pub(crate) fn run(global: &Global, flags: Flags) -> anyhow::Result<Exit> {
    let settings = global.resolve(Dict::new())?;
    let output = global.output(&settings);
    runtime::run(demo::run(flags, output, global.quiet))
}
