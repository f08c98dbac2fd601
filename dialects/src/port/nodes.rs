//! Nodes, as dialects see them.

use embermesh_crypto::{UnixMillis, statement::Advert};
use embermesh_job::address::PeerAddress;

use crate::Failure;

/// A node.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Where it can be reached; its key is its id.
    pub address: PeerAddress,
    /// Whether it has been heard of lately.
    pub live: bool,
    /// When it was last heard of.
    pub last_seen: UnixMillis,
    /// How many of this index's tasks it has.
    pub running: u32,
    /// What it says of itself, its signature verified.
    pub advert: Option<Advert>,
}

/// The verbs over nodes.
#[tonic::async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// Every node that is known, in the order of their keys.
    async fn nodes(&self) -> Result<Vec<NodeView>, Failure>;
}
