//! The worker at work: its messages made into events, its ceilings watched.

use std::time::Duration;

use embermesh_compute::{
    FailureClass,
    pipe::{FromWorker, ToWorker, WorkSummary, WorkerEvent, WorkerEventKind},
    usage::Usage,
};
use embermesh_crypto::time::UnixMillis;
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    event::{Event, EventKind, Notice},
    order::Report,
    units::Millis,
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Phase, Told,
    feed::{BadWant, Served, Table, Wait},
    output::{self, NotTaken, Workdir},
    run::{Attempt, End},
    wall::Wall,
    watch,
};
use crate::{
    resident::{Desk, Wanted},
    store::ReportKind,
    worker::Worker,
};

/// How long a cancelled worker has before it is killed.
const CANCEL_GRACE: Duration = Duration::from_millis(300);

/// How long a resident model whose time is over may take to say its last word.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How long a worker that has said its last word has to exit.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// Drives a worker that has been given its order to the end of the attempt.
pub(super) async fn drive(
    attempt: &mut Attempt,
    mut worker: Worker,
    workdir: &Workdir,
) -> Result<WorkSummary, End> {
    let mut wall = Wall::started(Duration::from_millis(attempt.order.spec.limits.wall.0));
    let end = Box::pin(messages(attempt, &mut worker, workdir, &mut wall)).await;
    attempt.wall = wall.used();
    if let Some(used) = worker.usage() {
        attempt.took(used);
    }
    let grace = match &end {
        Ok(_) => EXIT_GRACE,
        Err(_) => {
            // It may be gone already, or deaf: it is killed after the grace.
            let _ = worker.send(&ToWorker::Cancel).await;
            CANCEL_GRACE
        }
    };
    worker.end(grace).await;
    end
}

async fn messages(
    attempt: &mut Attempt,
    worker: &mut Worker,
    workdir: &Workdir,
    wall: &mut Wall,
) -> Result<WorkSummary, End> {
    let limits = attempt.order.spec.limits;
    let mut look = interval(watch::EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            told = attempt.reins.next() => match told {
                Told::Stop(why) => return Err(why.into()),
                Told::Pause => steer(worker, ToWorker::Pause).await,
                Told::Resume => steer(worker, ToWorker::Resume).await,
                Told::Adjust(adjustment) => steer(worker, ToWorker::Adjust(adjustment)).await,
                Told::Finish => steer(worker, ToWorker::Finish).await,
                Told::Drain => {
                    draining = true;
                    attempt.log.notify(Notice::Draining);
                    if let Some(desk) = &attempt.desk {
                        desk.close();
                        if desk.is_quiet() {
                            return Err(super::StopWhy::Drained.into());
                        }
                    }
                }
            },
            // A resident model ends in good order once its time is over, and at once
            // if it does not take that word.
            () = wall.over(), if attempt.desk.is_some() && attempt.stopped.is_none() => {
                attempt.stopped = Some(format!("unloaded after {}, its `limits.wall`", limits.wall));
                wall.extend(LAST_ANSWERS);
                steer(worker, ToWorker::Finish).await;
            }
            () = wall.over() => {
                return Err(End::Impossible(format!(
                    "it ran longer than the {} that it may: raise `limits.wall`", limits.wall
                )));
            }
            _ = look.tick() => if let Some(used) = worker.usage() {
                attempt.took(used);
                let idle = worker.idle_bytes();
                if let Some(desk) = &attempt.desk {
                    desk.measured(worker.job_bytes().unwrap_or_default());
                }
                watch::used(&used, idle, &limits)?;
                watch::made(workdir, &limits)?;
            },
            wanted = wanted(attempt.desk.as_mut()) => if let Some(desk) = &mut attempt.desk {
                desk.pass(wanted, worker).await?;
                if draining && desk.is_quiet() {
                    return Err(super::StopWhy::Drained.into());
                }
            },
            // Before the worker's own words: what it asked for lets it go on.
            served = served(&mut attempt.table) => match served {
                Served::Part(part) => if let Err(error) = worker.send_part(&part).await {
                    tracing::info!(%error, "a worker did not take samples");
                },
                Served::Wait(Wait::Begins) => attempt.log.notify(Notice::DataAwaited(true)),
                Served::Wait(Wait::Ends) => attempt.log.notify(Notice::DataAwaited(false)),
                Served::Wait(Wait::Over) => return Err(End::Impossible(format!(
                    "the data stays with its client, and none of what was asked for came for {}: keep the client that feeds the job running",
                    Millis(u64::try_from(attempt.site.data_wait.as_millis()).unwrap_or(u64::MAX)),
                ))),
            },
            message = worker.next() => {
                let Some(message) = message? else {
                    return Err(worker.died().await.into());
                };
                match message {
                    FromWorker::Answer { id, part } => {
                        let Some(desk) = &mut attempt.desk else {
                            return Err(nonsense("it answered what nobody asked"));
                        };
                        desk.heard(id, part, worker).await?;
                        if draining && desk.is_quiet() {
                            return Err(super::StopWhy::Drained.into());
                        }
                    }
                    FromWorker::Event(mut event) => {
                        attempt.weigh(&mut event, worker);
                        let checkpoint = Box::pin(attempt.heard(event, workdir)).await?;
                        if draining && checkpoint {
                            return Err(super::StopWhy::Drained.into());
                        }
                    }
                    FromWorker::Paused(paused) => {
                        if paused { wall.pause() } else { wall.go_on() }
                        attempt.paused(paused);
                    }
                    FromWorker::Want { ask, samples } => {
                        let table = attempt.table.as_ref();
                        table
                            .map_or(Err(BadWant::NoClient), |table| {
                                table.exchange().want(ask, samples)
                            })
                            .map_err(|bad| nonsense(&bad.to_string()))?;
                    }
                    FromWorker::Replayed { seq, kind } => attempt.replayed(seq, kind).await?,
                    FromWorker::Sandboxed(report) => {
                        for (fence, reason) in report.absent() {
                            tracing::warn!(fence, reason, "a job runs without a fence");
                        }
                        tracing::debug!(?report, "the worker is fenced in");
                    }
                    FromWorker::Used(used) => {
                        attempt.took(worker.beside_idle(used));
                    }
                    FromWorker::Done(summary) => return Ok(summary),
                    FromWorker::Failed { class, message } => return Err(failed(class, message)),
                    FromWorker::Cancelled => return Err(End::Gone {
                        code: "worker_failed",
                        message: "the worker ended as if it had been cancelled".to_owned(),
                    }),
                    FromWorker::Ready(_) => return Err(nonsense("it said twice that it is ready")),
                }
            }
        }
    }
}

