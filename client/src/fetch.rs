//! What is to be downloaded, and from whom.

use embermesh_crypto::digest::Digest;
use embermesh_job::{
    address::{BlobRef, PeerAddress},
    event::Artifact,
};
use embermesh_mesh::road::Target;

/// A blob to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Its name.
    pub digest: Digest,
    /// Its bytes, where they are known.
    pub size: Option<u64>,
    /// Who may hold it, the likeliest first.
    pub holders: Vec<Target>,
}

impl Download {
    /// An artifact, from the node that made it.
    #[must_use]
    pub fn artifact(artifact: &Artifact, node: &PeerAddress) -> Self {
        Self {
            digest: artifact.digest,
            size: Some(artifact.size),
            holders: vec![Target::from(node)],
        }
    }
}

impl From<&BlobRef> for Download {
    fn from(blob: &BlobRef) -> Self {
        Self {
            digest: blob.digest,
            size: Some(blob.size),
            holders: blob.holders.iter().map(Target::from).collect(),
        }
    }
}
