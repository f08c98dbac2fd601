//! `embermesh submit`: a job file becomes a job.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use embermesh_client::{Client, Follow, IdempotencyKey, Sources, Submitted, Update};
use embermesh_crypto::PeerId;
use embermesh_job::{
    file::{Format, JobFile, take_budget},
    spec::{JobSpec, MAX_SPEC_LEN, Work},
    units::MicroUnits,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{ClientFlags, Global},
    cmd::{account::units, connect, measure, onnx, stay},
    exit::{Exit, Interrupted, WrongInput},
    output::Output,
    runtime,
    show::{amount, ended, progress::Progressing},
};

/// How things stand when a submit is broken off before it is answered.
pub(crate) const UNANSWERED: &str =
    ": the index has not answered; `embermesh jobs ls` shows whether it took the job";

/// Flags of `submit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embermesh submit job.toml\n  embermesh submit job.toml --follow --out ./out\n  embermesh submit job.toml --budget 2.5\n  embermesh submit job.json --follow -o jsonl | jq .event\n\nWithout a budget only nodes that ask nothing take the job; `embermesh quote` says what\nit may cost. Paths in a job file are relative to the file. Without --follow the command ends\nonce a node has the inputs and has started the job."
)]
pub(crate) struct Flags {
    /// The job file, TOML or JSON by its name
    file: PathBuf,
    /// Stream the job until it ends
    #[arg(short, long)]
    follow: bool,
    /// Folder for the artifacts and the receipt
    #[arg(long, value_name = "DIR", requires = "follow")]
    out: Option<PathBuf>,
    /// Say whether the job file is right, and what the job costs, and submit nothing
    #[arg(long, conflicts_with_all = ["follow", "out"])]
    check: bool,
    #[command(flatten)]
    budget: Budget,
    #[command(flatten)]
    client: ClientFlags,
}

/// What a job may cost.
#[derive(Debug, Args)]
pub(crate) struct Budget {
    /// The most that the job may cost, in units, such as 2.5; held in your account until
    /// it has ended [default: what the job file says]
    #[arg(long, value_name = "AMOUNT", value_parser = units)]
    budget: Option<MicroUnits>,
}

impl Budget {
    /// The budget that was typed, or that of the job file.
    pub(crate) fn or(&self, of_file: Option<MicroUnits>) -> Option<MicroUnits> {
        self.budget.or(of_file).filter(|budget| budget.0 > 0)
    }
}

/// What a job file says, and where its inputs are.
pub(crate) struct Read {
    /// What is asked.
    pub(crate) spec: JobSpec,
    /// The inputs on this side.
    pub(crate) sources: Sources,
    /// What the job may cost.
    pub(crate) budget: Option<MicroUnits>,
}

/// A job file as it was written.
pub(crate) struct Parsed {
    /// The file.
    pub(crate) file: JobFile,
    /// The folder that its paths are relative to.
    pub(crate) folder: PathBuf,
    /// What the job may cost.
    pub(crate) budget: Option<MicroUnits>,
}

impl Flags {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(self.client.settings())?;
        let output = global.output(&settings);
        let Read {
            spec,
            sources,
            budget,
        } = read(&self.file)?;
        let budget = self.budget.or(budget);
        if self.check {
            return check(output, &spec, &sources);
        }
        if sources.staying().is_some() && !self.follow {
            return Err(WrongInput(
                "the data of this job stays here, and its node asks for it while it works: submit it with --follow".to_owned(),
            )
            .into());
        }
        let quiet = global.quiet;
        runtime::run(async move {
            let cancel = runtime::stop_token()?;
            let key = IdempotencyKey::fresh()?;
            let submitting = Box::pin(async {
                let client = connect(&settings).await?;
                let (submitted, follow) = client
                    .run_for(&spec, sources, Vec::new(), key, budget)
                    .await?;
                anyhow::Ok((client, submitted, follow))
            });
            let (client, submitted, follow) =
                runtime::unless_stopped(&cancel, UNANSWERED, submitting).await?;
            let shown = Progressing::new(output, quiet || (!self.follow && !output.is_table()));
            if self.follow {
                let out = self.out.as_deref();
                return stream(&client, &submitted, follow, shown, output, out, &cancel).await;
            }
            hand_over(&submitted, follow, &shown, output, &cancel).await
        })
    }
}

/// Reads a job file and hashes what it names.
pub(crate) fn read(path: &Path) -> anyhow::Result<Read> {
    let Parsed {
        file,
        folder,
        budget,
    } = parse(path)?;
    let resolved = resolve(&file, &folder);
    let (spec, sources) = resolved.map_err(|error| error.context(path.display().to_string()))?;
    Ok(Read {
        spec,
        sources,
        budget,
    })
}

