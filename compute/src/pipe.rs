//! What the daemon and its worker say to each other, and nothing else: the
//! messages. [`crate::frame`] puts them on the pipe.
//!
//! A worker says [`Ready`](FromWorker::Ready), takes one
//! [`Start`](ToWorker::Start), and ends with exactly one of
//! [`Done`](FromWorker::Done), [`Failed`](FromWorker::Failed) and
//! [`Cancelled`](FromWorker::Cancelled), unless it is killed. It ends itself
//! when the pipe closes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use embermesh_job::ask::{Ask, Part};
use embermesh_job::crypto::Digest;
use embermesh_job::event::EventKind;
use embermesh_job::proof::Attempt;
use serde::{Deserialize, Serialize};

use crate::device::DeviceChoice;
use crate::failure::FailureClass;
use crate::software::Software;
use crate::usage::Usage;

/// From the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// The one job that this process will do.
    Start(Box<WorkOrder>),
    /// Wait after this step.
    Pause,
    /// Go on.
    Resume,
    /// Go on with other hyperparameters after this step, where the work has
    /// them.
    Adjust(Adjustment),
    /// End after this step with what there is, as a success, where the work has
    /// something to show: a training, its weights; a language model, its texts.
    Finish,
    /// End after this step. The daemon kills whoever does not.
    Cancel,
    /// Answer this beside what is being answered, where the work is a resident
    /// model.
    Ask {
        /// What its answer is called.
        id: u32,
        /// What is asked; judged before.
        ask: Box<Ask>,
    },
    /// Nobody waits for this answer any more.
    Drop {
        /// Which.
        id: u32,
    },
    /// End without a job; a running one is cancelled.
    Shutdown,
}

/// Other hyperparameters for a running training; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Adjustment {
    /// The learning rate, before its schedule.
    pub learning_rate: Option<f64>,
    /// The weight decay.
    pub weight_decay: Option<f64>,
}

impl Adjustment {
    /// What holds when this was asked after another.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        Self {
            learning_rate: self.learning_rate.or(before.learning_rate),
            weight_decay: self.weight_decay.or(before.weight_decay),
        }
    }
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The device is up.
    Ready(Ready),
    /// The fences that were raised, said once before the first event.
    Sandboxed(SandboxReport),
    /// Something of the job happened.
    Event(WorkerEvent),
    /// An event of an earlier attempt, from the checkpoint: said only when
    /// [`ResumeFrom::replay_after`] asks for it. Its files are known already.
    Replayed {
        /// Its number.
        seq: u64,
        /// What happened.
        kind: EventKind,
    },
    /// A part of an answer to [`ToWorker::Ask`].
    Answer {
        /// Which.
        id: u32,
        /// The part.
        part: Part,
    },
    /// The job waits, or goes on.
    Paused(bool),
    /// Samples that stay with the client are needed. They are answered in
    /// [`Part`](crate::frame::Part)s, in the order in which they were asked for.
    Want {
        /// Which question this is; they count up from 1.
        ask: u64,
        /// Which samples, from 0; those that are held out come last.
        samples: Vec<u32>,
    },
    /// The job cannot be done, or not here.
    Failed {
        /// Whose fault it is.
        class: FailureClass,
        /// What happened, for its owner.
        message: String,
    },
    /// What the process has taken, said before [`Done`](FromWorker::Done): it is gone
    /// soon after.
    Used(Usage),
    /// The job ended because it was told to.
    Cancelled,
    /// The job is done.
    Done(WorkSummary),
}

/// A worker that waits for its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The device that it holds.
    pub device: DeviceChoice,
    /// What the device calls itself.
    pub name: String,
    /// What computes on it.
    #[serde(default)]
    pub software: Software,
}

/// What was done to fence the worker in; each text begins with "absent" where
/// the system has no such fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    /// The ceiling on memory.
    pub memory: String,
    /// What it may open (Landlock).
    pub files: String,
    /// What it may ask of the kernel (seccomp).
    pub calls: String,
}

impl SandboxReport {
    /// The fences that are not there: each by its name, with the reason.
    #[must_use]
    pub fn absent(&self) -> Vec<(&'static str, &str)> {
        [
            ("memory", &self.memory),
            ("files", &self.files),
            ("calls", &self.calls),
        ]
        .into_iter()
        .filter(|(_, said)| said.starts_with("absent"))
        .map(|(name, said)| (name, said.as_str()))
        .collect()
    }
}

/// A job and all that it needs on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkOrder {
    /// The canonical JSON of the spec, the bytes whose digest was signed for.
    pub spec: String,
    /// Which attempt this is, for proofs; nothing where there is no job.
    #[serde(default)]
    pub attempt: Option<Attempt>,
    /// The device; the one that the worker holds.
    pub device: DeviceChoice,
    /// The file of each input.
    pub inputs: BTreeMap<Digest, PathBuf>,
    /// Where to go on from.
    pub resume: Option<ResumeFrom>,
    /// A folder of the worker's own, in which it makes files. The daemon takes
    /// them from there and removes it at the end.
    pub workdir: PathBuf,
    /// What the job may use.
    pub ceilings: Ceilings,
    /// Threads to compute with; 0 means one per core.
    pub threads: u32,
}

/// What a job may use of this machine. Time is the daemon's to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Memory beside what an idle worker holds, in bytes.
    pub memory_bytes: u64,
    /// All artifacts together, in bytes.
    pub output_bytes: u64,
}

/// A checkpoint to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeFrom {
    /// The file.
    pub path: PathBuf,
    /// When set, the events numbered above this, up to and with the one that
    /// announced the checkpoint, are said again as
    /// [`FromWorker::Replayed`]. So a node that never saw the earlier attempt
    /// can serve a client that missed its last words.
    #[serde(default)]
    pub replay_after: Option<u64>,
}

/// An event of the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerEvent {
    /// Its number, a function of the work done.
    pub seq: u64,
    /// What happened.
    pub kind: WorkerEventKind,
}

/// What happened. A worker knows files; the daemon makes blobs of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerEventKind {
    /// What can be passed on as it is: the start, progress, the end of a pass,
    /// a judgement.
    Plain(EventKind),
    /// A checkpoint was written.
    Checkpoint {
        /// The step after which an attempt goes on from it.
        step: u64,
        /// The file, in the work folder, whole.
        path: PathBuf,
        /// The number of the first event after it.
        next_seq: u64,
    },
    /// A result was written.
    Artifact {
        /// Its name, such as "model.safetensors".
        name: String,
        /// The file, in the work folder, whole.
        path: PathBuf,
    },
}

/// What a finished job did, over all its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkSummary {
    /// Steps done.
    pub steps: u64,
    /// Samples seen, each as often as it was.
    pub samples: u64,
    /// Mean loss at the end: over the samples held out, else over the last pass.
    pub loss: Option<f64>,
    /// Share classified rightly, over the same samples.
    pub accuracy: Option<f64>,
    /// The number of the next event: the daemon's, to say that all is done.
    pub next_seq: u64,
}
