//! `run`: the production state machines under virtual time.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use embermesh_simulations::{Scenario, run};

/// How many nodes there may be.
const NODES: std::ops::RangeInclusive<i64> = 3..=2_000;
/// How many jobs there may be.
const JOBS: std::ops::RangeInclusive<i64> = 1..=10_000;

/// One run: nodes join, jobs come, a third of the nodes dies.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many nodes.
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(NODES))]
    nodes: u32,
    /// How many jobs.
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u32).range(JOBS))]
    jobs: u32,
}

impl Run {
    pub(crate) fn run(self) -> ExitCode {
        let scenario = Scenario {
            seed: self.seed,
            nodes: self.nodes as usize,
            jobs: self.jobs as usize,
        };
        let begun = Instant::now();
        match run(scenario) {
            Ok(summary) => {
                println!("{scenario:?}");
                println!("{summary:#?}");
                println!("real time: {:?}", begun.elapsed());
                ExitCode::SUCCESS
            }
            Err(violation) => {
                eprintln!("violation {violation}");
                ExitCode::FAILURE
            }
        }
    }
}