/// Reads a job file; its paths are relative to the folder beside it.
pub(crate) fn parse(path: &Path) -> anyhow::Result<Parsed> {
    let wrong = |reason: String| WrongInput(format!("{}: {reason}", path.display()));
    let format = Format::of(path)
        .ok_or_else(|| wrong("a job file's name ends in .toml or .json".to_owned()))?;
    let metadata =
        std::fs::metadata(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if metadata.len() > MAX_SPEC_LEN as u64 {
        return Err(wrong(format!("a job file has at most {MAX_SPEC_LEN} bytes")).into());
    }
    let text =
        std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let named = |error: anyhow::Error| error.context(path.display().to_string());
    let folder = path.parent().unwrap_or(Path::new(""));
    let (text, budget) = take_budget(&text, format).map_err(|error| named(error.into()))?;
    let mut file = JobFile::parse(&text, format).map_err(|error| named(error.into()))?;
    if let Some(model) = file.folder().map(Path::to_owned) {
        let names = embermesh_client::files_of(&folder.join(&model))?;
        file.expand(&model, &names)
            .map_err(|error| named(error.into()))?;
    }
    Ok(Parsed {
        file,
        folder: folder.to_owned(),
        budget,
    })
}

/// Makes a spec of a job file, whose paths are relative to `folder`.
fn resolve(file: &JobFile, folder: &Path) -> anyhow::Result<(JobSpec, Sources)> {
    let mut sources = Sources::default();
    let file = match stay::read(file, folder)? {
        Some((data, said)) => {
            sources.stay(data);
            &file.with_client_data(said)
        }
        None => file,
    };
    let mut blobs = BTreeMap::new();
    for path in file.sources() {
        let input = sources.add_file(&folder.join(path))?;
        blobs.insert(path.to_owned(), input);
    }
    for origin in file.unmeasured() {
        blobs.insert(PathBuf::from(origin), measure::origin(origin)?);
    }
    let spec = file.resolve(&blobs)?;
    onnx::check(&spec, &sources)?;
    Ok((spec, sources))
}

/// The numbers and the operations a sample of the model of a job; of a computation,
/// those of all its tensors and operations.
fn costs(spec: &JobSpec, sources: &Sources) -> anyhow::Result<Option<(u64, u64)>> {
    if let Work::Compute(compute) = &spec.work {
        let planned = compute
            .plan()
            .map_err(|error| WrongInput(error.to_string()))?;
        let cost = planned.program.cost;
        return Ok(Some((cost.parameters, cost.flops)));
    }
    if let Some(checked) = onnx::check(spec, sources)? {
        return Ok(Some((checked.parameters, checked.flops_per_sample)));
    }
    let plan = spec.plan().map_err(|error| WrongInput(error.to_string()))?;
    Ok(plan.map(|plan| (plan.parameters, plan.flops_per_sample)))
}

fn check(output: Output, spec: &JobSpec, sources: &Sources) -> anyhow::Result<Exit> {
    let costs = costs(spec, sources)?;
    let inputs: u64 = spec.inputs().iter().map(|input| input.size).sum();
    let mut fields = vec![
        ("name", spec.name.clone()),
        ("spec", spec.digest().to_string()),
    ];
    // A model that is a file of its own is measured where it is read.
    if let Some((parameters, flops)) = costs {
        fields.push(("parameters", parameters.to_string()));
        fields.push(("operations per sample", flops.to_string()));
    }
    fields.push(("inputs", amount::bytes(inputs)));
    output.one(
        &fields,
        &json!({
            "name": spec.name,
            "spec": spec.digest(),
            "parameters": costs.map(|(parameters, _)| parameters),
            "flops_per_sample": costs.map(|(_, flops)| flops),
            "input_bytes": inputs,
        }),
    )?;
    Ok(Exit::Ok)
}

/// Waits until a node has started the job, and leaves it there.
async fn hand_over(
    submitted: &Submitted,
    mut follow: Follow,
    shown: &Progressing,
    output: Output,
    cancel: &CancellationToken,
) -> anyhow::Result<Exit> {
    let job = submitted.job.id;
    let mut node = None;
    loop {
        let update = tokio::select! {
            () = cancel.cancelled() => {
                return Err(Interrupted(format!(
                    ": job {job} is queued, but its inputs are only here: submit it again, or `embermesh jobs cancel {job}`"
                )).into());
            }
            update = follow.next() => update,
        };
        let Some(update) = update.transpose()? else {
            return Err(WrongInput(format!("job {job} cannot be followed")).into());
        };
        match &update {
            // The work has something to say: the inputs are there.
            Update::Event(_) | Update::Ended(_) => {}
            other => {
                if let Update::Assigned { node: at, .. } = other {
                    node = Some(*at);
                }
                if let Some(text) = crate::show::update::text(other) {
                    shown.aside(&text);
                }
                continue;
            }
        }
        let fields = [
            ("job", job.to_string()),
            ("name", submitted.job.name.clone()),
            (
                "node",
                node.map_or_else(|| "-".to_owned(), |node: PeerId| node.to_string()),
            ),
        ];
        let value = json!({ "job": job, "name": submitted.job.name, "node": node, "spec": submitted.job.spec_digest });
        output.one(&fields, &value)?;
        shown.aside(&format!("follow it with `embermesh jobs watch {job}`"));
        return Ok(Exit::Ok);
    }
}

/// Shows a job until it ends, then verifies its receipt and fetches its artifacts.
pub(crate) async fn stream(
    client: &Client,
    submitted: &Submitted,
    follow: Follow,
    mut shown: Progressing,
    output: Output,
    out: Option<&Path>,
    cancel: &CancellationToken,
) -> anyhow::Result<Exit> {
    let job = &submitted.job;
    if output.is_table() {
        shown.aside(&format!("job {} ({})", job.id, job.name));
    } else {
        output.item("", &json!({ "update": "submitted", "job": job.id, "name": job.name, "spec": job.spec_digest }))?;
    }
    let ended = crate::cmd::jobs::until_end(job.id, follow, &mut shown, cancel).await?;
    let receipt = ended::verify(client, job.id, job.spec_digest, &ended)?;
    if let Some(receipt) = &receipt {
        shown.aside(&format!(
            "the receipt holds: signed by node {}",
            receipt.node.short()
        ));
    }
    if let Some(folder) = out {
        for kept in ended::keep(client, &ended, folder, !output.is_table(), cancel).await? {
            let text = format!("{} {} (verified)", kept.path.display(), kept.fetched.digest);
            let value = json!({ "update": "fetched", "path": kept.path, "digest": kept.fetched.digest, "size": kept.fetched.size });
            output.item(&text, &value)?;
        }
    }
    Ok(ended::exit(ended.outcome))
}