/// What comes of data that stays with the client. Cancel safe.
async fn served(table: &mut Option<Table>) -> Served {
    match table {
        Some(table) => table.next().await,
        None => std::future::pending().await,
    }
}

/// What is wanted of a resident model next; for other work nothing ever is.
async fn wanted(desk: Option<&mut Desk>) -> Wanted {
    match desk {
        Some(desk) => desk.next().await,
        None => std::future::pending().await,
    }
}

/// Passes a word on to the work. A worker that does not take it may have done the work
/// and gone while what it said still waits here: what it says, and how it ended, is the
/// truth, and that a word came too late is not.
async fn steer(worker: &mut Worker, word: ToWorker) {
    if let Err(error) = worker.send(&word).await {
        tracing::info!(%error, ?word, "a worker did not take a word");
    }
}

fn failed(class: FailureClass, message: String) -> End {
    let code = match class {
        FailureClass::Invalid => return End::Impossible(message),
        FailureClass::Resource => "out_of_resources",
        FailureClass::Device => "device_failed",
        FailureClass::Internal => "worker_failed",
    };
    End::Gone { code, message }
}

fn nonsense(what: &str) -> End {
    End::Gone {
        code: "worker_failed",
        message: format!("the worker does not keep to the protocol: {what}"),
    }
}

impl From<NotTaken> for End {
    fn from(not: NotTaken) -> Self {
        let message = not.to_string();
        match not {
            NotTaken::OverCeiling { .. } | NotTaken::TooMany => Self::Impossible(message),
            NotTaken::Store(error) if error.is_full() => Self::Gone {
                code: "storage_full",
                message,
            },
            NotTaken::Store(_) => Self::Gone {
                code: "storage_failed",
                message,
            },
            NotTaken::Foreign(_) | NotTaken::BadName => Self::Gone {
                code: "worker_failed",
                message,
            },
        }
    }
}

