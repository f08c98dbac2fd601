//! `embermesh jobs`: look at jobs and steer them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use embermesh_client::{
    Client, Direct, Ended, Errand, Follow, Sources, Start, Update, direct::records::Record,
    indexes::memory::Held,
};
use embermesh_crypto::{JobId, digest::Digest, time::UnixMillis};
use embermesh_job::lifecycle::JobState;
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    args::{ClientFlags, Global},
    cmd::{
        party::{Named, Party},
        stay,
    },
    config::Settings,
    direct::{self, MeshFlags},
    exit::{Exit, Interrupted, WrongInput},
    indexes::{self, Keeper},
    output::Output,
    runtime,
    show::{ended, job as shown_job, progress::Progressing, record as shown_record},
};

/// Look at jobs and steer them.
#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// List jobs, the newest first
    #[command(
        after_help = "Examples:\n  embermesh jobs ls\n  embermesh jobs ls --index a.example.org:7420 --index b.example.org:7420\n  embermesh jobs ls --no-index\n  embermesh jobs ls --state running --state queued -o json"
    )]
    Ls {
        /// Only jobs in this state; may be repeated
        #[arg(long, value_name = "STATE")]
        state: Vec<State>,
        /// How many at most
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        most: usize,
        #[command(flatten)]
        mesh: MeshFlags,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show one job, its artifacts and its journal
    #[command(after_help = "Example:\n  embermesh jobs get 0197a3c2-...")]
    Get(One),
    /// Stream a job of yours until it ends
    #[command(
        after_help = "Examples:\n  embermesh jobs watch 0197a3c2-...\n  embermesh jobs watch 0197a3c2-... --after 57 -o jsonl\n  embermesh jobs watch 0197a3c2-... --out ./out\n  embermesh jobs watch 0197a3c2-... --feed job.toml\n\nThe index that took the job is remembered. While it is away the job is joined at its node,\nas long as the token that is remembered is good: ten minutes."
    )]
    Watch {
        /// Begin behind this event
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// Folder for the artifacts and the receipt
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// The job file of a job whose data stays here: gives its node the samples
        #[arg(long, value_name = "FILE")]
        feed: Option<PathBuf>,
        #[command(flatten)]
        one: One,
    },
    /// End a job
    #[command(after_help = "Example:\n  embermesh jobs cancel 0197a3c2-...")]
    Cancel(One),
    /// Let a job stand still; it keeps its device
    #[command(after_help = "Example:\n  embermesh jobs pause 0197a3c2-...")]
    Pause(One),
    /// Let a paused job go on
    #[command(after_help = "Example:\n  embermesh jobs resume 0197a3c2-...")]
    Resume(One),
    /// Give a running training another learning rate or weight decay
    #[command(after_help = "Example:\n  embermesh jobs adjust 0197a3c2-... --learning-rate 0.0001")]
    Adjust {
        /// The learning rate from the next step on, before its schedule
        #[arg(long, value_name = "NUMBER", required_unless_present = "weight_decay")]
        learning_rate: Option<f64>,
        /// The weight decay from the next step on
        #[arg(long, value_name = "NUMBER")]
        weight_decay: Option<f64>,
        #[command(flatten)]
        one: One,
    },
    /// End a training, a generation or an embedding now and keep what it has
    #[command(after_help = "Example:\n  embermesh jobs stop 0197a3c2-...")]
    Stop(One),
}

/// Which job.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The job's id
    job: JobId,
    #[command(flatten)]
    mesh: MeshFlags,
    #[command(flatten)]
    client: ClientFlags,
}

impl One {
    /// What is remembered of the job, where it was submitted without an index.
    ///
    /// # Errors
    /// When no index is wanted and nothing is remembered.
    fn record(&self) -> anyhow::Result<Option<Record>> {
        let record = direct::records()?.find(self.job)?;
        if record.is_none() && self.mesh.no_index {
            return Err(WrongInput(format!(
                "job {} was not submitted from here without an index: `embermesh jobs ls --no-index` shows those that were",
                self.job
            ))
            .into());
        }
        Ok(record)
    }
}

/// A state that can be asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum State {
    /// Waits for a node.
    Queued,
    /// Has a node that has not begun.
    Assigned,
    /// Runs.
    Running,
    /// Stands still.
    Paused,
    /// Did what was asked.
    Succeeded,
    /// Could not be done.
    Failed,
    /// Was ended by its owner.
    Cancelled,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Assigned => Self::Assigned,
            State::Running => Self::Running,
            State::Paused => Self::Paused,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

