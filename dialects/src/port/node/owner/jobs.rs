//! Whatever runs on a node, whosever it is.

use embermesh_crypto::{PeerId, UnixMillis};
use futures::stream::BoxStream;

use super::super::{Call, execution::TaskView};
use crate::Failure;

/// A task, as the owner of its node sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedJob {
    /// Where it stands.
    pub task: TaskView,
    /// What it does, in the word of its spec: "train", "serve". Empty where the node
    /// remembers it no more.
    pub kind: String,
    /// What its client calls it.
    pub name: String,
    /// Whose it is.
    pub client: PeerId,
    /// When the node took it on.
    pub began: UnixMillis,
    /// When it will be done, by its own word.
    pub due: Option<UnixMillis>,
}

/// What is new of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It runs here now.
    Began,
    /// It goes on.
    Changed,
    /// It has ended here.
    Ended,
}

/// What is new, as it comes.
pub type JobNews = BoxStream<'static, Result<(News, OwnedJob), Failure>>;

/// The verbs over the jobs of a node.
#[tonic::async_trait]
pub trait OwnedJobs: Send + Sync + 'static {
    /// The newest jobs that run, and, where `ended`, those that have ended too.
    async fn jobs(&self, call: &Call, ended: bool, most: u32) -> Result<Vec<OwnedJob>, Failure>;

    /// The job of a call.
    async fn job(&self, call: &Call) -> Result<OwnedJob, Failure>;

    /// Ends the job of a call on this node. Where an index has placed it, it may go on
    /// elsewhere.
    async fn cancel(&self, call: &Call) -> Result<OwnedJob, Failure>;

    /// What is new of every job, those that run first, until the node stops.
    fn follow(&self, call: &Call) -> Result<JobNews, Failure>;
}