impl Attempt {
    /// Hears what the worker has taken until now.
    fn took(&mut self, used: Usage) {
        self.usage = Some(self.usage.unwrap_or_default().then(used));
    }

    /// Takes an event of the worker. True when it was a checkpoint.
    async fn heard(&mut self, event: WorkerEvent, workdir: &Workdir) -> Result<bool, End> {
        let seq = event.seq;
        let last = self.log.head().last;
        if seq <= last || (last > 0 && seq != last + 1) {
            return Err(nonsense(&format!("event {seq} came after {last}")));
        }
        match event.kind {
            WorkerEventKind::Plain(kind) => {
                if matches!(
                    kind,
                    EventKind::Checkpoint { .. }
                        | EventKind::Artifact(_)
                        | EventKind::Finished { .. }
                ) {
                    return Err(nonsense("it made an event that is the daemon's to make"));
                }
                if let EventKind::Stopped { reason, .. } = &kind {
                    self.stopped
                        .get_or_insert_with(|| format!("stopped {reason}"));
                }
                let told = matches!(
                    kind,
                    EventKind::Started { .. } | EventKind::Evaluated { .. } | EventKind::Loaded(_)
                );
                self.say(seq, kind.clone()).await?;
                if told {
                    self.report_event(seq, kind.clone()).await?;
                }
                if let (EventKind::Loaded(loaded), Some(desk)) = (kind, &self.desk) {
                    desk.loaded(loaded.memory_bytes);
                }
            }
            WorkerEventKind::Checkpoint { step, path, .. } => {
                let taking = Box::pin(output::checkpoint(&self.site, workdir, &path));
                let (stored, held) = self.reins.unless_stopped(false, taking).await??;
                let (digest, size) = (stored.digest, stored.size);
                self.checkpoint = Some(held);
                self.say(seq, EventKind::Checkpoint { step, digest, size })
                    .await?;
                self.copies.checkpoint(Checkpoint {
                    blob: BlobRef {
                        digest,
                        size,
                        holders: Vec::new(),
                    },
                    step,
                    seq,
                });
                return Ok(true);
            }
            WorkerEventKind::Artifact { name, path } => {
                let allowed = self.order.spec.limits.output.0;
                let site = &self.site;
                let taking = Box::pin(output::artifact(
                    site,
                    workdir,
                    &self.artifacts,
                    name,
                    &path,
                    allowed,
                ));
                let (artifact, held) = self.reins.unless_stopped(false, taking).await??;
                // Pinned where a stop does not come in between: what is pinned and not
                // named by an event would stay for ever.
                let digest = artifact.digest;
                self.site.pin(digest).await.map_err(NotTaken::from)?;
                drop(held);
                self.site.announce(digest);
                self.artifacts.push(artifact.clone());
                let kind = EventKind::Artifact(artifact);
                self.say(seq, kind.clone()).await?;
                self.report_event(seq, kind).await?;
            }
        }
        Ok(false)
    }

    /// Puts what a model weighs into the event that says that it is loaded: a worker
    /// cannot know that of itself.
    fn weigh(&self, event: &mut WorkerEvent, worker: &Worker) {
        if let WorkerEventKind::Plain(EventKind::Loaded(loaded)) = &mut event.kind {
            loaded.memory_bytes = worker.job_bytes().unwrap_or_default();
        }
    }

    /// Takes an event of an earlier attempt, which this node may not have seen.
    async fn replayed(&mut self, seq: u64, kind: EventKind) -> Result<(), End> {
        if seq > self.order.resume_after() || kind.is_final() {
            return Err(nonsense(
                "it repeated an event that was not before its checkpoint",
            ));
        }
        self.say(seq, kind).await
    }

    async fn report_event(&self, seq: u64, kind: EventKind) -> Result<(), End> {
        let event = Event {
            seq,
            epoch: self.key.epoch,
            at: UnixMillis::now(),
            kind,
        };
        self.report(ReportKind::Event, Report::Event(Box::new(event)))
            .await
    }

    fn paused(&self, paused: bool) {
        self.phase.send_replace(if paused {
            Phase::Paused
        } else {
            Phase::Running
        });
        self.log.notify(Notice::Paused(paused));
        self.site.touch();
    }
}
