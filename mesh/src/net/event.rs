//! What a process can watch of its mesh.

use std::time::Duration;

use embermesh_crypto::ids::{NetworkName, PeerId};

use super::MeshError;

/// Something that happened in the mesh, for logs, counters and tests. A slow
/// watcher loses the oldest ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeshEvent {
    /// A peer of this network is connected and identified.
    Connected(PeerId),
    /// The last connection with a peer has closed.
    Disconnected(PeerId),
    /// A peer of another network was turned away.
    OtherNetwork {
        /// Who it was.
        peer: PeerId,
        /// The network of this process.
        ours: NetworkName,
        /// Its network, or what it says instead of one.
        theirs: String,
    },
    /// A bootstrap peer did not answer. It is tried again.
    BootstrapFailed {
        /// The bootstrap peer.
        peer: PeerId,
        /// Why, and when it is tried again.
        reason: String,
    },
    /// The table of a peer was received in full.
    TableReceived {
        /// The peer that was asked.
        from: PeerId,
        /// Adverts known now.
        known: usize,
    },
    /// An advert was turned away that no honest peer sends.
    AdvertRejected {
        /// Who passed it on.
        from: PeerId,
        /// Why.
        reason: crate::protocol::Reason,
    },
    /// A peer signed two different adverts with one number.
    Equivocation {
        /// The cheat, or the owner of a key that runs twice.
        peer: PeerId,
        /// The number.
        sequence: u64,
    },
    /// A hole was punched: a peer that was reached through a relay is reached directly.
    Direct(PeerId),
    /// Others reach this process at an address.
    Reachable(String),
    /// Another process publishes adverts with this process's key.
    KeyElsewhere {
        /// The number it used.
        sequence: u64,
    },
}

/// How far this process has come in joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No bootstrap peer is configured and nobody has called yet.
    Alone,
    /// Bootstrap peers are being tried.
    Joining {
        /// What the last attempt said, if one has failed.
        last: Option<MeshError>,
    },
    /// A table has been received: the mesh is known.
    Joined,
    /// Every bootstrap peer belongs to another network.
    Refused(MeshError),
}

/// A connected peer, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Who it is.
    pub peer: PeerId,
    /// Program and version, as it says.
    pub agent: String,
    /// The last measured round trip.
    pub round_trip: Option<Duration>,
    /// Multiaddrs that it listens on, as it says.
    pub addresses: Vec<String>,
    /// Every connection with it goes through a relay.
    pub relayed: bool,
}
