//! Whom to reach, where, by which road, for what.

use std::fmt;

use embermesh_crypto::ids::PeerId;
use embermesh_job::address::PeerAddress;

/// A peer to reach and where it may be found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Who it must be. `None` takes whoever proves any key, over TLS only: for the
    /// first contact with an index of which nothing but an address is known.
    pub peer: Option<PeerId>,
    /// `host:port` of the TLS road, the likeliest first.
    pub tls: Vec<String>,
    /// Multiaddrs of the mesh road. What the mesh knows by itself is tried too.
    pub mesh: Vec<String>,
}

impl Target {
    /// A peer of whom only the id is known: the mesh may know where it is.
    #[must_use]
    pub fn peer(peer: PeerId) -> Self {
        Self {
            peer: Some(peer),
            ..Self::default()
        }
    }

    /// Whoever answers at `host:port`.
    #[must_use]
    pub fn address(address: impl Into<String>) -> Self {
        Self {
            tls: vec![address.into()],
            ..Self::default()
        }
    }
}

impl From<&PeerAddress> for Target {
    fn from(address: &PeerAddress) -> Self {
        Self {
            peer: Some(address.peer),
            tls: address.tls.clone(),
            mesh: address.mesh.clone(),
        }
    }
}

impl From<PeerAddress> for Target {
    fn from(address: PeerAddress) -> Self {
        Self {
            peer: Some(address.peer),
            tls: address.tls,
            mesh: address.mesh,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.peer, self.tls.first()) {
            (Some(peer), _) => peer.fmt(f),
            (None, Some(address)) => f.write_str(address),
            (None, None) => f.write_str("a peer without id or address"),
        }
    }
}

/// Which roads may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoadChoice {
    /// TLS with a short head start, the mesh beside it: the first that stands.
    #[default]
    Auto,
    /// TLS only.
    Tls,
    /// The mesh only.
    Mesh,
}

/// Which road a connection goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoadKind {
    /// Mutual TLS straight to the peer.
    Tls,
    /// A stream of the mesh.
    Mesh,
    /// Plaintext TCP: nobody's identity is proven.
    Plain,
}

impl RoadKind {
    /// A stable word for logs and displays.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Mesh => "mesh",
            Self::Plain => "plain",
        }
    }
}

impl fmt::Display for RoadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 for tonic.
    Grpc,
    /// The framing of bulk blobs.
    Blob,
}

impl Protocol {
    /// Its name in TLS's ALPN.
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Grpc => b"h2",
            Self::Blob => b"embermesh-blob/1",
        }
    }

    /// Its short name in the mesh.
    #[must_use]
    pub const fn mesh_name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc/1",
            Self::Blob => "blob/1",
        }
    }
}
