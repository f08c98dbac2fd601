//! `embermesh submit`: a job file becomes a job.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use embermesh_client::{Client, Follow, IdempotencyKey, Sources, Submitted, Update};
use embermesh_crypto::PeerId;
use embermesh_job::{
    file::{Format, JobFile},
    spec::{JobSpec, MAX_SPEC_LEN, Work},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{ClientFlags, Global},
    cmd::{connect, onnx},
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
    after_help = "Examples:\n  embermesh submit job.toml\n  embermesh submit job.toml --follow --out ./out\n  embermesh submit job.json --follow -o jsonl | jq .event\n\nPaths in a job file are relative to the file. Without --follow the command ends\nonce a node has the inputs and has started the job."
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
    client: ClientFlags,
}

impl Flags {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(self.client.settings())?;
        let output = global.output(&settings);
        let (spec, sources) = read(&self.file)?;
        if self.check {
            return check(output, &spec, &sources);
        }
        let quiet = global.quiet;
        runtime::run(async move {
            let cancel = runtime::stop_token()?;
            let key = IdempotencyKey::fresh()?;
            let submitting = Box::pin(async {
                let client = connect(&settings).await?;
                let (submitted, follow) = client.run(&spec, sources, Vec::new(), key).await?;
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
pub(crate) fn read(path: &Path) -> anyhow::Result<(JobSpec, Sources)> {
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
    resolve(&text, format, path.parent().unwrap_or(Path::new("")))
        .map_err(|error| error.context(path.display().to_string()))
}

/// Makes a spec of a job file's text, whose paths are relative to `folder`.
pub(crate) fn resolve(
    text: &str,
    format: Format,
    folder: &Path,
) -> anyhow::Result<(JobSpec, Sources)> {
    let mut file = JobFile::parse(text, format)?;
    if let Some(model) = file.folder().map(Path::to_owned) {
        let names = embermesh_client::files_of(&folder.join(&model))?;
        file.expand(&model, &names)?;
    }
    let mut sources = Sources::default();
    let mut blobs = BTreeMap::new();
    for path in file.sources() {
        let input = sources.add_file(&folder.join(path))?;
        blobs.insert(path.to_owned(), input);
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
