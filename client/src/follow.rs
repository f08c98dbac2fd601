//! One stream of a job's updates, whatever happens on the way.
//!
//! A follower has two sources. The node's stream carries the numbered events; the
//! index's watch tells of a new attempt on another node, and of the end. Either may
//! be lost at any time: the node's stream is joined again from the last number, and
//! while the index is away the node's stream does not notice.
//!
//! Without an index the job's owner is the second source himself: he places the job
//! again where its node is lost (`own_side`). `authority` is either of the two.
//!
//! `index_watch` follows the index and keeps the newest word of it; `attempt` is one
//! connection to a node, for which `better` looks for a better road while it stands;
//! `follower` decides what to do when either says something.

mod attempt;
mod authority;
mod better;
mod follower;
mod index_side;
mod index_watch;
mod own_side;
mod renewal;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId},
};
use embermesh_job::{
    address::{BlobRef, PeerAddress},
    assignment::NodeAssignment,
    event::{Artifact, Event, Notice, Outcome},
};
use embermesh_mesh::road::RoadKind;
use futures::Stream;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use self::{
    attempt::Gifts, authority::Authority, follower::Subject, index_side::IndexSide,
    own_side::OwnSide,
};
use crate::{
    Client, ClientError, JobView, Sources,
    bounds::UPDATE_QUEUE,
    direct::{Errand, placing::Task},
};

/// Where a follower begins, and what it can give to a node.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The last event that the caller has; 0 for all.
    pub after: u64,
    /// The canonical spec: with it, the follower starts the first attempt itself.
    pub spec: Option<Bytes>,
    /// Inputs that nodes may lack.
    pub sources: Sources,
    /// Who holds inputs that are not among the sources.
    pub holders: Vec<BlobRef>,
    /// An assignment that is at hand.
    pub assignment: Option<NodeAssignment>,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The index.
    Index,
    /// The node that runs the job.
    Node,
}

/// One word of a follower.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The job waits for a node.
    Queued {
        /// Why.
        reason: String,
        /// The nodes that were not chosen: who, a stable word, and why.
        passed_over: Vec<(PeerId, String, String)>,
    },
    /// A node lacks an input, which is being sent to it.
    Uploading {
        /// Which.
        digest: Digest,
        /// Its bytes.
        size: u64,
    },
    /// A stream stands to the node of an attempt.
    Assigned {
        /// Which node.
        node: PeerId,
        /// Which attempt.
        epoch: Epoch,
        /// By which road.
        road: RoadKind,
    },
    /// A numbered event. Each number comes once, in order.
    Event(Event),
    /// Something about the attempt.
    Notice(Notice),
    /// A connection was lost and is being made anew.
    Reconnecting {
        /// Which.
        to: Side,
        /// What happened.
        reason: String,
    },
    /// A connection that was lost is back.
    Back(Side),
    /// Events that nobody has any more: the node that knew them is gone. A gap is
    /// always told in this way.
    Missed {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The job is over. Always the last.
    Ended(Box<Ended>),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Why it failed, if it did.
    pub message: String,
    /// The signed receipt, not verified yet; empty only where no attempt ran.
    pub receipt: Vec<u8>,
    /// What it made.
    pub artifacts: Vec<Artifact>,
    /// The node of the last attempt.
    pub node: Option<PeerAddress>,
    /// The last attempt.
    pub epoch: Epoch,
    /// The index's view, when the end was heard from the index.
    pub job: Option<JobView>,
}

/// A stream of [`Update`]s. Dropping it leaves the job as it is.
#[derive(Debug)]
pub struct Follow {
    updates: mpsc::Receiver<Result<Update, ClientError>>,
    assignment: watch::Receiver<Option<NodeAssignment>>,
    task: AbortHandle,
}

impl Follow {
    pub(crate) fn start(client: Client, job: JobId, start: Start) -> Self {
        let gifts = Gifts {
            spec: start.spec,
            each: false,
            started: Epoch(0),
            resume: None,
            sources: start.sources,
            holders: start.holders,
        };
        let side = IndexSide::start(&client, job);
        let subject = Subject {
            job,
            ways: client.ways().clone(),
            authority: Authority::Index(client, side),
            gifts,
            after: start.after,
        };
        Self::of(subject, start.assignment)
    }

    /// Follows a job that its owner places himself.
    pub(crate) fn of_task(task: Task, errand: Errand) -> Self {
        let record = task.record();
        let gifts = Gifts {
            spec: Some(task.canonical().clone()),
            each: true,
            // What was begun before is joined.
            started: record.epoch,
            resume: None,
            sources: errand.sources,
            holders: errand.holders,
        };
        let subject = Subject {
            job: record.job,
            ways: task.direct().ways().clone(),
            authority: Authority::Own(OwnSide::start(task, errand.wait)),
            gifts,
            after: errand.after,
        };
        Self::of(subject, record.assignment())
    }

    fn of(subject: Subject, held: Option<NodeAssignment>) -> Self {
        let (out, updates) = mpsc::channel(UPDATE_QUEUE);
        let (held, assignment) = watch::channel(held);
        let follower = follower::Follower::new(subject, out, held);
        let task = tokio::spawn(Box::pin(follower.run())).abort_handle();
        Self {
            updates,
            assignment,
            task,
        }
    }

    /// The next update; `None` after the last. An error is the last too.
    pub async fn next(&mut self) -> Option<Result<Update, ClientError>> {
        self.updates.recv().await
    }

    /// The assignment that is held now: with it, the node can be told directly.
    #[must_use]
    pub fn assignment(&self) -> Option<NodeAssignment> {
        self.assignment.borrow().clone()
    }

    /// The assignment that is held, now and as it changes; closed once the job is over.
    #[must_use]
    pub fn assignments(&self) -> watch::Receiver<Option<NodeAssignment>> {
        self.assignment.clone()
    }
}

impl Stream for Follow {
    type Item = Result<Update, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.poll_recv(cx)
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.task.abort();
    }
}
