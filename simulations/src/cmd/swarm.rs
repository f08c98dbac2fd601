//! `swarm`: real swarms, by a scenario file.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use embermesh_simulations::swarm::{self, Report, Scenario};

/// Many production meshes in this process, in real time, as a scenario file says.
#[derive(Debug, Args)]
pub(crate) struct Swarm {
    /// The scenario, such as simulations/scenarios/join.toml.
    file: PathBuf,
    /// How many meshes, instead of what the file says.
    #[arg(long)]
    nodes: Option<usize>,
    /// The seed, instead of what the file says.
    #[arg(long)]
    seed: Option<u64>,
    /// Write report.json and the plots into this folder, which is made if need be.
    #[arg(long)]
    out: Option<PathBuf>,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// The measures, a line each.
    Table,
    /// All of the report.
    Json,
}

impl Swarm {
    pub(crate) fn run(self) -> ExitCode {
        match self.try_run() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => {
                eprintln!("a limit of the scenario was missed");
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(2)
            }
        }
    }

    fn try_run(self) -> Result<bool, Box<dyn std::error::Error>> {
        let mut scenario = Scenario::read(&self.file)?;
        if let Some(nodes) = self.nodes {
            scenario.nodes = nodes;
            scenario.bootstrap = scenario.bootstrap.min(nodes);
        }
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        scenario.check()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let report = runtime.block_on(swarm::run(&scenario))?;
        if let Some(out) = &self.out {
            write(out, &report)?;
        }
        match self.output {
            Form::Table => print!("{report}"),
            Form::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        }
        Ok(report.holds())
    }
}

fn write(out: &Path, report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(out)?;
    let json = serde_json::to_string(report)?;
    std::fs::write(out.join("report.json"), json + "\n")?;
    for chart in &report.charts {
        let svg = swarm::draw(chart)?;
        std::fs::write(out.join(chart.file).with_extension("svg"), svg)?;
    }
    Ok(())
}
