//! `scale`: what a mesh costs at sizes that no test reaches.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Args, ValueEnum};
use embermesh_simulations::scale::{Calibration, Limit, Outlook, chart, limits, outlook};

/// The smallest and the largest mesh.
const NODES: std::ops::RangeInclusive<i64> = 20..=20_000_000;

/// A model, held to settings and measurements by simulations/scale.toml.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Sizes, in nodes.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100,1000,10000,100000,1000000",
        value_parser = clap::value_parser!(u32).range(NODES)
    )]
    nodes: Vec<u32>,
    /// Decides everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write scale.json and the plots into this folder, which is made if need be.
    #[arg(long)]
    out: Option<PathBuf>,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// A column for each size, and what breaks first.
    Table,
    /// All of it.
    Json,
}

#[derive(serde::Serialize)]
struct Report {
    seed: u64,
    outlooks: Vec<Outlook>,
    limits: Vec<Limit>,
}

impl Scale {
    pub(crate) fn run(self) -> ExitCode {
        match self.play() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn play(mut self) -> Result<(), String> {
        let given = Calibration::of_file().map_err(|error| error.to_string())?;
        self.nodes.sort_unstable();
        self.nodes.dedup();
        let mut outlooks = Vec::new();
        for nodes in &self.nodes {
            let begun = Instant::now();
            outlooks.push(outlook(*nodes, self.seed, &given));
            eprintln!("{nodes} nodes: {:.1?}", begun.elapsed());
        }
        let largest = outlooks.last().ok_or("no size was given")?;
        let report = Report {
            seed: self.seed,
            limits: limits(largest, &given),
            outlooks,
        };
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        if let Some(folder) = &self.out {
            let failed = |error| format!("{} cannot be written: {error}", folder.display());
            std::fs::create_dir_all(folder).map_err(failed)?;
            std::fs::write(folder.join("scale.json"), format!("{json}\n")).map_err(failed)?;
            let pictures =
                chart::pictures(&report.outlooks, &given).map_err(|error| error.to_string())?;
            for (file, svg) in pictures {
                std::fs::write(folder.join(format!("scale-{file}.svg")), svg).map_err(failed)?;
            }
        }
        match self.output {
            Form::Json => println!("{json}"),
            Form::Table => print(&report),
        }
        Ok(())
    }
}

type Row = (&'static str, fn(&Outlook) -> f64);

const ROWS: &[Row] = &[
    ("hops of a lookup", |of| of.hops),
    ("the same, p99", |of| of.hops_p99),
    ("requests of a lookup", |of| of.messages),
    ("of these, timeouts", |of| of.timeouts),
    ("lookups that find the closest, %", |of| 100.0 * of.found),
    ("of the 20 closest, found, %", |of| 100.0 * of.found_of_k),
    ("nodes that an advert reaches, %", |of| 100.0 * of.reached),
    ("copies of it that a node gets", |of| of.copies),
    ("  of one that is renewed", |of| of.renewal_copies),
    ("time to half of the nodes, s", |of| of.spread_p50_s),
    ("time to 99 %, s", |of| of.spread_p99_s),
    ("time to all, s", |of| of.spread_all_s),
    ("time of a renewal to 99 %, s", |of| of.renewal_p99_s),
    ("full table: received, kB/s", |of| of.full.bytes_per_s / 1e3),
    ("  adverts, kB/s", |of| of.full.adverts_bytes_per_s / 1e3),
    ("  lists of ids, kB/s", |of| of.full.lists_bytes_per_s / 1e3),
    ("  exchanges, kB/s", |of| of.full.tables_bytes_per_s / 1e3),
    ("  lookups, kB/s", |of| of.full.lookups_bytes_per_s / 1e3),
    ("full table: memory, MB", |of| of.full.memory_bytes / 1e6),
    ("full table: of a core, %", |of| 100.0 * of.full.cpu),
    ("full table: to join, MB", |of| of.full.join_bytes / 1e6),
    ("zones and keys: received, kB/s", |of| {
        of.zones.bytes_per_s / 1e3
    }),
    ("zones and keys: memory, MB", |of| {
        of.zones.memory_bytes / 1e6
    }),
    ("indexes: heartbeats/s", |of| of.index.heartbeats_per_s),
    ("indexes: cores", |of| of.index.cores),
    ("indexes: memory, GB", |of| of.index.memory_bytes / 1e9),
    ("indexes at 100,000 nodes each", |of| of.index.indexes),
];

fn print(report: &Report) {
    print!("{:<36}", "nodes");
    for of in &report.outlooks {
        print!("{:>12}", of.nodes);
    }
    println!();
    for (name, value) in ROWS {
        print!("{name:<36}");
        for of in &report.outlooks {
            print!("{:>12}", number(value(of)));
        }
        println!();
    }
    println!("\nWhat breaks first, at how many nodes:");
    for limit in &report.limits {
        println!(
            "{:>12}  {}\n{:14}instead: {}",
            number(limit.nodes),
            limit.what,
            "",
            limit.instead
        );
    }
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        "never".to_owned()
    } else if value >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}
