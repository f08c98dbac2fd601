//! A task of a node, for whoever has its assignment.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use embermesh_crypto::{Digest, JobId, statement::DeviceAdvert};
use embermesh_job::{
    event::{Artifact, RunUpdate},
    lifecycle::JobState,
    spec::{ClientData, JobSpec},
};
use futures::stream::BoxStream;

use super::{Call, Line};
use crate::{Failure, port::jobs::LogPiece};

/// The most bytes that one [`Execution::read`] gives.
pub const MAX_READ: u64 = 4 << 20;

/// What a call is let in to.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The node.
    pub node: String,
    /// The job of the assignment.
    pub job: JobId,
    /// The digest of the spec that the assignment allows.
    pub spec: Digest,
    /// The devices of the node that work.
    pub devices: Vec<DeviceAdvert>,
    /// The most memory of a task, in bytes.
    pub memory: u64,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Order {
    /// What it is; its digest is the assignment's.
    pub spec: JobSpec,
    /// The bytes of its inputs that came with the call, by digest.
    pub inputs: BTreeMap<Digest, Bytes>,
}

/// A task at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// The job.
    pub job: JobId,
    /// Where it stands.
    pub state: JobState,
    /// The pass over the data, from 1, and how many there are; 0 where there are none.
    pub pass: (u32, u32),
    /// Steps done, and steps in all.
    pub step: (u64, u64),
    /// The newest measures by name.
    pub metrics: BTreeMap<String, f64>,
    /// The newest checkpoint.
    pub checkpoint: Option<Digest>,
    /// What it has made.
    pub artifacts: Vec<Artifact>,
    /// What it has written lately.
    pub log: Vec<LogPiece>,
    /// How it ended, for people.
    pub message: String,
}

/// A word to a running task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Steer {
    /// Wait after this step.
    Pause,
    /// Go on.
    Resume,
    /// End at once, with nothing to show.
    Cancel,
    /// End after this step with what there is.
    Finish,
    /// Make a checkpoint after this step.
    Checkpoint,
    /// Train on with other hyperparameters; what is `None` stays.
    Adjust {
        /// The learning rate, before its schedule.
        learning_rate: Option<f64>,
        /// The weight decay.
        weight_decay: Option<f64>,
    },
}

/// A question for samples that stay with the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which question; they count up from 1 and are answered in order.
    pub ask: u64,
    /// Which samples, from 0; those that are held out come last.
    pub samples: Vec<u32>,
}

/// The client's end of data that stays with it.
#[tonic::async_trait]
pub trait Feed: Send {
    /// The next question; `None` once the task has ended. Cancel safe.
    async fn want(&mut self) -> Result<Option<Want>, Failure>;

    /// Answers the question that is due, with the samples one after another as
    /// [`ClientData`] says that they travel.
    async fn give(&mut self, ask: u64, records: Bytes) -> Result<(), Failure>;
}

/// A task that is followed.
pub struct Followed {
    /// The job.
    pub job: JobId,
    /// What it says, from its first event to its end.
    pub updates: BoxStream<'static, Result<RunUpdate, Failure>>,
    /// Its data that stays with the client, and the way to give it.
    pub feed: Option<(ClientData, Box<dyn Feed>)>,
}

/// The verbs over a task. Each is allowed what the assignment allows that the call holds
/// out, or that its line has opened before.
#[tonic::async_trait]
pub trait Execution: Send + Sync + 'static {
    /// Lets a line in with its token. It is remembered until it is closed, or unused
    /// for long.
    ///
    /// # Errors
    /// `Unauthenticated` or `Denied` for a token that does not hold here, `NotFound`
    /// never: the task need not have been started.
    async fn open(&self, call: &Call) -> Result<Opened, Failure>;

    /// The job that a call may speak of, and the digest of the spec that may be run.
    fn allowed(&self, call: &Call) -> Result<(JobId, Digest), Failure>;

    /// Whether a call may start a job of its own.
    fn may_start(&self, call: &Call) -> Result<(), Failure>;

    /// Forgets what a line was allowed. Says how many jobs that were.
    fn close(&self, line: &Line) -> usize;

    /// Starts the task, or finds it started.
    async fn start(&self, call: &Call, order: Order) -> Result<TaskView, Failure>;

    /// Starts a job of its own for whoever has an assignment or a proven key, where the
    /// owner of the node lets that client use it without an index. Its line may go on
    /// with it, by that name.
    async fn start_own(&self, call: &Call, name: &str, order: Order) -> Result<TaskView, Failure>;

    /// The task at this moment.
    async fn task(&self, call: &Call) -> Result<TaskView, Failure>;

    /// What the task says.
    async fn follow(&self, call: &Call) -> Result<Followed, Failure>;

    /// Says a word to the task, and waits until it has been obeyed where that is soon.
    async fn steer(&self, call: &Call, word: Steer) -> Result<TaskView, Failure>;

    /// Some bytes of an artifact, at most [`MAX_READ`]. The range is cut at the
    /// artifact's end.
    async fn read(
        &self,
        call: &Call,
        artifact: &Artifact,
        range: Range<u64>,
    ) -> Result<Bytes, Failure>;
}
