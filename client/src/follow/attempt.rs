//! One connection to the node of an attempt.

use bytes::Bytes;
use embermesh_crypto::ids::Epoch;
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::NodeAssignment,
    event::RunUpdate,
};
use embermesh_mesh::road::RoadKind;
use futures::future::BoxFuture;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::better::Moved;
use crate::{
    ClientError, Sources, Update, Ways,
    bounds::OLD_ROAD_DRAIN,
    feed::feed,
    node::{NodeLink, UpdateStream},
    upload,
};

/// What this side can give to a node.
pub(super) struct Gifts {
    /// The canonical spec, where this side starts attempts.
    pub(super) spec: Option<Bytes>,
    /// Whether this side starts each attempt, or the first alone.
    pub(super) each: bool,
    /// The newest attempt that is known to have been started.
    pub(super) started: Epoch,
    /// Where the newest attempt goes on from.
    pub(super) resume: Option<Checkpoint>,
    /// Inputs that the node may lack.
    pub(super) sources: Sources,
    /// Who holds the others.
    pub(super) holders: Vec<BlobRef>,
}

impl Gifts {
    /// The spec of an attempt that this side has to start.
    fn starts(&self, epoch: Epoch) -> Option<Bytes> {
        // With an index, every attempt after the first is started by its order.
        let ours = self.each || epoch == Epoch::FIRST;
        self.spec.clone().filter(|_| ours && epoch > self.started)
    }
}

/// A stream that stands.
pub(super) struct Attempt {
    stream: UpdateStream,
    /// The stream by the road before, and until when it is read: what it has said and was
    /// not read yet has no number to ask for it again, where it is a notice.
    old: Option<(UpdateStream, Instant)>,
    /// The inputs on their way to the node, until they are there.
    upload: Option<BoxFuture<'static, Result<(), ClientError>>>,
    /// What gives the node samples of data that stays here. A task of its own: it
    /// goes on while nobody reads the updates.
    feed: Option<AbortOnDropHandle<Result<(), ClientError>>>,
    pub(super) road: RoadKind,
}

impl Attempt {
    /// Connects, and starts the task, or joins it where it has been started. The
    /// inputs that the node lacks go beside the stream: a task that has begun keeps
    /// its lease however long they take.
    pub(super) async fn open(
        ways: &Ways,
        assignment: &NodeAssignment,
        gifts: &mut Gifts,
        after: u64,
        tell: &mpsc::Sender<Result<Update, ClientError>>,
    ) -> Result<Self, ClientError> {
        let link = ways.node(&assignment.node).await?;
        let stream = join(&link, assignment, gifts, after).await?;
        let road = link.road;
        let (sources, token) = (gifts.sources.clone(), assignment.token.clone());
        let tell = tell.clone();
        let feed = sources.staying().map(|data| {
            let feeding = feed(link.clone(), assignment.clone(), data.clone());
            AbortOnDropHandle::new(tokio::spawn(Box::pin(feeding)))
        });
        let upload =
            Box::pin(async move { upload::upload(&link, &token, &sources, Some(&tell)).await });
        Ok(Self {
            stream,
            old: None,
            upload: Some(upload),
            feed,
            road,
        })
    }

    /// Goes on by a stream that stands beside the present one.
    pub(super) fn take(&mut self, moved: Moved) {
        let old = std::mem::replace(&mut self.stream, moved.stream);
        self.old = Some((old, Instant::now() + OLD_ROAD_DRAIN));
        self.road = moved.road;
    }

    /// The next update. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<RunUpdate, ClientError> {
        loop {
            let uploaded = async {
                match &mut self.upload {
                    Some(upload) => upload.await,
                    None => std::future::pending().await,
                }
            };
            let fed = async {
                match &mut self.feed {
                    Some(feed) => feed.await,
                    None => std::future::pending().await,
                }
            };
            let drained = async {
                match &mut self.old {
                    Some((old, until)) => timeout_at(*until, old.next()).await,
                    None => std::future::pending().await,
                }
            };
            // The stream first: a node that ends the attempt says why, and the
            // upload only fails with it.
            tokio::select! {
                biased;
                last = drained => match last {
                    Ok(Ok(Some(update))) => return Ok(update),
                    // Whatever ended it, the new one goes on.
                    _ => self.old = None,
                },
                update = self.stream.next() => {
                    return update?.ok_or_else(|| ClientError::Unreachable {
                        what: "the node".to_owned(),
                        reason: "it closed the stream".to_owned(),
                    });
                }
                uploaded = uploaded => {
                    self.upload = None;
                    uploaded?;
                }
                fed = fed => {
                    self.feed = None;
                    fed.map_err(|error| ClientError::Failed {
                        who: "what feeds the job".to_owned(),
                        message: error.to_string(),
                    })??;
                }
            }
        }
    }
}

/// Starts the task, or joins it.
async fn join(
    link: &NodeLink,
    assignment: &NodeAssignment,
    gifts: &mut Gifts,
    after: u64,
) -> Result<UpdateStream, ClientError> {
    if let Some(spec) = gifts.starts(assignment.epoch) {
        let resume = gifts.resume.clone();
        match link.run(assignment, spec, resume, &gifts.holders).await {
            Ok(stream) => {
                gifts.started = assignment.epoch;
                return Ok(stream);
            }
            // The answer to an earlier try was lost: the task runs.
            Err(error) if error.refusal() == Some("replayed") => {
                gifts.started = assignment.epoch;
            }
            Err(error) => return Err(error),
        }
    }
    link.attach(assignment, after).await
}
