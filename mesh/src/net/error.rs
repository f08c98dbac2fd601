//! What can go wrong between this process and the mesh.

use std::time::Duration;

use embermesh_crypto::ids::{NetworkName, PeerId};

use crate::protocol::MAX_ADVERT_BYTES;

/// A refusal or failure of the mesh. Cheap to clone: one failed dial answers
/// everybody who waited for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// Text that is no multiaddr.
    #[error("`{text}` is not a multiaddr ({reason}); one looks like /ip4/192.0.2.1/tcp/4001")]
    InvalidAddress {
        /// What was given.
        text: String,
        /// Why it does not parse.
        reason: String,
    },
    /// A bootstrap address that does not say whose it is.
    #[error("bootstrap address `{0}` names no peer; append /p2p/<peer id> to it")]
    BootstrapWithoutPeer(String),
    /// A name that cannot be a protocol of the mesh.
    #[error("`{0}` is not a protocol name; one looks like rpc/1")]
    InvalidProtocol(String),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {reason}; choose another port, or stop what uses it")]
    Listen {
        /// The multiaddr.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The stack of transports cannot be built.
    #[error("cannot set up the mesh's transports: {0}")]
    Transport(String),
    /// The peer belongs to another network.
    #[error(
        "peer {peer} belongs to network `{theirs}` and this process to `{ours}`; set the same network on both, or use another bootstrap peer"
    )]
    OtherNetwork {
        /// Who it is.
        peer: String,
        /// The network of this process.
        ours: NetworkName,
        /// The network of that peer, or what it says instead of one.
        theirs: String,
    },
    /// No connection could be made.
    #[error("cannot reach {peer}: {reason}")]
    Unreachable {
        /// The peer id, or the address where none is known.
        peer: String,
        /// What was tried and what came of it.
        reason: String,
    },
    /// Nothing says where the peer is.
    #[error("no address of peer {0} is known; is it running, and in this network?")]
    NoAddress(PeerId),
    /// The peer is connected and does not speak the protocol.
    #[error("peer {peer} does not serve {protocol}; it may run another version or role")]
    Unsupported {
        /// Who it is.
        peer: PeerId,
        /// The whole protocol name.
        protocol: String,
    },
    /// A stream broke while it was opened.
    #[error("cannot open a stream to {peer}: {reason}")]
    Stream {
        /// To whom.
        peer: PeerId,
        /// What broke.
        reason: String,
    },
    /// A wait ended without an answer.
    #[error("{what} took longer than {after:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The bound of the wait.
        after: Duration,
    },
    /// Somebody in this process accepts that protocol already.
    #[error("streams of {0} are accepted already in this process")]
    AlreadyAccepting(String),
    /// The own advert is too long.
    #[error(
        "the advert is {bytes} bytes and may be {MAX_ADVERT_BYTES} at most; list fewer addresses or devices, or shorten their names"
    )]
    AdvertTooLarge {
        /// Its size once signed.
        bytes: usize,
    },
    /// The own advert cannot be signed.
    #[error("the advert cannot be signed: {0}")]
    InvalidAdvert(String),
    /// A bound of this process is reached.
    #[error("the mesh is busy: {0}")]
    Busy(&'static str),
    /// The mesh of this process has been shut down.
    #[error("the mesh is shut down")]
    Closed,
}
