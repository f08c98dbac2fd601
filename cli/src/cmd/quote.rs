//! `embermesh quote`: what a job may cost, before it is submitted.

use std::path::PathBuf;

use clap::Args;
use embermesh_job::{spec::JobSpec, units::MicroUnits, wire::Quoted};
use serde_json::json;

use crate::{
    args::{ClientFlags, Global},
    cmd::{connect, submit},
    exit::Exit,
    output::Output,
    runtime,
};

/// Flags of `quote`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embermesh quote job.toml\n  embermesh quote job.toml -o json\n\nThe prices are those of the live nodes that could run the job if they were free, each\nfor all the time that `limits.wall` allows. What is charged is the time that was taken."
)]
pub(crate) struct Flags {
    /// The job file, TOML or JSON by its name
    file: PathBuf,
    #[command(flatten)]
    client: ClientFlags,
}

impl Flags {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(self.client.settings())?;
        let output = global.output(&settings);
        let submit::Read { spec, budget, .. } = submit::read(&self.file)?;
        runtime::run(async move {
            let client = connect(&settings).await?;
            let quoted = client.quote(&spec).await?;
            show(output, &spec, budget, &quoted)
        })
    }
}

fn show(
    output: Output,
    spec: &JobSpec,
    budget: Option<MicroUnits>,
    quoted: &Quoted,
) -> anyhow::Result<Exit> {
    let quote = &quoted.quote;
    let mut fields = vec![
        ("name", spec.name.clone()),
        ("at most", spec.limits.wall.to_string()),
        ("nodes", quote.nodes.to_string()),
    ];
    if quote.nodes > 0 {
        fields.push(("cheapest", quote.least.to_string()));
        fields.push(("dearest", quote.most.to_string()));
    }
    if let Some(budget) = budget {
        fields.push(("budget", budget.to_string()));
    }
    for (node, code, message) in &quoted.passed_over {
        fields.push(("passed over", format!("{} {code}: {message}", node.short())));
    }
    output.one(
        &fields,
        &json!({
            "name": spec.name,
            "wall_ms": spec.limits.wall,
            "nodes": quote.nodes,
            "least_micros": quote.least,
            "most_micros": quote.most,
            "budget_micros": budget,
            "passed_over": quoted.passed_over,
        }),
    )?;
    Ok(Exit::Ok)
}
