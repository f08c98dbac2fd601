//! The grant: an owner of nodes lets a client run jobs there, with no index between them.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::Statement;
use crate::{NetworkName, PeerId, UnixMillis};

/// The most nodes that one grant names.
pub const MAX_GRANTED_NODES: usize = 64;
/// The longest that a grant may hold.
pub const MAX_GRANT_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);

/// An owner's word that a client may run jobs. Only nodes that have this owner heed it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// The owner, who signs.
    #[n(0)]
    pub owner: PeerId,
    /// The client, who alone can use it.
    #[n(1)]
    pub client: PeerId,
    /// The network of the nodes.
    #[n(2)]
    pub network: NetworkName,
    /// The nodes, ascending; empty: every node of this owner.
    #[n(3)]
    pub nodes: Vec<PeerId>,
    /// From when it holds.
    #[n(4)]
    pub issued_at: UnixMillis,
    /// When it ends.
    #[n(5)]
    pub expires_at: UnixMillis,
}

impl Grant {
    /// Whether it is about this node.
    #[must_use]
    pub fn names(&self, node: &PeerId) -> bool {
        self.nodes.is_empty() || self.nodes.binary_search(node).is_ok()
    }
}

impl Statement for Grant {
    const DOMAIN: &'static str = "embermesh/grant/v1";
    const MAX_LEN: usize = 4 * 1024;

    fn signer(&self) -> PeerId {
        self.owner
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.nodes.len() > MAX_GRANTED_NODES {
            return Err("a grant names too many nodes");
        }
        if !self.nodes.is_sorted_by(|a, b| a < b) {
            return Err("a grant names each node once, ascending");
        }
        if self.issued_at >= self.expires_at {
            return Err("a grant ends after it begins");
        }
        if self.issued_at.saturating_add(MAX_GRANT_LIFE) < self.expires_at {
            return Err("a grant holds for 366 days at most");
        }
        Ok(())
    }
}