impl Jobs {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let flags = match &self {
            Self::Ls { mesh, client, .. } => mesh.onto(client.settings()),
            Self::Watch { one, .. }
            | Self::Adjust { one, .. }
            | Self::Stop(one)
            | Self::Get(one)
            | Self::Cancel(one)
            | Self::Pause(one)
            | Self::Resume(one) => one.mesh.onto(one.client.settings()),
        };
        let settings = global.resolve(flags)?;
        let output = global.output(&settings);
        let quiet = global.quiet;
        let holder = async |job| {
            let (client, _) = Box::pin(indexes::holder(&settings, job)).await?;
            anyhow::Ok(client)
        };
        if let Some(record) = self.record()? {
            return runtime::run(Box::pin(self.direct(settings, output, quiet, record)));
        }
        runtime::run(async {
            let (job, state) = match self {
                Self::Ls { mesh, most, .. } if mesh.no_index => return list_own(output, most),
                Self::Ls { state, most, .. } => {
                    return list(&settings, output, &state, most).await;
                }
                Self::Get(one) => return page(&holder(one.job).await?, output, one.job).await,
                Self::Watch {
                    after,
                    out,
                    feed,
                    one,
                } => {
                    let whole = (after, out, feed);
                    return watch(&settings, output, quiet, one.job, whole).await;
                }
                Self::Cancel(One { job, .. }) => (job, holder(job).await?.cancel(job, None).await?),
                Self::Pause(One { job, .. }) => {
                    let client = holder(job).await?;
                    (job, client.set_paused(job, true, None).await?)
                }
                Self::Resume(One { job, .. }) => {
                    let client = holder(job).await?;
                    (job, client.set_paused(job, false, None).await?)
                }
                Self::Adjust {
                    learning_rate,
                    weight_decay,
                    one: One { job, .. },
                } => {
                    let client = holder(job).await?;
                    let state = client.adjust(job, learning_rate, weight_decay).await?;
                    (job, state)
                }
                Self::Stop(One { job, .. }) => (job, holder(job).await?.finish(job).await?),
            };
            say_state(output, job, state)
        })
    }
}

impl Jobs {
    /// What is remembered of the job that is spoken of.
    fn record(&self) -> anyhow::Result<Option<Record>> {
        match self {
            Self::Ls { .. } => Ok(None),
            Self::Watch { one, .. }
            | Self::Adjust { one, .. }
            | Self::Stop(one)
            | Self::Get(one)
            | Self::Cancel(one)
            | Self::Pause(one)
            | Self::Resume(one) => one.record(),
        }
    }

    /// Does it for a job that no index knows.
    async fn direct(
        self,
        settings: Settings,
        output: Output,
        quiet: bool,
        record: Record,
    ) -> anyhow::Result<Exit> {
        let joined = || direct::join(&settings);
        let state = match self {
            Self::Ls { .. } | Self::Get(_) => {
                output.one(&shown_record::page(&record), &shown_record::value(&record))?;
                return Ok(Exit::Ok);
            }
            Self::Watch {
                after, out, feed, ..
            } => {
                let whole = (after, out, feed);
                return watch_own(&settings, output, quiet, record, whole).await;
            }
            Self::Cancel(_) => joined().await?.cancel(&record).await?,
            Self::Pause(_) => joined().await?.set_paused(&record, true).await?,
            Self::Resume(_) => joined().await?.set_paused(&record, false).await?,
            Self::Stop(_) => joined().await?.finish(&record).await?,
            Self::Adjust {
                learning_rate,
                weight_decay,
                ..
            } => {
                let direct = joined().await?;
                direct.adjust(&record, learning_rate, weight_decay).await?
            }
        };
        say_state(output, record.job, state)
    }
}

/// The jobs of this user that no index knows.
fn list_own(output: Output, most: usize) -> anyhow::Result<Exit> {
    let mut records = direct::records()?.all()?;
    records.truncate(most);
    let now = UnixMillis::now();
    output.list(
        &shown_record::HEADERS,
        records
            .iter()
            .map(|record| shown_record::row(record, now))
            .collect(),
        records.iter().map(shown_record::value).collect(),
    )?;
    Ok(Exit::Ok)
}

/// Follows a job that no index knows.
async fn watch_own(
    settings: &Settings,
    output: Output,
    quiet: bool,
    record: Record,
    (after, out, feed): (u64, Option<PathBuf>, Option<PathBuf>),
) -> anyhow::Result<Exit> {
    let feed = feed.map(|file| stay::feed(&file)).transpose()?;
    let cancel = runtime::stop_token()?;
    let left = format!(": job {} is as it was", record.job);
    let joining = Box::pin(direct::join(settings));
    let direct: Direct = runtime::unless_stopped(&cancel, &left, joining).await?;
    let spec = direct.records().spec(record.job)?;
    let mut sources = Sources::default();
    if let Some((data, said)) = feed {
        stay::belongs(&spec, &said)?;
        sources.stay(data);
    }
    let job = Named {
        id: record.job,
        name: record.name.clone(),
        spec: Digest::of(&spec),
    };
    let errand = Errand {
        after,
        sources,
        ..Errand::default()
    };
    let follow = direct.watch(record, errand)?;
    let shown = Progressing::new(output, quiet);
    let party = Party::Direct(direct);
    finish(&party, &job, follow, shown, output, out, &cancel).await
}

