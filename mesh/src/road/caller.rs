//! Who asks, as a handler sees it.

use std::net::SocketAddr;

use embermesh_crypto::ids::PeerId;
use tonic::{Request, Status};

use super::RoadKind;

/// Who is at the other end of a request, and by which road it came. The transport
/// has proven the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The proven peer; `None` on plaintext.
    pub peer: Option<PeerId>,
    /// The road.
    pub road: RoadKind,
    /// The TCP address of the other end, where the road has one.
    pub remote: Option<SocketAddr>,
}

impl Caller {
    /// Who sent a request. A request that did not come by a road has no peer.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().copied().unwrap_or(Self {
            peer: None,
            road: RoadKind::Plain,
            remote: None,
        })
    }

    /// The proven peer of a request.
    ///
    /// # Errors
    /// `unauthenticated` when the request came over plaintext.
    // A Status is what a handler returns, and tonic made it large.
    #[allow(clippy::result_large_err)]
    pub fn peer_of<T>(request: &Request<T>) -> Result<PeerId, Status> {
        Self::of(request).peer.ok_or_else(|| {
            Status::unauthenticated(
                "this call needs a proven key: connect over mutual TLS or the mesh, not plaintext",
            )
        })
    }
}
