//! One connection to the node of an attempt.

use bytes::Bytes;
use embermesh_crypto::ids::Epoch;
use embermesh_job::{address::BlobRef, assignment::NodeAssignment, event::RunUpdate};
use embermesh_mesh::road::RoadKind;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Client, ClientError, Sources, Update,
    feed::feed,
    node::{NodeLink, UpdateStream},
    upload,
};

/// What this side can give to a node.
pub(super) struct Gifts {
    /// The canonical spec, while the first attempt has not been started.
    pub(super) spec: Option<Bytes>,
    /// Inputs that the node may lack.
    pub(super) sources: Sources,
    /// Who holds the others.
    pub(super) holders: Vec<BlobRef>,
}

/// A stream that stands.
pub(super) struct Attempt {
    stream: UpdateStream,
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
        client: &Client,
        assignment: &NodeAssignment,
        gifts: &mut Gifts,
        after: u64,
        tell: &mpsc::Sender<Result<Update, ClientError>>,
    ) -> Result<Self, ClientError> {
        let link = client.node(&assignment.node).await?;
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
            upload: Some(upload),
            feed,
            road,
        })
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
            // The stream first: a node that ends the attempt says why, and the
            // upload only fails with it.
            tokio::select! {
                biased;
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
    // Every attempt after the first is started by order of the index.
    if let Some(spec) = gifts
        .spec
        .clone()
        .filter(|_| assignment.epoch == Epoch::FIRST)
    {
        match link.run(assignment, spec, &gifts.holders).await {
            Ok(stream) => {
                gifts.spec = None;
                return Ok(stream);
            }
            // The answer to an earlier try was lost: the task runs.
            Err(error) if error.refusal() == Some("replayed") => gifts.spec = None,
            Err(error) => return Err(error),
        }
    }
    link.attach(assignment, after).await
}
