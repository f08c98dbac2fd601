//! The nodes of the mesh, as the index shows them.

use embermesh_dialects::{
    Dialect, Failure,
    port::{
        Principal,
        nodes::{NodeView, Nodes},
    },
};

use crate::{Gateway, failure::failure};

/// Who looks for nodes: the gateway itself.
pub(crate) fn itself() -> Principal {
    Principal {
        dialect: Dialect::CyxWiz,
        name: String::new(),
    }
}

#[tonic::async_trait]
impl Nodes for Gateway {
    async fn nodes(&self) -> Result<Vec<NodeView>, Failure> {
        let client = self.inner.clients.of(&itself()).await?;
        let nodes = client.nodes().await.map_err(|error| failure(&error))?;
        Ok(nodes
            .into_iter()
            .map(|node| NodeView {
                address: node.address,
                live: node.live,
                last_seen: node.last_seen,
                running: node.running,
                advert: node.advert.map(|advert| (*advert).clone()),
            })
            .collect())
    }
}
