//! The models that are resident on a node, and whoever asks them there.

use std::time::Duration;

use embermesh_crypto::{JobId, UnixMillis};
use embermesh_job::{
    ask::{Ask, AskKind, Part},
    lifecycle::JobState,
};
use futures::stream::BoxStream;

use super::Line;
use crate::Failure;

/// A resident model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidentView {
    /// The deployment's job.
    pub job: JobId,
    /// What people call it.
    pub name: String,
    /// What it is asked.
    pub kind: AskKind,
    /// The shape of a row; empty where it is asked texts.
    pub input: Vec<usize>,
    /// The shape of what is made of a row.
    pub output: Vec<usize>,
    /// Whether it can be asked now.
    pub ready: bool,
    /// Memory that it takes, in bytes.
    pub memory: u64,
    /// Asks under way and waiting.
    pub asks: u32,
    /// Asks answered.
    pub answered: u64,
    /// Tokens or rows made.
    pub made: u64,
    /// Since when it is here.
    pub since: UnixMillis,
}

/// A question that is answered while its caller does something else.
#[derive(Clone, Debug)]
pub struct AskedView {
    /// What the caller calls it.
    pub id: String,
    /// Where it stands.
    pub state: JobState,
    /// What the model said, so far.
    pub answer: Vec<Part>,
    /// Why it failed.
    pub message: String,
    /// When it was taken on.
    pub began: UnixMillis,
    /// When it ended.
    pub ended: Option<UnixMillis>,
}

/// Counts of questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedCounts {
    /// Taken on since the node started.
    pub total: u64,
    /// Answered.
    pub succeeded: u64,
    /// Not answered.
    pub failed: u64,
    /// Milliseconds that the answered ones took together.
    pub total_ms: u64,
    /// Under way now.
    pub open: u32,
}

/// The verbs over resident models.
#[tonic::async_trait]
pub trait Asking: Send + Sync + 'static {
    /// The models that a line may ask.
    fn residents(&self, line: &Line) -> Result<Vec<ResidentView>, Failure>;

    /// Asks a model, by name or by its job's id.
    async fn ask(
        &self,
        line: &Line,
        model: &str,
        ask: Ask,
        within: Duration,
    ) -> Result<BoxStream<'static, Result<Part, Failure>>, Failure>;

    /// Asks a model and keeps the answer for [`Asking::asked`]. With an empty id, one is
    /// made.
    async fn ask_later(
        &self,
        line: &Line,
        id: &str,
        model: &str,
        ask: Ask,
        within: Duration,
    ) -> Result<AskedView, Failure>;

    /// A question that was taken on from the same place.
    fn asked(&self, line: &Line, id: &str) -> Result<AskedView, Failure>;

    /// Ends a question.
    fn unask(&self, line: &Line, id: &str) -> Result<AskedView, Failure>;

    /// The time, by the node's clock.
    fn clock(&self) -> UnixMillis;

    /// How many questions there were.
    fn counts(&self) -> AskedCounts;
}
