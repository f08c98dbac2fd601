//! One connection to the node of an attempt.

use bytes::Bytes;
use embermesh_crypto::ids::Epoch;
use embermesh_job::{address::BlobRef, assignment::NodeAssignment, event::RunUpdate};
use embermesh_mesh::road::RoadKind;
use tokio::sync::mpsc;

use crate::{Client, ClientError, Sources, Update, node::UpdateStream, upload};

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
    pub(super) road: RoadKind,
}

impl Attempt {
    /// Connects, brings the inputs that the node lacks, and starts the task, or joins
    /// it where it has been started.
    pub(super) async fn open(
        client: &Client,
        assignment: &NodeAssignment,
        gifts: &mut Gifts,
        after: u64,
        tell: &mpsc::Sender<Result<Update, ClientError>>,
    ) -> Result<Self, ClientError> {
        let link = client.node(&assignment.node).await?;
        let road = link.road;
        upload::upload(&link, &assignment.token, &gifts.sources, Some(tell)).await?;
        // Every attempt after the first is started by order of the index.
        if let Some(spec) = gifts
            .spec
            .clone()
            .filter(|_| assignment.epoch == Epoch::FIRST)
        {
            match link.run(assignment, spec, &gifts.holders).await {
                Ok(stream) => {
                    gifts.spec = None;
                    return Ok(Self { stream, road });
                }
                // The answer to an earlier try was lost: the task runs.
                Err(error) if error.refusal() == Some("replayed") => gifts.spec = None,
                Err(error) => return Err(error),
            }
        }
        let stream = link.attach(assignment, after).await?;
        Ok(Self { stream, road })
    }

    /// The next update.
    pub(super) async fn next(&mut self) -> Result<RunUpdate, ClientError> {
        self.stream
            .next()
            .await?
            .ok_or_else(|| ClientError::Unreachable {
                what: "the node".to_owned(),
                reason: "it closed the stream".to_owned(),
            })
    }
}
