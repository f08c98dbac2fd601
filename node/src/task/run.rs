//! The actor of one attempt: inputs, worker, events, end.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use embermesh_compute::{
    pipe::{Ceilings, ResumeFrom, ToWorker, WorkOrder, WorkSummary},
    software::Software,
    usage::Usage,
};
use embermesh_crypto::{digest::Digest, time::UnixMillis};
use embermesh_job::{
    address::BlobRef,
    assignment::TaskKey,
    event::{Artifact, Event, EventKind},
    order::Report,
    proof,
    spec::{Input, Work},
};
use embermesh_mesh::blob::Held;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Log, Phase, StopWhy, TaskOrder, Told, drive, end,
    feed::Table,
    inputs::{self, NoInput, Places},
    output::Workdir,
    registry::task_of,
    reins::Reins,
};
use crate::{
    replicate::Copies,
    resident::Desk,
    site::Site,
    slots::Slot,
    store::{ReportKind, StoreError},
    worker::{Worker, WorkerLost},
};

/// What an actor is started with.
pub(super) struct Start {
    pub(super) site: Arc<Site>,
    pub(super) order: TaskOrder,
    pub(super) slot: Slot,
    pub(super) log: Arc<Log>,
    pub(super) hears: mpsc::Receiver<Told>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) table: Option<Table>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    /// The work is done.
    Done(WorkSummary),
    /// It cannot be done, here or elsewhere.
    Impossible(String),
    /// Its owner stopped it.
    Cancelled,
    /// The index stopped it: the task may be cancelled or elsewhere.
    StoppedByIndex,
    /// It failed here; another attempt may not.
    Gone { code: &'static str, message: String },
}

impl From<StopWhy> for End {
    fn from(why: StopWhy) -> Self {
        match why {
            StopWhy::Cancelled => Self::Cancelled,
            StopWhy::ByIndex => Self::StoppedByIndex,
            StopWhy::Superseded => Self::Gone {
                code: "superseded",
                message: "a later attempt has come to this node".to_owned(),
            },
            StopWhy::Drained => Self::Gone {
                code: "drained",
                message: "the node stops".to_owned(),
            },
            StopWhy::Evicted => Self::Gone {
                code: "evicted",
                message: "the owner of the node has stopped it there".to_owned(),
            },
        }
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::DiskFull => "storage_full",
            _ => "storage_failed",
        };
        Self::Gone {
            code,
            message: error.to_string(),
        }
    }
}

impl From<WorkerLost> for End {
    fn from(lost: WorkerLost) -> Self {
        if matches!(lost, WorkerLost::FileTooLarge) {
            return Self::Impossible(format!("{lost}: raise `limits.output`"));
        }
        // The allocator's last words, where the process had reached its limit.
        let code = match &lost {
            WorkerLost::OutOfMemory => "out_of_memory",
            WorkerLost::Died { words, .. } if words.contains("memory allocation of") => {
                "out_of_memory"
            }
            WorkerLost::NotStarted(_) | WorkerLost::NotReady { .. } | WorkerLost::Refused(_) => {
                "worker_not_started"
            }
            _ => "worker_crashed",
        };
        Self::Gone {
            code,
            message: lost.to_string(),
        }
    }
}

/// An attempt under way.
pub(super) struct Attempt {
    pub(super) site: Arc<Site>,
    pub(super) key: TaskKey,
    pub(super) order: TaskOrder,
    pub(super) slot: Slot,
    pub(super) log: Arc<Log>,
    pub(super) reins: Reins,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) copies: Copies,
    pub(super) began: UnixMillis,
    /// What the device calls itself.
    pub(super) device: String,
    /// What computes on it.
    pub(super) software: Software,
    /// What the worker has taken; nothing where the system does not tell, or where
    /// there was none.
    pub(super) usage: Option<Usage>,
    /// Time on the device, without pauses.
    pub(super) wall: Duration,
    pub(super) artifacts: Vec<Artifact>,
    /// Why the work ended before its last step, if it did.
    pub(super) stopped: Option<String>,
    /// What asks come to, where it is a resident model.
    pub(super) desk: Option<Desk>,
    /// The newest checkpoint, kept from being evicted.
    pub(super) checkpoint: Option<Held>,
    /// Where its data comes from, when it stays with the client.
    pub(super) table: Option<Table>,
}

/// Runs an attempt to its end. When this returns nothing of it is left running.
pub(super) async fn run(start: Start) {
    let Start {
        site,
        order,
        slot,
        log,
        hears,
        phase,
        table,
    } = start;
    let key = order.key();
    let copies = Copies::start(Arc::clone(&site), key, order.reports_to);
    let mut attempt = Attempt {
        key,
        device: slot.device().to_string(),
        software: Software::default(),
        usage: None,
        wall: Duration::ZERO,
        reins: Reins::new(hears),
        began: UnixMillis::now(),
        artifacts: Vec::new(),
        stopped: None,
        desk: desk(&site, &order),
        checkpoint: None,
        site,
        order,
        slot,
        log,
        phase,
        copies,
        table,
    };
    let ended = match Box::pin(attempt.work()).await {
        Ok(summary) => End::Done(summary),
        Err(end) => end,
    };
    if let Some(desk) = &mut attempt.desk {
        desk.end();
    }
    let Attempt { phase, .. } = Box::pin(end::end(attempt, ended)).await;
    phase.send_replace(Phase::Ended);
}

/// What is there before the work begins.
struct Prepared {
    /// Inputs, and the checkpoint after them.
    held: Vec<Held>,
    /// Inputs that are read where the owner shares them.
    shared: Vec<(Digest, PathBuf)>,
    worker: Result<Worker, WorkerLost>,
}

