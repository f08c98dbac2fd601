//! `embermesh proof make`: several nodes prove one computation together.

use std::path::PathBuf;

use clap::Args;
use embermesh_job::{proof::MAX_GANG, spec::Work as SpecWork};
use serde_json::json;

use crate::{
    args::{ClientFlags, Global},
    cmd::{
        connect,
        submit::{self, Budget},
    },
    exit::{Exit, WrongInput},
    proving::{Driver, Work},
    runtime,
    show::progress::Progressing,
};

/// Flags of `proof make`.
#[derive(Debug, Args)]
pub(crate) struct Make {
    /// The job file of a computation that asks for a proof
    file: PathBuf,
    /// How many nodes execute it
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_GANG as i64))]
    workers: u32,
    /// Folder for the proof and the receipt; what was broken off goes on there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    budget: Budget,
    #[command(flatten)]
    client: ClientFlags,
}

impl Make {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(self.client.settings())?;
        let output = global.output(&settings);
        let read = submit::read(&self.file)?;
        let asked = match &read.spec.work {
            SpecWork::Compute(compute) => compute.prove.as_ref(),
            _ => None,
        };
        if asked.is_none_or(|prove| prove.part.is_some()) {
            let text = "this job asks for no proof: say how many steps are opened, as `work.compute.prove = { opened = N }`";
            return Err(WrongInput(format!("{}: {text}", self.file.display())).into());
        }
        let work = Work {
            budget: self.budget.or(read.budget),
            spec: read.spec,
            sources: read.sources,
            workers: self.workers,
            folder: self.out.clone(),
        };
        let quiet = global.quiet;
        runtime::run(async move {
            let cancel = runtime::stop_token()?;
            let client = connect(&settings).await?;
            let shown = Progressing::new(output, quiet);
            let (driver, outputs) = Driver::new(client, work)?;
            let (path, made) = Box::pin(driver.run(outputs, &shown, &cancel)).await?;
            let fields = [
                ("proof", path.display().to_string()),
                ("digest", made.digest.to_string()),
                ("workers", self.workers.to_string()),
            ];
            let value = json!({
                "path": path,
                "digest": made.digest,
                "size": made.size,
                "workers": self.workers,
            });
            output.one(&fields, &value)?;
            Ok(Exit::Ok)
        })
    }
}
