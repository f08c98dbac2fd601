//! What every task of a node works with: one value, made once at the start.

use std::{path::PathBuf, sync::Arc, time::Duration};

use embermesh_crypto::{digest::Digest, ids::PeerId, keys::Keypair};
use embermesh_job::address::PeerAddress;
use embermesh_mesh::{
    Mesh,
    blob::{BlobStore, Fetcher, StoreError},
    road::Identity,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    arriving::Arriving, door::Door, joined::joined, origins::Origins, resident::Residents,
    slots::Slots, store::Store, uplink::Links,
};

/// What tasks work with.
pub(crate) struct Site {
    pub(crate) keypair: Arc<Keypair>,
    pub(crate) identity: Identity,
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    pub(crate) blobs: BlobStore,
    pub(crate) fetcher: Fetcher,
    pub(crate) slots: Slots,
    /// Whose turn it is, where no index says so.
    pub(crate) door: Door,
    /// The lines to the indexes.
    pub(crate) links: Links,
    /// The folder in which each attempt has a folder while it runs.
    pub(crate) work: PathBuf,
    /// `host:port` of this node's TLS road.
    pub(crate) tls: Vec<String>,
    /// Threads of one task; 0 means one per core.
    pub(crate) threads: u32,
    /// How many others keep a copy of a checkpoint.
    pub(crate) replicas: usize,
    /// Changes when something was put into the outbox.
    pub(crate) posted: watch::Sender<u64>,
    /// Changes when a task starts or ends.
    pub(crate) changed: watch::Sender<u64>,
    /// Changes when a blob was brought to this node.
    pub(crate) brought: watch::Sender<u64>,
    /// Blobs that clients are sending here now.
    pub(crate) arriving: Arriving,
    /// Where else inputs may come from.
    pub(crate) origins: Origins,
    /// How long a task waits for data that stays with its client.
    pub(crate) data_wait: Duration,
    /// Models that are resident here.
    pub(crate) residents: Residents,
    /// Held by whoever signs a receipt, until it is on the disk.
    pub(crate) receipts: tokio::sync::Mutex<()>,
    /// Owns every task of the node that is not waited for where it was started.
    pub(crate) tracker: TaskTracker,
}

/// How long an announcement in the DHT may take before it is given up.
const PROVIDE_WAIT: Duration = Duration::from_secs(20);

impl Site {
    /// This node.
    pub(crate) fn me(&self) -> PeerId {
        self.keypair.peer_id()
    }

    /// Where this node can be reached.
    pub(crate) fn address(&self) -> PeerAddress {
        PeerAddress {
            peer: self.me(),
            tls: self.tls.clone(),
            mesh: self.mesh.addresses(),
        }
    }

    /// Announces in the DHT that this node holds a blob, in the background: whoever
    /// needs it now has been told where it is.
    pub(crate) fn announce(self: &Arc<Self>, digest: Digest) {
        let mesh = self.mesh.clone();
        self.tracker.spawn(async move {
            match tokio::time::timeout(PROVIDE_WAIT, mesh.provide(digest)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%digest, %error, "a blob was not announced"),
                Err(_) => tracing::debug!(%digest, "the announcement of a blob took too long"),
            }
        });
    }

    /// Keeps a blob from being evicted until it is unpinned. Where nothing else waits,
    /// because it waits for the disk.
    pub(crate) async fn pin(&self, digest: Digest) -> Result<(), StoreError> {
        let blobs = self.blobs.clone();
        joined(tokio::task::spawn_blocking(move || blobs.pin(&digest))).await
    }

    /// Something changed that a heartbeat should tell of.
    pub(crate) fn touch(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Something was put into the outbox.
    pub(crate) fn report_posted(&self) {
        self.posted
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A blob was brought here.
    pub(crate) fn blob_brought(&self) {
        self.brought
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
pub(crate) mod tests;
