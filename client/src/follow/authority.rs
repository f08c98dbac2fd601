//! Who says which node has a job: an index, or the job's owner himself.

use bytes::Bytes;
use embermesh_crypto::ids::{Epoch, JobId, PeerId};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::NodeAssignment,
    event::Event,
    lifecycle::JobState,
};

use super::{index_side::IndexSide, own_side::OwnSide};
use crate::{Client, ClientError, JobView, direct::Direct};

/// Who says which node has the job.
pub(super) enum Authority {
    Index(Client, IndexSide),
    Own(OwnSide),
}

/// A later attempt than the one that is followed.
pub(super) struct Newer {
    pub(super) assignment: NodeAssignment,
    /// With what this side begins it; an index orders it itself.
    pub(super) begin: Option<(Option<Checkpoint>, Vec<BlobRef>)>,
}

/// Why a job waits: in a word, and each node that was passed over.
pub(super) type Queued = (String, Vec<(PeerId, String, String)>);

impl Authority {
    /// Waits for news.
    pub(super) async fn changed(&mut self) {
        match self {
            Self::Index(_, side) => side.changed().await,
            Self::Own(side) => side.changed().await,
        }
    }

    pub(super) const fn own(&self) -> Option<&OwnSide> {
        match self {
            Self::Own(side) => Some(side),
            Self::Index(..) => None,
        }
    }

    /// The job as an index shows it.
    pub(super) fn job(&self) -> Option<JobView> {
        match self {
            Self::Index(_, side) => side.job(),
            Self::Own(_) => None,
        }
    }

    /// Whether the job is over, as an index says. Its owner hears that from its node.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Index(_, side) => side.is_over(),
            Self::Own(_) => false,
        }
    }

    /// Why the job waits now, while it does.
    pub(super) fn queued(&self) -> Option<Queued> {
        match self {
            Self::Index(_, side) => {
                let job = side.job().filter(|job| job.state == JobState::Queued)?;
                Some((job.reason, job.passed_over))
            }
            Self::Own(side) => {
                let passed_over = side.queued()?;
                let reason = match passed_over.len() {
                    0 => "no node is known yet",
                    _ => "no node takes the job now",
                };
                Some((reason.to_owned(), passed_over))
            }
        }
    }

    pub(super) fn newer_than(&self, epoch: Epoch) -> Option<Newer> {
        match self {
            Self::Index(_, side) => side.newer_than(epoch).map(|assignment| Newer {
                assignment,
                begin: None,
            }),
            Self::Own(side) => side.newer_than(epoch).map(|placed| Newer {
                assignment: placed.assignment,
                begin: Some((placed.resume, placed.inputs)),
            }),
        }
    }

    /// Why the index cannot be reached, if it cannot.
    pub(super) fn lost(&self) -> Option<String> {
        match self {
            Self::Index(_, side) => side.lost(),
            Self::Own(_) => None,
        }
    }

    /// Why there will be no more news, once.
    pub(super) fn take_refusal(&mut self) -> Option<ClientError> {
        match self {
            Self::Index(_, side) => side.take_refusal(),
            Self::Own(side) => side.take_refusal(),
        }
    }

    /// An event was shown.
    pub(super) fn heard(&self, event: &Event) {
        if let Self::Own(side) = self {
            side.heard(event);
        }
    }

    /// Ends the job as far as it can be reached.
    pub(super) async fn cancel(
        &self,
        job: JobId,
        held: Option<NodeAssignment>,
    ) -> Result<JobState, ClientError> {
        match self {
            Self::Index(client, _) => client.cancel(job, held).await,
            Self::Own(side) => {
                let task = side.task();
                task.direct().cancel(&task.record()).await
            }
        }
    }

    /// What renews tokens.
    pub(super) fn renewer(&self) -> Renewer {
        match self {
            Self::Index(client, _) => Renewer::Index(client.clone()),
            Self::Own(side) => {
                let task = side.task();
                Renewer::Node(task.direct().clone(), task.canonical().clone())
            }
        }
    }

    /// A token was renewed.
    pub(super) fn renewed(&self, fresh: &NodeAssignment) {
        if let Self::Own(side) = self {
            side.task().renewed(fresh);
        }
    }
}

/// Who gives a fresh token for an attempt.
#[derive(Clone)]
pub(super) enum Renewer {
    /// The index.
    Index(Client),
    /// The node itself.
    Node(Direct, Bytes),
}

impl Renewer {
    /// A fresh token for this attempt.
    pub(super) async fn renew(&self, held: &NodeAssignment) -> Result<NodeAssignment, ClientError> {
        match self {
            Self::Index(client) => client.index().renew(held.job, held.epoch).await,
            Self::Node(direct, spec) => direct.renew(held, spec.clone()).await,
        }
    }

    /// A fresh token for this attempt, or for the one that runs by now.
    pub(super) async fn renew_newest(
        &self,
        held: &NodeAssignment,
    ) -> Result<NodeAssignment, ClientError> {
        match self {
            Self::Index(client) => client.index().renew(held.job, Epoch(0)).await,
            Self::Node(..) => self.renew(held).await,
        }
    }
}
