//! Places a job: asks the nodes round by round, waits between the rounds, and says why.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use embermesh_crypto::{
    ids::{Epoch, PeerId},
    statement::DeviceKind,
};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::NodeAssignment,
    event::{Event, EventKind},
    spec::JobSpec,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Direct, PassedOver,
    asking::{Asked, Wanted, ask},
    records::Record,
    resuming,
};
use crate::{
    ClientError,
    bounds::{ASK_AGAIN, ASK_PAUSE, CHECKPOINTS_KEPT, FIND_EVERY},
};

/// A job as its owner sees it, who places it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Task {
    inner: Arc<Inner>,
}

struct Inner {
    direct: Direct,
    spec: JobSpec,
    canonical: Bytes,
    record: Mutex<Record>,
}

/// What is wanted of the one who places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// An attempt later than the newest there is; counts up with each wish.
    pub(crate) number: u64,
    /// A node that has just been lost.
    pub(crate) avoid: Option<PeerId>,
}

/// What the one who places has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Word {
    /// The newest permit.
    pub(crate) placed: Option<Placed>,
    /// Why the job waits now: the nodes that do not take it.
    pub(crate) waiting: Option<Vec<PassedOver>>,
}

/// A permit, and with what its attempt begins.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) assignment: NodeAssignment,
    pub(crate) resume: Option<Checkpoint>,
    pub(crate) inputs: Vec<BlobRef>,
}

impl Task {
    pub(super) fn new(direct: Direct, spec: JobSpec, canonical: Bytes, record: Record) -> Self {
        Self {
            inner: Arc::new(Inner {
                direct,
                spec,
                canonical,
                record: Mutex::new(record),
            }),
        }
    }

    pub(crate) fn direct(&self) -> &Direct {
        &self.inner.direct
    }

    pub(crate) fn canonical(&self) -> &Bytes {
        &self.inner.canonical
    }

    pub(crate) fn attempts_allowed(&self) -> u32 {
        self.inner.spec.attempts
    }

    pub(crate) fn record(&self) -> Record {
        self.held().clone()
    }

    /// An attempt has begun.
    pub(crate) fn begun(&self) {
        self.change(|record| record.begun = record.begun.saturating_add(1));
    }

    /// Takes a renewed permit.
    pub(crate) fn renewed(&self, permit: &NodeAssignment) {
        self.change(|record| record.assign(permit));
    }

    /// Takes note of what matters for another attempt, and of the end.
    pub(crate) fn heard(&self, event: &Event) {
        match &event.kind {
            EventKind::Checkpoint { step, digest, size } => {
                let checkpoint = Checkpoint {
                    blob: BlobRef {
                        digest: *digest,
                        size: *size,
                        holders: Vec::new(),
                    },
                    step: *step,
                    seq: event.seq,
                };
                self.change(|record| {
                    record.checkpoints.retain(|kept| kept.seq < event.seq);
                    record.checkpoints.push(checkpoint);
                    let surplus = record.checkpoints.len().saturating_sub(CHECKPOINTS_KEPT);
                    record.checkpoints.drain(..surplus);
                });
            }
            EventKind::Finished { outcome, .. } => {
                self.change(|record| record.ended = Some(*outcome));
            }
            _ => {}
        }
    }

    /// The job has ended without a last event.
    pub(crate) fn failed(&self) {
        let failed = embermesh_job::event::Outcome::Failed;
        self.change(|record| record.ended = Some(failed));
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.held();
        change(&mut record);
        // What cannot be written down is known to this process all the same.
        if let Err(error) = self.inner.direct.records().keep(&record) {
            tracing::warn!(%error, "the record of a job was not kept");
        }
    }

    fn held(&self) -> MutexGuard<'_, Record> {
        self.inner
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places the job whenever that is wished, until nobody wishes any more.
///
/// # Errors
/// When it waited as long as it may.
pub(crate) async fn place(
    task: Task,
    wait: Option<Duration>,
    mut wishes: watch::Receiver<Wish>,
    word: watch::Sender<Word>,
) -> Result<(), ClientError> {
    let mut granted = 0;
    loop {
        let wish = wishes.wait_for(|wish| wish.number > granted).await;
        let Ok(wish) = wish.map(|wish| *wish) else {
            return Ok(());
        };
        granted = wish.number;
        let placed = Box::pin(place_once(&task, wish, wait, &word)).await?;
        tracing::info!(job = %placed.assignment.job, node = %placed.assignment.node.peer, "placed");
        word.send_modify(|word| {
            word.placed = Some(placed);
            word.waiting = None;
        });
    }
}

async fn place_once(
    task: &Task,
    wish: Wish,
    wait: Option<Duration>,
    word: &watch::Sender<Word>,
) -> Result<Placed, ClientError> {
    let direct = task.direct();
    let began = Instant::now();
    let record = task.record();
    let epoch = Direct::next_epoch(&record);
    let (resume, inputs) = match &record.node {
        Some(last) => (
            Box::pin(resuming::newest(direct, &record.checkpoints, last)).await,
            resuming::inputs(direct, &task.inner.spec, last),
        ),
        None => (None, Vec::new()),
    };
    let mut changes = direct.mesh().changes();
    let mut looked: Option<Instant> = None;
    // A node that was lost is asked again where no other takes the job.
    let mut avoid = wish.avoid;
    loop {
        changes.mark_unchanged();
        let asked = round(task, epoch, avoid).await?;
        if let Some(assignment) = asked.permit {
            task.renewed(&assignment);
            return Ok(Placed {
                assignment,
                resume,
                inputs,
            });
        }
        avoid = None;
        word.send_modify(|word| word.waiting = Some(asked.passed_over.clone()));
        let left = wait.map(|wait| wait.saturating_sub(began.elapsed()));
        if left == Some(Duration::ZERO) {
            return Err(ClientError::NotPlaced {
                job: record.job,
                waited: began.elapsed(),
                passed_over: asked.passed_over,
            });
        }
        if looked.is_none_or(|looked| looked.elapsed() >= FIND_EVERY) {
            looked = Some(Instant::now());
            let wanted = task.inner.spec.requires.device;
            direct
                .find_nodes(wanted.unwrap_or(DeviceKind::Cpu).as_str())
                .await;
        }
        let pause = ASK_PAUSE.mul_f64(jitter()?);
        sleep(left.map_or(pause, |left| left.min(pause))).await;
        // Whatever is heard of the nodes may be what is waited for.
        let again = ASK_AGAIN.mul_f64(jitter()?);
        let again = left.map_or(again, |left| left.saturating_sub(pause).min(again));
        let _ = timeout(again, changes.changed()).await;
    }
}

async fn round(task: &Task, epoch: Epoch, avoid: Option<PeerId>) -> Result<Asked, ClientError> {
    let wanted = Wanted {
        job: task.record().job,
        epoch,
        spec: &task.inner.spec,
        canonical: &task.inner.canonical,
        avoid,
    };
    let mut lot = [0; 8];
    getrandom::fill(&mut lot).map_err(ClientError::Randomness)?;
    Ok(Box::pin(ask(task.direct(), &wanted, u64::from_le_bytes(lot))).await)
}

/// A factor from 0.5 to 1, so that many clients do not ask at once.
fn jitter() -> Result<f64, ClientError> {
    let mut byte = [0];
    getrandom::fill(&mut byte).map_err(ClientError::Randomness)?;
    Ok(0.5 + f64::from(byte[0]) / 510.0)
}
