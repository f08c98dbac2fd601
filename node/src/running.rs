//! A node that runs, and the ways to end it, each in the order that loses nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use embermesh_client::ClientError;
use embermesh_crypto::ids::PeerId;
use embermesh_mesh::{Mesh, road::Serving};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{folder::DataFolder, node::NodeError, site::Site, store::Store, task::Tasks};

/// How long the mesh has to say goodbye before the node stops without it.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long the last reports have to reach the indexes when the node ends.
const LAST_REPORTS: Duration = Duration::from_secs(3);

/// How often it is looked whether they have: the outbox has no event for "empty".
const REPORTS_LOOKED_AT: Duration = Duration::from_millis(20);

/// How long tasks that nobody waits for have to end.
const LOOSE_ENDS: Duration = Duration::from_secs(5);

/// How the owner of a node has asked it to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// By [`RunningNode::drain`].
    Drain,
    /// By [`RunningNode::stop`].
    Now,
}

/// Where the owner's word to end a node is heard.
#[derive(Debug)]
pub struct Shutdowns(pub(crate) watch::Receiver<Option<Shutdown>>);

impl Shutdowns {
    /// Waits for the word. Cancel safe.
    pub async fn asked(&mut self) -> Shutdown {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(how)) => *how,
            // The node is gone, and nobody can ask any more.
            _ => std::future::pending().await,
        }
    }
}

/// A node that runs.
pub struct RunningNode {
    pub(crate) address: SocketAddr,
    pub(crate) site: Arc<Site>,
    pub(crate) tasks: Tasks,
    pub(crate) serving: Serving,
    /// The lines to the indexes, and what else repeats itself until the end.
    pub(crate) lines: TaskTracker,
    pub(crate) refusals: Option<mpsc::Receiver<ClientError>>,
    pub(crate) shutdown: watch::Sender<Option<Shutdown>>,
    /// Ends port, streams and lines.
    pub(crate) cancel: CancellationToken,
    pub(crate) drain_time: Duration,
    /// A node that nobody holds any more stops, if not gracefully.
    pub(crate) _cancel_on_drop: DropGuard,
    pub(crate) _folder: DataFolder,
}

impl RunningNode {
    /// The node's key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.site.me()
    }

    /// Where each index is told of that answers the node's first words with a final
    /// no: it is no index, has another key than the one that is pinned, or refuses
    /// the node, which may be of another network. An index that is away is not told
    /// of; every one is dialled again for as long as the node runs. The first caller
    /// has it.
    pub fn refusals(&mut self) -> Option<mpsc::Receiver<ClientError>> {
        self.refusals.take()
    }

    /// Where the owner's word to end this node is heard, given on the node's own machine.
    /// Whoever runs the node then ends it; while nobody listens, the word is refused.
    #[must_use]
    pub fn shutdowns(&self) -> Shutdowns {
        Shutdowns(self.shutdown.subscribe())
    }

    /// Where gRPC is served over TLS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Multiaddrs by which others reach this node in the mesh.
    #[must_use]
    pub fn mesh_addresses(&self) -> Vec<String> {
        self.site.mesh.addresses()
    }

    /// The mesh that the node is part of.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.site.mesh
    }

    /// Takes no new task, lets each that runs come to its end or its next
    /// checkpoint within the drain time, tells the indexes, and stops. A token that
    /// is cancelled meanwhile makes a [`stop`](Self::stop) of it.
    ///
    /// # Errors
    /// When the store had failed.
    pub async fn drain(self) -> Result<(), NodeError> {
        self.site.slots.drain();
        tracing::info!(within = ?self.drain_time, "draining");
        let drained = async {
            self.tasks.drain(self.drain_time).await;
            last_reports(&self.site.store, &self.cancel).await;
        };
        let drained = Box::pin(self.cancel.run_until_cancelled(drained)).await;
        if drained.is_none() {
            tracing::warn!("the drain is cut short");
        }
        self.stop().await
    }

    /// Stops every task now, and the node with them; their jobs move.
    ///
    /// # Errors
    /// When the store had failed.
    pub async fn stop(self) -> Result<(), NodeError> {
        self.site.slots.drain();
        if self.tasks.stop_all().await {
            last_reports(&self.site.store, &self.cancel).await;
        }
        self.cancel.cancel();
        self.serving.ended().await;
        self.lines.wait().await;
        if timeout(GOODBYE, self.site.mesh.shutdown()).await.is_err() {
            tracing::warn!(grace = ?GOODBYE, "the mesh took too long to say goodbye");
        }
        self.site.tracker.close();
        if timeout(LOOSE_ENDS, self.site.tracker.wait()).await.is_err() {
            tracing::warn!(grace = ?LOOSE_ENDS, "some tasks overran the stop");
        }
        self.site.store.close().await;
        Ok(())
    }
}

/// Gives the lines to the indexes a moment to deliver what waits, as long as there are
/// lines: until `cut` is cancelled.
async fn last_reports(store: &Store, cut: &CancellationToken) {
    let delivered = async {
        while store.any_report().await.unwrap_or(false) {
            tokio::time::sleep(REPORTS_LOOKED_AT).await;
        }
    };
    let waited = timeout(LAST_REPORTS, cut.run_until_cancelled(delivered)).await;
    if !matches!(waited, Ok(Some(()))) {
        tracing::info!("some reports wait until the node is started again");
    }
}

#[cfg(test)]
mod tests;
