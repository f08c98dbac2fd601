//! Whom a client command speaks to: an index, or the mesh itself.

use embermesh_client::{Client, ClientError, Direct, JobView, NodeView, Ways};
use embermesh_crypto::{JobId, digest::Digest};

/// A client, with or without an index.
#[derive(Debug, Clone)]
pub(crate) enum Party {
    /// By an index.
    Index(Client),
    /// Without one.
    Direct(Direct),
}

impl Party {
    /// How it reaches nodes.
    pub(crate) fn ways(&self) -> &Ways {
        match self {
            Self::Index(client) => client.ways(),
            Self::Direct(direct) => direct.ways(),
        }
    }

    /// The nodes that are known.
    ///
    /// # Errors
    /// When the index cannot be reached.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        match self {
            Self::Index(client) => client.nodes().await,
            Self::Direct(direct) => Ok(direct.nodes()),
        }
    }
}

/// A job, as it is spoken of.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// Its id.
    pub(crate) id: JobId,
    /// What people call it.
    pub(crate) name: String,
    /// The digest of its canonical spec.
    pub(crate) spec: Digest,
}

impl From<&JobView> for Named {
    fn from(job: &JobView) -> Self {
        Self {
            id: job.id,
            name: job.name.clone(),
            spec: job.spec_digest,
        }
    }
}
