//! A better road to the node of an attempt, looked for while its stream goes by another.
//!
//! TLS straight to the node is better than a stream of the mesh, which may go through a
//! relay. It is tried again from time to time, and when the mesh has found a direct path;
//! where it stands, the task is joined by it before the other is let go.

use std::time::Duration;

use embermesh_crypto::ids::PeerId;
use embermesh_job::{address::PeerAddress, assignment::NodeAssignment};
use embermesh_mesh::{MeshEvent, road::RoadKind};
use futures::future::BoxFuture;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};

use crate::{
    ClientError, Ways,
    bounds::{BETTER_FIRST, BETTER_LONGEST},
    node::{NodeLink, UpdateStream},
};

/// The search for a better road.
pub(super) enum Better {
    /// There is none to look for.
    None,
    /// A connection is looked for.
    Looking(BoxFuture<'static, NodeLink>),
    /// One stands, by which the task is being joined.
    Joining(BoxFuture<'static, Result<Moved, ClientError>>),
}

/// A stream by a better road.
pub(super) struct Moved {
    pub(super) stream: UpdateStream,
    pub(super) road: RoadKind,
}

impl Better {
    /// Looks for a better road than this one, where there may be any.
    pub(super) fn than(road: RoadKind, ways: &Ways, node: &PeerAddress) -> Self {
        if road != RoadKind::Mesh || !ways.may_go_straight(node) {
            return Self::None;
        }
        Self::Looking(Box::pin(look(ways.clone(), node.clone(), BETTER_FIRST)))
    }

    /// A stream by a better road, behind event `after`. Cancel safe: what has been done
    /// stays done.
    pub(super) async fn moved(
        &mut self,
        ways: &Ways,
        assignment: &NodeAssignment,
        after: u64,
    ) -> Moved {
        loop {
            match self {
                Self::None => std::future::pending().await,
                Self::Looking(looking) => {
                    let link = looking.await;
                    let assignment = assignment.clone();
                    *self = Self::Joining(Box::pin(async move {
                        let stream = link.attach(&assignment, after).await?;
                        let road = link.road;
                        Ok(Moved { stream, road })
                    }));
                }
                Self::Joining(joining) => match joining.await {
                    Ok(moved) => {
                        *self = Self::None;
                        return moved;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot join the task by a better road");
                        let node = assignment.node.clone();
                        *self = Self::Looking(Box::pin(look(ways.clone(), node, BETTER_LONGEST)));
                    }
                },
            }
        }
    }
}

/// Tries until a connection straight to the node stands; at first after a wait.
async fn look(ways: Ways, node: PeerAddress, mut wait: Duration) -> NodeLink {
    let mut events = ways.mesh_events();
    loop {
        tokio::select! {
            () = sleep(wait) => {}
            () = direct(&mut events, node.peer) => {}
        }
        wait = (wait * 2).min(BETTER_LONGEST);
        match ways.straight(&node).await {
            Ok(link) => return link,
            Err(error) => tracing::trace!(%error, "no better road yet"),
        }
    }
}

/// Waits until the mesh has found a direct path to a peer.
async fn direct(events: &mut Option<broadcast::Receiver<MeshEvent>>, peer: PeerId) {
    while let Some(receiver) = events {
        match receiver.recv().await {
            Ok(MeshEvent::Direct(direct)) if direct == peer => return,
            // What was missed may have been it.
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => *events = None,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}