/// Lists the jobs of all indexes that answer; the rest is told on stderr.
async fn list(
    settings: &Settings,
    output: Output,
    states: &[State],
    most: usize,
) -> anyhow::Result<Exit> {
    let states: Vec<JobState> = states.iter().copied().map(Into::into).collect();
    let indexes = indexes::all(settings)?;
    let (jobs, silent) = Box::pin(indexes.jobs(&states, most)).await?;
    for (index, reason) in silent {
        eprintln!("the jobs of index {index} are not among these: {reason}");
    }
    let now = UnixMillis::now();
    output.list(
        &shown_job::HEADERS,
        jobs.iter().map(|job| shown_job::row(job, now)).collect(),
        jobs.iter().map(shown_job::value).collect(),
    )?;
    Ok(Exit::Ok)
}

async fn page(client: &Client, output: Output, job: JobId) -> anyhow::Result<Exit> {
    let job = client.job(job).await?;
    output.one(&shown_job::page(&job), &shown_job::value(&job))?;
    if output.is_table() && !job.journal.is_empty() {
        output.line("")?;
        output.line(&shown_job::journal(&job))?;
    }
    Ok(Exit::Ok)
}

async fn watch(
    settings: &Settings,
    output: Output,
    quiet: bool,
    job: JobId,
    (after, out, feed): (u64, Option<PathBuf>, Option<PathBuf>),
) -> anyhow::Result<Exit> {
    let feed = feed.map(|file| stay::feed(&file)).transpose()?;
    let cancel = runtime::stop_token()?;
    let asking = Box::pin(async {
        let (client, held) = Box::pin(indexes::holder(settings, job)).await?;
        let view = match &held {
            Some(_) => client.job_now(job).await,
            None => client.job(job).await,
        };
        // An assignment that nobody has presented yet is not started from here: its
        // inputs may be with whoever submitted it.
        let assignment = client.assignment(job).await.ok();
        anyhow::Ok((client, held, view, assignment))
    });
    let left = format!(": job {job} is as it was");
    let (client, held, view, assignment) = runtime::unless_stopped(&cancel, &left, asking).await?;
    let shown = Progressing::new(output, quiet);
    // While its index is away, what is remembered leads to its node.
    let (named, held, spec) = match (view, held) {
        (Ok(view), held) => {
            let held = held.unwrap_or_else(|| Held::new(&client, &view));
            (Named::from(&view), held, Ok(view.spec))
        }
        (Err(error), Some(held)) if indexes::is_away(&error) => {
            shown.aside(&format!("{error}: joining the job at its node"));
            let named = Named {
                id: job,
                name: held.name.clone(),
                spec: held.spec,
            };
            (named, held, Err(error))
        }
        (Err(error), _) => return Err(error.into()),
    };
    let mut sources = Sources::default();
    if let Some((data, said)) = feed {
        let spec = spec.map_err(|error| indexes::away(job, &error))?;
        stay::belongs(&spec, &said)?;
        sources.stay(data);
    }
    let start = Start {
        after,
        sources,
        assignment,
        ..Start::default()
    };
    let follow = client.follow(job, start);
    let keeper = Keeper::of(held, &follow)?;
    let _keeping = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
    let party = Party::Index(client);
    finish(&party, &named, follow, shown, output, out, &cancel).await
}

/// Follows a job to its end, and checks and fetches what it made.
async fn finish(
    party: &Party,
    job: &Named,
    follow: Follow,
    mut shown: Progressing,
    output: Output,
    out: Option<PathBuf>,
    cancel: &CancellationToken,
) -> anyhow::Result<Exit> {
    let ended = until_end(job.id, follow, &mut shown, cancel).await?;
    if ended::verify(party.ways(), job.id, job.spec, &ended)?.is_some() {
        shown.aside("the receipt holds");
    }
    if let Some(folder) = out {
        for kept in ended::keep(party, &ended, &folder, !output.is_table(), cancel).await? {
            let value =
                json!({ "update": "fetched", "path": kept.path, "digest": kept.fetched.digest });
            output.item(&kept.path.display().to_string(), &value)?;
        }
    }
    Ok(ended::exit(ended.outcome))
}

/// Shows a job until it is over.
///
/// # Errors
/// When it cannot be followed any more, or a signal came.
pub(crate) async fn until_end(
    job: JobId,
    mut follow: Follow,
    shown: &mut Progressing,
    cancel: &CancellationToken,
) -> anyhow::Result<Ended> {
    loop {
        let update = tokio::select! {
            () = cancel.cancelled() => {
                shown.clear();
                return Err(Interrupted(format!(
                    ": job {job} goes on; `embermesh jobs watch {job}` joins it again, `embermesh jobs cancel {job}` ends it"
                )).into());
            }
            update = follow.next() => update,
        };
        match update {
            Some(Ok(update)) => {
                shown.show(&update)?;
                if let Update::Ended(ended) = update {
                    return Ok(*ended);
                }
            }
            Some(Err(error)) => {
                shown.clear();
                return Err(error.into());
            }
            None => {
                return Err(anyhow::anyhow!(
                    "the stream of job {job} ended without its end"
                ));
            }
        }
    }
}

fn say_state(output: Output, job: JobId, state: JobState) -> anyhow::Result<Exit> {
    output.one(
        &[("job", job.to_string()), ("state", state.to_string())],
        &json!({ "job": job, "state": state }),
    )?;
    Ok(Exit::Ok)
}
