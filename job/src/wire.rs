//! Domain types to and from the protobuf types of `embermesh.v1`.
//!
//! What comes off the wire is bounded and parsed here, once, and goes no
//! further: everything inward sees domain types. The generated types are named
//! only by the modules that speak gRPC.

mod ask;
mod charge;
mod event;
mod job;
mod ledger;
mod order;
mod place;
mod reservation;

use embermesh_crypto::{Digest, Epoch, JobId, PeerId};

pub use ask::{Deployment, ResidentModel};
pub use charge::{Charge, Quoted};
pub use job::JobView;
pub use ledger::{account_or, ledger_key, ledger_subject};
pub use reservation::ReservationView;

/// The longest text that is taken from the wire, in bytes, unless its field
/// says otherwise.
pub const MAX_TEXT: usize = 4096;
/// The most items of a list that are taken from the wire.
pub const MAX_ITEMS: usize = 512;

/// A message that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {reason}")]
pub struct InvalidMessage {
    /// The field.
    pub field: &'static str,
    /// Why.
    pub reason: String,
}

impl InvalidMessage {
    /// A message whose `field` is wrong because of `reason`.
    pub fn new(field: &'static str, reason: impl ToString) -> Self {
        Self {
            field,
            reason: reason.to_string(),
        }
    }

    fn missing(field: &'static str) -> Self {
        Self::new(field, "it is missing")
    }
}

/// A peer id from its text.
///
/// # Errors
/// When it is none.
pub fn peer(field: &'static str, text: &str) -> Result<PeerId, InvalidMessage> {
    text.parse()
        .map_err(|error| InvalidMessage::new(field, error))
}

/// A job id from its text.
///
/// # Errors
/// When it is none.
pub fn job_id(text: &str) -> Result<JobId, InvalidMessage> {
    text.parse()
        .map_err(|error| InvalidMessage::new("job_id", error))
}

/// A digest from its bytes.
///
/// # Errors
/// When they are not 32.
pub fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, InvalidMessage> {
    Digest::from_slice(bytes).map_err(|error| InvalidMessage::new(field, error))
}

/// An attempt's number, which starts at 1.
///
/// # Errors
/// When it is 0.
pub fn epoch(number: u64) -> Result<Epoch, InvalidMessage> {
    if number == 0 {
        return Err(InvalidMessage::new("epoch", "attempts are numbered from 1"));
    }
    Ok(Epoch(number))
}

/// Digest bytes for the wire.
fn digest_bytes(digest: &Digest) -> prost::bytes::Bytes {
    prost::bytes::Bytes::copy_from_slice(digest.as_bytes())
}

fn text(field: &'static str, text: String) -> Result<String, InvalidMessage> {
    if text.len() > MAX_TEXT {
        return Err(InvalidMessage::new(
            field,
            format!("longer than {MAX_TEXT} bytes"),
        ));
    }
    Ok(text)
}

fn list<T, U>(
    field: &'static str,
    items: Vec<T>,
    read: impl FnMut(T) -> Result<U, InvalidMessage>,
) -> Result<Vec<U>, InvalidMessage> {
    if items.len() > MAX_ITEMS {
        return Err(InvalidMessage::new(
            field,
            format!("more than {MAX_ITEMS} items"),
        ));
    }
    items.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests;
