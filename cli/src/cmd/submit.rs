//! `embermesh submit`: a job file becomes a job.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use embermesh_client::{
    Client, ClientError, Errand, Follow, IdempotencyKey, Sources, Submitted, Update,
    bounds::RETRY_FOR,
};
use embermesh_crypto::PeerId;
use embermesh_job::{
    file::{Format, JobFile, take_budget},
    spec::{JobSpec, MAX_SPEC_LEN, Work},
    units::{MicroUnits, Millis},
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    args::{ClientFlags, Global, put},
    cmd::{
        account::units,
        by_road, measure, onnx,
        party::{Named, Party},
        stay,
    },
    config::Settings,
    direct::{self, MeshFlags},
    exit::{Exit, Interrupted, WrongInput},
    indexes::{self, Keeper},
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
    after_help = "Examples:\n  embermesh submit job.toml\n  embermesh submit job.toml --follow --out ./out\n  embermesh submit job.toml --no-index --peer /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW... --follow\n  embermesh submit job.toml --no-index --wait 10m --follow --out ./out\n  embermesh submit job.toml --index a.example.org:7420 --index b.example.org:7420 --follow\n  embermesh submit job.toml --index-or-none --wait 10m --follow --out ./out\n  embermesh submit job.toml --budget 2.5\n  embermesh submit job.json --follow -o jsonl | jq .event\n\nWithout a budget only nodes that ask nothing take the job; `embermesh quote` says what\nit may cost. Paths in a job file are relative to the file. Without --follow the command ends\nonce a node has the inputs and has started the job.\n\nOf several indexes the first that answers takes the job, and it stays with that one; no job\nruns twice, whichever of them dies meanwhile. With --index-or-none a job that none of them\ntakes goes to the nodes themselves, as with --no-index; the nodes that an index has told of\nare remembered for that.\n\nWith --no-index the nodes are asked themselves. A job that no node takes waits, and says for\neach node why; where its node is lost it goes on with another, as long as this command or\n`embermesh jobs watch` follows it."
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
    /// Ask the nodes themselves where no index answers; the nodes must let this key in
    #[arg(long, group = "without")]
    index_or_none: bool,
    /// How long the job may wait for a node, such as 10m, without an index [default: as
    /// long as it takes]
    #[arg(long, value_name = "DURATION", requires = "without", value_parser = span)]
    wait: Option<Duration>,
    #[command(flatten)]
    budget: Budget,
    #[command(flatten)]
    mesh: MeshFlags,
    #[command(flatten)]
    client: ClientFlags,
}

/// A span of time, as people write it.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Millis>();
    span.map(|span| Duration::from_millis(span.0))
        .map_err(|error| error.to_string())
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
        let mut flags = self.mesh.onto(self.client.settings());
        put(
            &mut flags,
            "index_or_none",
            self.index_or_none.then_some(true),
        );
        let settings = global.resolve(flags)?;
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
        if self.mesh.no_index {
            if budget.is_some() {
                return Err(WrongInput(
                    "a job has a budget where an index counts money: take `budget` out, or submit it to an index".to_owned(),
                )
                .into());
            }
            let shown = Progressing::new(output, quiet || (!self.follow && !output.is_table()));
            return runtime::run(self.direct(settings, spec, sources, shown, output));
        }
        runtime::run(async move {
            let cancel = runtime::stop_token()?;
            let shown = Progressing::new(output, quiet || (!self.follow && !output.is_table()));
            let submitting = Box::pin(submit(&settings, &spec, budget));
            let submitted = runtime::unless_stopped(&cancel, UNANSWERED, submitting).await;
            let (client, submitted) = match submitted {
                Err(error) if may_do_without(&settings, &error, budget) => {
                    shown.aside(&format!("{error:#}\nasking the nodes themselves"));
                    return Box::pin(self.direct(settings, spec, sources, shown, output)).await;
                }
                submitted => submitted?,
            };
            let follow = client.follow_new(&spec, &submitted, sources, Vec::new());
            let mut keeper = Keeper::new(&client, &submitted.job, &follow)?;
            let _keeping = AbortOnDropHandle::new(tokio::spawn(keeper.clone().run()));
            if settings.index_or_none {
                direct::remember_nodes_of(&client).await;
            }
            let job = Named::from(&submitted.job);
            if self.follow {
                let out = self.out.as_deref();
                let party = Party::Index(client);
                return stream(&party, &job, follow, shown, output, out, &cancel).await;
            }
            let handed = hand_over(&job, follow, &shown, output, &cancel).await;
            keeper.look();
            handed
        })
    }

    /// Does it without an index.
    async fn direct(
        self,
        settings: Settings,
        spec: JobSpec,
        sources: Sources,
        shown: Progressing,
        output: Output,
    ) -> anyhow::Result<Exit> {
        let cancel = runtime::stop_token()?;
        let left = ": nothing was submitted";
        let joining = Box::pin(direct::join(&settings));
        let direct = runtime::unless_stopped(&cancel, left, joining).await?;
        let errand = Errand {
            sources,
            wait: self.wait,
            ..Errand::default()
        };
        let (id, follow) = direct.run(&spec, errand)?;
        let job = Named {
            id,
            name: spec.name.clone(),
            spec: spec.digest(),
        };
        if self.follow {
            let party = Party::Direct(direct);
            let out = self.out.as_deref();
            return Box::pin(stream(&party, &job, follow, shown, output, out, &cancel)).await;
        }
        hand_over(&job, follow, &shown, output, &cancel).await
    }
}

