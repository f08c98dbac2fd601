//! Many nodes on one machine, in the kinds of simulation that there are: each is a
//! command of its own.

mod cmd;

use std::process::ExitCode;

use clap::Parser;

/// A thousand meshes in one heap: with the system's allocator, an eighth of the time goes
/// into keeping it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Many nodes on one machine: to see that the rules hold, and what a larger mesh costs.
#[derive(Debug, Parser)]
#[command(name = "embermesh-simulations", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    Arguments::parse().command.run()
}
