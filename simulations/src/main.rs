//! Runs one simulation and says what came of it.

use std::{process::ExitCode, time::Instant};

use embermesh_simulations::{Scenario, run};

const HELP: &str = "Runs many nodes in one process, by seed.

Usage: embermesh-simulations [--seed N] [--nodes N] [--jobs N]

The defaults are seed 1, 100 nodes, 60 jobs.";

fn main() -> ExitCode {
    let scenario = match arguments(std::env::args().skip(1)) {
        Ok(Some(scenario)) => scenario,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("error: {mistake}\n\n{HELP}");
            return ExitCode::from(2);
        }
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

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Option<Scenario>, String> {
    let mut scenario = Scenario {
        seed: 1,
        nodes: 100,
        jobs: 60,
    };
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a number"))?;
        let number: u64 = value
            .parse()
            .map_err(|_| format!("{value} is not a number"))?;
        match word.as_str() {
            "--seed" => scenario.seed = number,
            "--nodes" if (3..=2_000).contains(&number) => scenario.nodes = number as usize,
            "--jobs" if (1..=10_000).contains(&number) => scenario.jobs = number as usize,
            "--nodes" | "--jobs" => return Err(format!("{word} {number} is out of bounds")),
            _ => return Err(format!("{word} is not an option")),
        }
    }
    Ok(Some(scenario))
}