/// Submits a job to the index, or to the first of several that answers.
async fn submit(
    settings: &Settings,
    spec: &JobSpec,
    budget: Option<MicroUnits>,
) -> anyhow::Result<(Client, Submitted)> {
    let indexes = indexes::all(settings)?;
    let (client, submitted) = if settings.index_or_none {
        Box::pin(indexes.submit_for(spec, budget, Duration::ZERO)).await?
    } else if indexes.targets().len() > 1 {
        Box::pin(indexes.submit_for(spec, budget, RETRY_FOR)).await?
    } else {
        let client = Box::pin(indexes.connect()).await?;
        let key = IdempotencyKey::fresh()?;
        let submitted = client.submit_for(spec, key, budget).await?;
        (client, submitted)
    };
    Ok((by_road(settings, client).await?, submitted))
}

/// Whether a job that no index has taken may go to the nodes themselves. One with a budget
/// may not: without an index nobody counts money.
fn may_do_without(settings: &Settings, error: &anyhow::Error, budget: Option<MicroUnits>) -> bool {
    let none = matches!(
        error.downcast_ref::<ClientError>(),
        Some(ClientError::NoIndex { .. })
    );
    none && settings.index_or_none && budget.is_none()
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
    job: &Named,
    mut follow: Follow,
    shown: &Progressing,
    output: Output,
    cancel: &CancellationToken,
) -> anyhow::Result<Exit> {
    let Named { id, name, spec } = job;
    let mut node = None;
    loop {
        let update = tokio::select! {
            () = cancel.cancelled() => {
                return Err(Interrupted(format!(
                    ": job {id} is queued, but its inputs are only here: submit it again, or `embermesh jobs cancel {id}`"
                )).into());
            }
            update = follow.next() => update,
        };
        let Some(update) = update.transpose()? else {
            return Err(WrongInput(format!("job {id} cannot be followed")).into());
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
            ("job", id.to_string()),
            ("name", name.clone()),
            (
                "node",
                node.map_or_else(|| "-".to_owned(), |node: PeerId| node.to_string()),
            ),
        ];
        let value = json!({ "job": id, "name": name, "node": node, "spec": spec });
        output.one(&fields, &value)?;
        shown.aside(&format!("follow it with `embermesh jobs watch {id}`"));
        return Ok(Exit::Ok);
    }
}

/// Shows a job until it ends, then verifies its receipt and fetches its artifacts.
pub(crate) async fn stream(
    party: &Party,
    job: &Named,
    follow: Follow,
    mut shown: Progressing,
    output: Output,
    out: Option<&Path>,
    cancel: &CancellationToken,
) -> anyhow::Result<Exit> {
    if output.is_table() {
        shown.aside(&format!("job {} ({})", job.id, job.name));
    } else {
        output.item(
            "",
            &json!({ "update": "submitted", "job": job.id, "name": job.name, "spec": job.spec }),
        )?;
    }
    let ended = crate::cmd::jobs::until_end(job.id, follow, &mut shown, cancel).await?;
    let receipt = ended::verify(party.ways(), job.id, job.spec, &ended)?;
    if let Some(receipt) = &receipt {
        shown.aside(&format!(
            "the receipt holds: signed by node {}",
            receipt.node.short()
        ));
    }
    if let Some(folder) = out {
        for kept in ended::keep(party, &ended, folder, !output.is_table(), cancel).await? {
            let text = format!("{} {} (verified)", kept.path.display(), kept.fetched.digest);
            let value = json!({ "update": "fetched", "path": kept.path, "digest": kept.fetched.digest, "size": kept.fetched.size });
            output.item(&text, &value)?;
        }
    }
    Ok(ended::exit(ended.outcome))
}
