//! The `embermesh` command: the composition root of the mesh, and its demo.
//!
//! - [`args`]: what can be typed. Each subcommand is a small file under [`cmd`].
//! - [`config`]: settings from defaults, file, environment and flags.
//! - [`exit`]: exit codes, and which error has which.
//! - [`output`], [`show`]: results on stdout; progress on stderr.
//! - [`runtime`]: the executor, signals, logs, and the death of the parent.
//! - [`identity`]: whose key is used.
//! - [`private`]: who may take part, where the mesh is not for everybody.
//! - [`mesh`]: a client's own part of the mesh. [`direct`]: a client without an index.
//! - [`doctor`]: what is wrong here, and its cure.
//! - [`proving`]: a proof that several nodes make.
//! - [`demo`]: the main job, on this machine.

mod args;
mod cmd;
mod config;
mod demo;
mod direct;
mod doctor;
mod exit;
mod gateway;
mod identity;
mod indexes;
mod mesh;
mod output;
mod private;
mod proving;
mod runtime;
mod show;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The part of a node that runs one job: no runtime, no settings, no logs.
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("worker") {
        return embermesh_compute::worker::main(words);
    }
    let cli = args::Cli::parse();
    match cmd::dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error),
    }
}
