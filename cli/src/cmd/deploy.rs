//! `embermesh deploy` and `undeploy`: a model that stays in memory on a node.

use std::path::{Path, PathBuf};

use clap::Args;
use embermesh_client::{Client, Follow, IdempotencyKey, Sources, Submitted, Update};
use embermesh_crypto::{PeerId, statement::Outcome};
use embermesh_job::{
    event::{EventKind, Loaded},
    lifecycle::JobState,
    spec::{Askers, JobSpec, Limits, MAX_ATTEMPTS, MAX_NAME, Requirements, Serve, Served, Work},
    units::{Bytes, Millis},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{ClientFlags, Global},
    cmd::{connect, submit},
    exit::{Exit, Interrupted, WrongInput},
    output::Output,
    runtime,
    show::{amount, ended, progress::Progressing},
};

/// How long a model stays that is deployed from its file alone.
const USUAL_STAY: Millis = Millis(30 * 86_400_000);
/// The least memory of a model that is deployed from its file alone; a larger one
/// gets half as much again as its file has, for what is built of it, and for caches.
const USUAL_MEMORY: u64 = 2 << 30;

/// Flags of `deploy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embermesh deploy smollm2.gguf --name chat\n  embermesh deploy examples/jobs/chat-deploy.toml --idle 30m\n  embermesh deploy smollm2.gguf --name chat --peer 12D3KooW... --for 8h\n\nThe command ends once the model is loaded; the model stays without it. Nobody but\nyou may ask it unless --peer or --anyone says so."
)]
pub(crate) struct Flags {
    /// The model as GGUF, or a job file with `work.serve`, TOML or JSON by its name
    file: PathBuf,
    /// What it is called [default: as the job file says, or the file's name]
    #[arg(long)]
    name: Option<String>,
    /// How long it stays at most [default: as `limits.wall` says; 30d for a GGUF file]
    #[arg(long = "for", value_name = "TIME")]
    stay: Option<Millis>,
    /// Unload it when nobody has asked for this long
    #[arg(long, value_name = "TIME")]
    idle: Option<Millis>,
    /// Memory that it may use
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Tokens that prompt and answer may have together
    #[arg(long, value_name = "TOKENS")]
    context: Option<u32>,
    /// Asks that are answered side by side
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<u32>,
    /// A key that may ask it, too; may be repeated
    #[arg(long, value_name = "PEER", conflicts_with = "anyone")]
    peer: Vec<PeerId>,
    /// Let every key ask that the node's owner allows
    #[arg(long)]
    anyone: bool,
    #[command(flatten)]
    budget: submit::Budget,
    #[command(flatten)]
    client: ClientFlags,
}

impl Flags {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(self.client.settings())?;
        let output = global.output(&settings);
        let submit::Read {
            spec,
            sources,
            budget,
        } = self.read()?;
        let budget = self.budget.or(budget);
        let quiet = global.quiet || !output.is_table();
        runtime::run(async move {
            let cancel = runtime::stop_token()?;
            let key = IdempotencyKey::fresh()?;
            let submitting = Box::pin(async {
                let client = connect(&settings).await?;
                let running = client.run_for(&spec, sources, Vec::new(), key, budget);
                anyhow::Ok(Box::pin(running).await?)
            });
            let (submitted, follow) =
                runtime::unless_stopped(&cancel, submit::UNANSWERED, submitting).await?;
            let shown = Progressing::new(output, quiet);
            until_loaded(&submitted, follow, &shown, output, &cancel).await
        })
    }

    /// The deployment that is asked for, with the file that it needs.
    fn read(&self) -> anyhow::Result<submit::Read> {
        let is_model = self
            .file
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
        let submit::Read {
            mut spec,
            sources,
            budget,
        } = if is_model {
            let (spec, sources) = of_model(&self.file)?;
            submit::Read {
                spec,
                sources,
                budget: None,
            }
        } else {
            submit::read(&self.file)?
        };
        let Work::Serve(serve) = &mut spec.work else {
            return Err(WrongInput(format!(
                "{}: its work is no deployment: `embermesh submit` runs it, and a deployment has `work.serve`",
                self.file.display()
            ))
            .into());
        };
        serve.idle = self.idle.or(serve.idle);
        serve.context = self.context.unwrap_or(serve.context);
        serve.concurrency = self.concurrency.unwrap_or(serve.concurrency);
        if self.anyone {
            serve.askers = Askers::Anyone;
        } else if !self.peer.is_empty() {
            serve.askers = Askers::Peers(self.peer.clone());
        }
        spec.limits.wall = self.stay.unwrap_or(spec.limits.wall);
        spec.limits.memory = self.memory.unwrap_or(spec.limits.memory);
        if let Some(name) = &self.name {
            spec.name.clone_from(name);
        }
        spec.validate()
            .map_err(|error| WrongInput(error.to_string()))?;
        Ok(submit::Read {
            spec,
            sources,
            budget,
        })
    }
}

