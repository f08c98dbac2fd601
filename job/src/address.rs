//! Where peers and blobs are.

use embermesh_crypto::{Digest, PeerId};
use serde::{Deserialize, Serialize};

/// Where a peer can be reached, by both roads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    /// Who is expected there.
    pub peer: PeerId,
    /// `host:port` of the mutual-TLS road.
    pub tls: Vec<String>,
    /// Multiaddrs of the libp2p road.
    pub mesh: Vec<String>,
}

/// A blob by name, with who is known to hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Who holds it, as far as is known.
    pub holders: Vec<PeerAddress>,
}

/// A point from which an attempt can go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The bytes, and who holds them.
    pub blob: BlobRef,
    /// Optimiser steps done.
    pub step: u64,
    /// The number of the event that announced it.
    pub seq: u64,
}
