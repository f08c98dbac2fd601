//! `run`: the production state machines under virtual time.

use std::{ops::Range, path::PathBuf, process::ExitCode, time::Instant};

use clap::Args;
use embermesh_simulations::{
    Scenario,
    faults::Plan,
    run,
    storm::{Calm, weather_of},
};

/// How many nodes there may be.
const NODES: std::ops::RangeInclusive<i64> = 3..=2_000;
/// How many jobs there may be.
const JOBS: std::ops::RangeInclusive<i64> = 1..=10_000;

/// Nodes join, jobs come, a third of the nodes dies; or, with --storm, everything goes
/// wrong at once.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Many seeds, one run each: from the first up to, not with, the last.
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with = "seed")]
    seeds: Option<Range<u64>>,
    /// How many nodes [default: 100, or the plan's].
    #[arg(long, value_parser = clap::value_parser!(u32).range(NODES))]
    nodes: Option<u32>,
    /// How many jobs [default: 60, or the plan's].
    #[arg(long, value_parser = clap::value_parser!(u32).range(JOBS))]
    jobs: Option<u32>,
    /// Crashes, a partition, loss, wrong clocks and lies: by the plan in this file, or
    /// by the one that is built in (simulations/storm.toml).
    #[arg(long, value_name = "PLAN", num_args = 0..=1)]
    storm: Option<Option<PathBuf>>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (first, last) = text.split_once("..").ok_or("two numbers, as in 1..100")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
    let range = number(first)?..number(last)?;
    if range.is_empty() {
        return Err("no seed is in it".to_owned());
    }
    Ok(range)
}

impl Run {
    pub(crate) fn run(self) -> ExitCode {
        match self.play() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }

    fn play(&self) -> Result<(), String> {
        let seeds = self.seeds.clone().unwrap_or(self.seed..self.seed + 1);
        match &self.storm {
            None => self.calm(seeds),
            Some(file) => self.storm(file.as_ref(), seeds),
        }
    }

    fn calm(&self, seeds: Range<u64>) -> Result<(), String> {
        let begun = Instant::now();
        for seed in seeds {
            let scenario = Scenario {
                seed,
                nodes: self.nodes.unwrap_or(100) as usize,
                jobs: self.jobs.unwrap_or(60) as usize,
            };
            let summary = run(scenario).map_err(|violation| format!("violation {violation}"))?;
            println!("{scenario:?}");
            println!("{summary:#?}");
        }
        println!("real time: {:?}", begun.elapsed());
        Ok(())
    }

    fn storm(&self, file: Option<&PathBuf>, seeds: Range<u64>) -> Result<(), String> {
        let begun = Instant::now();
        let (mut plan, mut arguments) = match file {
            None => (
                Plan::built_in().map_err(|error| error.to_string())?,
                String::new(),
            ),
            Some(path) => {
                let shown = path.display();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("error: {shown} cannot be read: {error}"))?;
                let plan =
                    Plan::parse(&text).map_err(|error| format!("error: {shown}: {error}"))?;
                (plan, format!(" {shown}"))
            }
        };
        if let Some(nodes) = self.nodes {
            plan.nodes = nodes as usize;
            arguments = format!("{arguments} --nodes {nodes}");
        }
        if let Some(jobs) = self.jobs {
            plan.jobs = jobs as usize;
            arguments = format!("{arguments} --jobs {jobs}");
        }
        let plan = plan.checked().map_err(|error| format!("error: {error}"))?;
        let (mut runs, mut broken) = (0u64, Vec::new());
        for seed in seeds {
            runs += 1;
            match weather_of(&plan, seed, &arguments) {
                Ok(calm) => show(seed, &calm),
                Err(violation) => {
                    println!("seed {seed}: violation {violation}");
                    broken.push(seed);
                }
            }
        }
        println!(
            "{runs} runs in {:.1?}, {} with a violation",
            begun.elapsed(),
            broken.len()
        );
        if broken.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "error: an invariant did not hold with the seeds {broken:?}"
            ))
        }
    }
}

fn show(seed: u64, calm: &Calm) {
    let counts = &calm.counts;
    println!(
        "seed {seed}: {:.0?} of virtual time, {} happenings, {} messages ({} lost, {} doubled), \
         {} crashes ({} commits unanswered, {} undone), {} more attempts, {} reports fenced, \
         {} starts refused, {} lies ({} refused), {} events missed, tables whole {:.0?} after \
         the heal, trace {}",
        calm.virtual_time,
        counts.happenings,
        counts.messages,
        counts.lost,
        counts.duplicated,
        counts.crashes,
        counts.unanswered,
        counts.undone,
        calm.more_attempts,
        counts.fenced,
        counts.replayed,
        counts.lies,
        counts.refused,
        counts.missed,
        calm.whole_after,
        &calm.trace[..16],
    );
}