/// A deployment of a model's file with the usual for the rest.
fn of_model(path: &Path) -> anyhow::Result<(JobSpec, Sources)> {
    let mut sources = Sources::default();
    let input = sources.add_file(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let spec = JobSpec {
        name: stem.chars().take(MAX_NAME).collect(),
        work: Work::Serve(Serve::new(Served::Language(input.into()))),
        requires: Requirements::default(),
        limits: Limits {
            memory: Bytes(USUAL_MEMORY.max(input.size.saturating_mul(3) / 2)),
            wall: USUAL_STAY,
            ..Limits::default()
        },
        attempts: MAX_ATTEMPTS,
    };
    Ok((spec, sources))
}

/// Waits until the model can be asked, and leaves it there.
async fn until_loaded(
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
                    ": the deployment is job {job}; `embermesh undeploy {job}` ends it"
                )).into());
            }
            update = follow.next() => update,
        };
        match update.transpose()? {
            Some(Update::Event(event)) => {
                if let EventKind::Loaded(loaded) = event.kind {
                    return loaded_says(submitted, node, &loaded, shown, output);
                }
            }
            Some(Update::Ended(ended)) => {
                let word = ended::word(ended.outcome);
                let why = if ended.outcome == Outcome::Succeeded {
                    format!("the deployment is over already: {}", ended.message)
                } else {
                    format!("the model was not loaded ({word}): {}", ended.message)
                };
                return Err(anyhow::anyhow!(why));
            }
            Some(other) => {
                if let Update::Assigned { node: at, .. } = &other {
                    node = Some(*at);
                }
                if let Some(text) = crate::show::update::text(&other) {
                    shown.aside(&text);
                }
            }
            None => {
                return Err(WrongInput(format!("job {job} cannot be followed")).into());
            }
        }
    }
}

fn loaded_says(
    submitted: &Submitted,
    node: Option<PeerId>,
    loaded: &Loaded,
    shown: &Progressing,
    output: Output,
) -> anyhow::Result<Exit> {
    let (job, name) = (submitted.job.id, &submitted.job.name);
    let fields = [
        ("model", name.clone()),
        ("job", job.to_string()),
        (
            "node",
            node.map_or_else(|| "-".to_owned(), |node| node.to_string()),
        ),
        ("memory", amount::bytes(loaded.memory_bytes)),
    ];
    let value = json!({
        "model": name,
        "job": job,
        "node": node,
        "digest": loaded.model,
        "memory_bytes": loaded.memory_bytes,
        "context": loaded.context,
        "concurrency": loaded.concurrency,
    });
    output.one(&fields, &value)?;
    // A network has no context.
    let how = if loaded.context > 0 {
        format!("embermesh ask {name:?} \"...\"")
    } else {
        format!("embermesh ask {name:?} --rows '[[...]]'")
    };
    shown.aside(&format!(
        "ask it with `{how}`, end it with `embermesh undeploy {name:?}`"
    ));
    Ok(Exit::Ok)
}

/// Flags of `undeploy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embermesh undeploy chat\n  embermesh undeploy 0197a3c2-...\n\nAnswers that are under way end with it."
)]
pub(crate) struct Undeploy {
    /// The deployment's name, or the id of its job
    model: String,
    #[command(flatten)]
    client: ClientFlags,
}

impl Undeploy {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(self.client.settings())?;
        let output = global.output(&settings);
        runtime::run(async move {
            let cancel = runtime::stop_token()?;
            let left = ": `embermesh models ls` shows whether it is still there";
            let undeploying = Box::pin(async {
                let client = connect(&settings).await?;
                let deployment = client.deployment(&self.model).await?;
                client.undeploy(deployment.job).await?;
                let state = until_over(&client, deployment.job).await?;
                anyhow::Ok((deployment, state))
            });
            let (deployment, state) = runtime::unless_stopped(&cancel, left, undeploying).await?;
            output.one(
                &[
                    ("model", deployment.name.clone()),
                    ("job", deployment.job.to_string()),
                    ("state", state.to_string()),
                ],
                &json!({ "model": deployment.name, "job": deployment.job, "state": state }),
            )?;
            Ok(Exit::Ok)
        })
    }
}

/// Follows the job to its end: then the model is out of memory.
async fn until_over(client: &Client, job: embermesh_crypto::JobId) -> anyhow::Result<JobState> {
    let mut follow = client.follow(job, embermesh_client::Start::default());
    while let Some(update) = follow.next().await.transpose()? {
        if let Update::Ended(ended) = update {
            return Ok(match ended.outcome {
                Outcome::Succeeded => JobState::Succeeded,
                Outcome::Failed => JobState::Failed,
                Outcome::Cancelled => JobState::Cancelled,
            });
        }
    }
    Ok(client.job(job).await?.state)
}
