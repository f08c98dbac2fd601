//! The commands, a file each.

mod run;

use std::process::ExitCode;

use clap::Subcommand;

/// What is simulated.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the production state machines under virtual time, by seed.
    Run(run::Run),
}

impl Command {
    /// Does it, and says on the output what came of it.
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Run(run) => run.run(),
        }
    }
}
