//! Jobs, as dialects see them.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis};
use embermesh_job::{
    assignment::NodeAssignment,
    event::{Artifact, LogStream},
    lifecycle::JobState,
    spec::JobSpec,
};
use futures::stream::BoxStream;

use super::{Principal, accounts::Micros};
use crate::Failure;

/// What a job is paid from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payment {
    /// The caller's account, at most so much.
    AtMost(Micros),
    /// A hold that the caller has placed before: what it has becomes the job's budget.
    Hold(String),
}

/// The note of a job that says its budget, in micro-units.
pub const BUDGET: &str = "budget";

/// A job to take on.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The name that the caller has chosen for it; with none, it is called by its id.
    /// The same name from the same caller is the same job, or refused.
    pub foreign_id: Option<String>,
    /// What it is. Validated by whoever takes it.
    pub spec: JobSpec,
    /// The bytes of its inputs, by digest.
    pub inputs: BTreeMap<Digest, Bytes>,
    /// What only the dialect needs, given back with the job.
    pub notes: BTreeMap<String, String>,
    /// What it is paid from; without, it runs where nothing is asked. What it does not
    /// take is given back at its end.
    pub payment: Option<Payment>,
}

/// A job at one moment.
#[derive(Clone, Debug)]
pub struct JobView {
    /// What the caller calls it.
    pub id: String,
    /// Whose it is.
    pub owner: Principal,
    /// Where it stands.
    pub state: JobState,
    /// How far it is, from 0 to 1.
    pub progress: f64,
    /// The pass over the data, from 1, and how many there are; 0 where there are none.
    pub pass: (u32, u32),
    /// The newest measures by name.
    pub metrics: BTreeMap<String, f64>,
    /// The peer id of the node that has it, or had it last.
    pub node: Option<String>,
    /// When it was taken on.
    pub submitted_at: UnixMillis,
    /// When it began to run.
    pub started_at: Option<UnixMillis>,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it waits, or how it ended, for people.
    pub message: String,
    /// What it has made.
    pub artifacts: Vec<Artifact>,
    /// The signed receipt, once it has ended with one.
    pub receipt: Option<Bytes>,
    /// The permission to go straight to the node, while there is one.
    pub assignment: Option<NodeAssignment>,
    /// As submitted.
    pub notes: BTreeMap<String, String>,
}

/// Which jobs to list, and from where.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// In any of these states; none means all.
    pub states: Vec<JobState>,
    /// Those that were submitted with this note.
    pub note: Option<(String, String)>,
    /// Those that come after this place, as an earlier page gave it.
    pub after: Option<String>,
    /// At most so many; 0 is the usual number.
    pub most: usize,
}

/// Some jobs, the newest first.
#[derive(Clone, Debug, Default)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page begins; nothing when this is the last.
    pub next: Option<String>,
    /// How many there are in all that the filter means, whatever page.
    pub total: u64,
}

/// A piece of what a job has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// When.
    pub at: UnixMillis,
    /// Where it wrote.
    pub stream: LogStream,
    /// What.
    pub text: String,
}

/// One word of a job that is watched.
#[derive(Clone, Debug)]
pub enum JobUpdate {
    /// It looks different now. The first word, and the last when it has ended.
    Changed(Box<JobView>),
    /// It has written something.
    Logged(LogPiece),
    /// A language model has gone on by some text.
    Generated(embermesh_job::event::Generated),
}

/// The verbs over jobs. An id is what [`JobView::id`] says.
#[tonic::async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Takes a job on. It is durable when this returns.
    async fn submit(&self, who: &Principal, job: Submission) -> Result<JobView, Failure>;

    /// A job of the caller's.
    async fn job(&self, who: &Principal, id: &str) -> Result<JobView, Failure>;

    /// Some jobs of the caller's. Pages hold while jobs are added.
    async fn jobs(&self, who: &Principal, filter: JobFilter) -> Result<JobPage, Failure>;

    /// What a job says from now on, until it has ended.
    async fn watch(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<BoxStream<'static, Result<JobUpdate, Failure>>, Failure>;

    /// Ends a job.
    async fn cancel(&self, who: &Principal, id: &str) -> Result<JobView, Failure>;

    /// Forgets a job that has ended, with its results.
    async fn forget(&self, who: &Principal, id: &str) -> Result<(), Failure>;

    /// All that a job has written so far, [`MAX_LOG`] bytes of it at most, the newest.
    async fn log(&self, who: &Principal, id: &str) -> Result<Vec<LogPiece>, Failure>;

    /// Some bytes of an artifact, verified. The range is cut at the artifact's end.
    async fn artifact(
        &self,
        who: &Principal,
        id: &str,
        name: &str,
        range: Range<u64>,
    ) -> Result<Bytes, Failure>;
}

/// The most bytes of a job's log that are kept.
pub const MAX_LOG: usize = 1 << 20;
