//! The ways to nodes: an identity, a part of the mesh, and which roads may be taken.

use std::path::Path;

use embermesh_crypto::ids::PeerId;
use embermesh_job::address::PeerAddress;
use embermesh_mesh::{
    Mesh, MeshEvent,
    blob::{Fetched, Fetcher, Progress, Want},
    road::{Identity, RoadChoice, Target},
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::{ClientError, Download, Options, node::NodeLink};

/// How this side reaches nodes, and as whom. Clones are the same.
#[derive(Clone)]
pub struct Ways {
    identity: Identity,
    options: Options,
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways")
            .field("peer", &self.peer_id())
            .finish_non_exhaustive()
    }
}

impl Ways {
    pub(crate) const fn new(identity: Identity, options: Options) -> Self {
        Self { identity, options }
    }

    /// Who this side is.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// The same identity with other ways.
    pub(crate) fn by(self, options: Options) -> Self {
        Self { options, ..self }
    }

    pub(crate) async fn node(&self, address: &PeerAddress) -> Result<NodeLink, ClientError> {
        let options = &self.options;
        let target = Target::from(address);
        NodeLink::connect(&self.identity, &target, options.mesh.as_ref(), options.road).await
    }

    /// Whether TLS straight to a node may be tried where the mesh was taken.
    pub(crate) fn may_go_straight(&self, node: &PeerAddress) -> bool {
        self.options.road == RoadChoice::Auto && !node.tls.is_empty()
    }

    /// Connects with a node by TLS alone.
    pub(crate) async fn straight(&self, address: &PeerAddress) -> Result<NodeLink, ClientError> {
        let target = Target::from(address);
        NodeLink::connect(&self.identity, &target, None, RoadChoice::Tls).await
    }

    /// What happens in this side's part of the mesh from now on.
    pub(crate) fn mesh_events(&self) -> Option<broadcast::Receiver<MeshEvent>> {
        self.options.mesh.as_ref().map(Mesh::events)
    }

    /// Downloads a blob to a file, verified as it arrives. What had come of an
    /// earlier try is not asked for again; the file appears only when it is whole.
    ///
    /// # Errors
    /// When no holder could give it, or it cannot be written.
    pub async fn fetch(
        &self,
        download: &Download,
        destination: &Path,
        progress: Option<&watch::Sender<Progress>>,
        cancel: &CancellationToken,
    ) -> Result<Fetched, ClientError> {
        let fetcher =
            Fetcher::new(self.identity.clone(), self.options.mesh.clone()).by(self.options.road);
        let want = Want {
            digest: download.digest,
            size: download.size,
            holders: download.holders.clone(),
        };
        Ok(fetcher
            .download(&want, destination, progress, cancel)
            .await?)
    }
}
