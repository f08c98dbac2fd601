//! The commands, a file each.

mod run;
mod scale;
mod swarm;

use std::process::ExitCode;

use clap::Subcommand;

/// What is simulated.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the production state machines under virtual time, by seed.
    Run(run::Run),
    /// Say what a mesh costs at sizes that no test reaches.
    Scale(scale::Scale),
    /// Run real swarms in this process, by a scenario file.
    Swarm(swarm::Swarm),
}

impl Command {
    /// Does it, and says on the output what came of it.
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Run(run) => run.run(),
            Self::Scale(scale) => scale.run(),
            Self::Swarm(swarm) => swarm.run(),
        }
    }
}
