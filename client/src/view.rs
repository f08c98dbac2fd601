//! Jobs and nodes as an index shows them.

use embermesh_crypto::{
    statement::{Advert, Signed, Verified},
    time::UnixMillis,
};
use embermesh_job::{
    address::PeerAddress,
    event::{EventKind, Outcome},
};
use embermesh_proto::v1;

pub use embermesh_job::wire::JobView;

use crate::ClientError;

/// A node, as the index knows it.
#[derive(Debug)]
pub struct NodeView {
    /// Who it is, and where.
    pub address: PeerAddress,
    /// Whether it has been heard of lately.
    pub live: bool,
    /// When it was last heard of.
    pub last_seen: UnixMillis,
    /// What it says of itself, its signature verified here; `None` when there is
    /// none that verifies.
    pub advert: Option<Verified<Advert>>,
    /// Tasks that run there, as far as the index knows.
    pub running: u32,
    /// "registered", or "advert" when it was only heard of.
    pub source: String,
}

/// How a job ended, its receipt, and the node's last word, when it has ended
/// with an event.
#[must_use]
pub fn end_of(job: &JobView) -> Option<(Outcome, &[u8], &str)> {
    match &job.finished.as_ref()?.kind {
        EventKind::Finished {
            outcome,
            receipt,
            message,
        } => Some((*outcome, receipt, message)),
        _ => None,
    }
}

/// Turns a wire type into a domain type.
pub(crate) fn convert<T, U>(who: &str, value: T) -> Result<U, ClientError>
where
    T: TryInto<U>,
    T::Error: std::fmt::Display,
{
    value.try_into().map_err(|error: T::Error| wire(who, error))
}

pub(crate) fn wire(who: &str, reason: impl std::fmt::Display) -> ClientError {
    ClientError::Wire {
        who: who.to_owned(),
        reason: reason.to_string(),
    }
}

/// Something that must be there.
pub(crate) fn present<T>(who: &str, what: &str, value: Option<T>) -> Result<T, ClientError> {
    value.ok_or_else(|| wire(who, format_args!("{what} is missing")))
}

/// A node; an advert that does not verify is as good as none.
pub(crate) fn node(who: &str, node: v1::NodeInfo) -> Result<NodeView, ClientError> {
    let address: PeerAddress = convert(who, present(who, "a node's address", node.address)?)?;
    let advert = Signed::<Advert>::from_bytes(node.advert.to_vec())
        .and_then(|signed| signed.open())
        .ok()
        .filter(|advert| advert.peer == address.peer);
    Ok(NodeView {
        address,
        live: node.live,
        last_seen: UnixMillis(node.last_seen_ms),
        advert,
        running: node.running,
        source: node.source,
    })
}
