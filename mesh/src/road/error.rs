//! What can go wrong on the way to a peer, or in letting peers come.

use std::{io, net::SocketAddr, time::Duration};

use embermesh_crypto::ids::PeerId;

use crate::net::MeshError;

/// Why a road cannot be taken or opened to others.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RoadError {
    /// The target has no address of the road asked for.
    #[error("no address of {target} is known for the {road} road")]
    NoAddress {
        /// Whom.
        target: String,
        /// Which road.
        road: &'static str,
    },
    /// The mesh road was asked for in a process without a mesh, or to nobody.
    #[error("the mesh road to {target} cannot be taken: {reason}")]
    NoMeshRoad {
        /// Whom.
        target: String,
        /// What is missing.
        reason: &'static str,
    },
    /// Text that is no address of the TLS road.
    #[error("`{address}` is not an address: {reason}; one looks like 192.0.2.1:7000")]
    InvalidAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody listens there.
    #[error("{address} refused the connection: nothing listens there")]
    Refused {
        /// Where.
        address: String,
    },
    /// The network did not lead there.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// Somebody else answered.
    #[error(
        "{address} is peer {found}, not {expected}; its key has changed, or the address is old"
    )]
    WrongPeer {
        /// Where.
        address: String,
        /// Who should have answered.
        expected: PeerId,
        /// Who did.
        found: PeerId,
    },
    /// What answers there does not speak the protocol.
    #[error("{address} is not an Embermesh endpoint: {reason}")]
    NotEmbermesh {
        /// Where.
        address: String,
        /// What it did.
        reason: String,
    },
    /// A private mesh, and one of the two is not part of it.
    #[error(
        "{address} is of a private mesh and did not let this process in ({reason}): set `private.key_file` to the key of that mesh, and have its owner list your peer id if it has a list of members"
    )]
    NotMember {
        /// Where.
        address: String,
        /// What was seen of it.
        reason: String,
    },
    /// No answer in time.
    #[error("{address} did not answer within {after:?}")]
    Timeout {
        /// Where.
        address: String,
        /// The bound of the wait.
        after: Duration,
    },
    /// The mesh could not open a stream.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// Neither road leads there.
    #[error("cannot reach {target}: over TLS, {tls}; over the mesh, {mesh}")]
    NoRoad {
        /// Whom.
        target: String,
        /// What came of the TLS road.
        tls: Box<RoadError>,
        /// What came of the mesh road.
        mesh: Box<RoadError>,
    },
    /// A connection stood and gRPC could not begin on it.
    #[error("gRPC with {address} cannot begin: {reason}")]
    Channel {
        /// Whom.
        address: String,
        /// What tonic said.
        reason: String,
    },
    /// The key cannot be used for TLS.
    #[error("cannot make TLS settings of the key: {0}")]
    Identity(String),
    /// The address to listen on is taken, foreign or forbidden.
    #[error("cannot listen on {address}: {reason}; {cure}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        reason: String,
        /// What to do about it.
        cure: &'static str,
    },
}

impl RoadError {
    /// Whether trying the same again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Mesh(_)
            | Self::Channel { .. } => true,
            Self::NoRoad { tls, mesh, .. } => tls.is_transient() || mesh.is_transient(),
            _ => false,
        }
    }

    /// How much the error says about the target. Of several addresses that failed,
    /// the most telling error is the one to show.
    pub(crate) const fn weight(&self) -> u8 {
        match self {
            Self::WrongPeer { .. } => 5,
            Self::NotMember { .. } => 4,
            Self::NotEmbermesh { .. } => 4,
            Self::InvalidAddress { .. } => 3,
            Self::Refused { .. } => 2,
            Self::Unreachable { .. } => 1,
            _ => 0,
        }
    }

    pub(crate) fn bind(address: SocketAddr, error: &io::Error) -> Self {
        let cure = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "stop what uses the port, or choose another (0 takes a free one)"
            }
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            io::ErrorKind::AddrNotAvailable => "choose an address of this machine",
            _ => "choose another address",
        };
        Self::Bind {
            address,
            reason: error.to_string(),
            cure,
        }
    }
}