/// The desk of a resident model.
fn desk(site: &Site, order: &TaskOrder) -> Option<Desk> {
    let Work::Serve(serve) = &order.spec.work else {
        return None;
    };
    let claims = order.assignment.claims();
    let name = &order.spec.name;
    Some(site.residents.open(claims.job, name, claims.client, serve))
}

impl Attempt {
    async fn work(&mut self) -> Result<WorkSummary, End> {
        let name = format!("{}-{}-{}", self.key.job, self.key.task, self.key.epoch);
        let workdir = Workdir::make(self.site.work.join(name)).map_err(|error| End::Gone {
            code: "storage_failed",
            message: format!("the work folder cannot be made: {error}"),
        })?;
        let resume = self.order.resume.clone();
        // The worker comes up while the inputs do.
        let Prepared {
            held,
            shared,
            worker,
        } = self.prepare(resume.as_ref().map(|c| &c.blob)).await?;
        let mut worker = worker?;
        self.device.clone_from(&worker.ready().name);
        self.software.clone_from(&worker.ready().software);
        let (inputs, resume_from) = match resume {
            Some(checkpoint) => {
                let (last, inputs) = held.split_last().ok_or_else(|| End::Gone {
                    code: "internal",
                    message: "the checkpoint was not brought".to_owned(),
                })?;
                let task = task_of(self.key);
                let whole = self.site.store.whole_until(task).await?;
                let from = ResumeFrom {
                    path: last.path().to_owned(),
                    // A client that missed the end of the earlier attempt finds
                    // its events here, whichever node said them.
                    replay_after: (whole < checkpoint.seq).then_some(whole),
                };
                (inputs, Some(from))
            }
            None => (held.as_slice(), None),
        };
        self.copies.inputs(inputs);
        let limits = self.order.spec.limits;
        worker.confine(limits.memory.0);
        let work = WorkOrder {
            spec: self.order.canonical.clone(),
            attempt: Some(proof::Attempt {
                job: self.key.job,
                node: self.site.me(),
                epoch: self.key.epoch,
            }),
            device: self.slot.device(),
            inputs: inputs
                .iter()
                .map(|held| (held.digest(), held.path().to_owned()))
                .chain(shared)
                .collect::<BTreeMap<_, _>>(),
            resume: resume_from,
            workdir: workdir.path().to_owned(),
            ceilings: Ceilings {
                memory_bytes: limits.memory.0,
                output_bytes: limits.output.0,
            },
            threads: self.site.threads,
        };
        worker.send(&ToWorker::Start(Box::new(work))).await?;
        self.phase.send_replace(Phase::Running);
        Box::pin(drive::drive(self, worker, &workdir)).await
    }

    /// Brings inputs and a worker. The checkpoint, if there is one, comes last.
    async fn prepare(&mut self, resume: Option<&BlobRef>) -> Result<Prepared, End> {
        let mut wanted = self.order.spec.inputs();
        let mut hints = self.order.inputs.clone();
        if let Some(blob) = resume {
            wanted.push(Input {
                digest: blob.digest,
                size: blob.size,
            });
            hints.push(blob.clone());
        }
        let cancel = CancellationToken::new();
        let (site, log, slot) = (&self.site, &self.log, &self.slot);
        let places = Places {
            hints: &hints,
            origins: &self.order.spec.requires.origins,
        };
        let bringing = async {
            let shared = inputs::shared(site, &mut wanted, places.origins).await?;
            let held = inputs::bring(site, log, &wanted, &places, &cancel).await?;
            Ok::<_, NoInput>((held, shared))
        };
        let mut both =
            Box::pin(async { tokio::join!(bringing, cancel.run_until_cancelled(slot.worker())) });
        let (brought, worker) = tokio::select! {
            biased;
            why = self.reins.stopped(true) => {
                // A fetch is told, so that what has come is left in order.
                cancel.cancel();
                drop(both.await);
                return Err(why.into());
            }
            both = &mut both => both,
        };
        let (held, shared) = brought.map_err(|missing: NoInput| match missing {
            NoInput::WrongSize { .. } | NoInput::Other(_) => End::Impossible(missing.to_string()),
            NoInput::NotAllowed(_) => End::Gone {
                code: "origin_not_allowed",
                message: missing.to_string(),
            },
            NoInput::NotGiven(_) => End::Gone {
                code: "origin_failed",
                message: missing.to_string(),
            },
            NoInput::NoRoom { .. } => End::Gone {
                code: "storage_full",
                message: missing.to_string(),
            },
            NoInput::Missing { .. } => End::Gone {
                code: "input_missing",
                message: missing.to_string(),
            },
        })?;
        let given_up = || End::Gone {
            code: "internal",
            message: "the worker was given up".to_owned(),
        };
        Ok(Prepared {
            held,
            shared,
            worker: worker.ok_or_else(given_up)?,
        })
    }

    /// Writes a numbered event and shows it.
    pub(super) async fn say(&mut self, seq: u64, kind: EventKind) -> Result<(), End> {
        let event = Event {
            seq,
            epoch: self.key.epoch,
            at: UnixMillis::now(),
            kind,
        };
        Ok(self.log.append(event).await?)
    }

    /// Puts an event into the outbox, for the index to have.
    pub(super) async fn report(&self, kind: ReportKind, report: Report) -> Result<(), End> {
        if let Some(index) = self.order.reports_to {
            let now = UnixMillis::now();
            self.site
                .store
                .post(index, self.key, kind, report, now)
                .await?;
            self.site.report_posted();
        }
        Ok(())
    }
}
