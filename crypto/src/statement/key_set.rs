//! The key set: the keys under which an index signs assignments.

use minicbor::{Decode, Encode};

use super::Statement;
use crate::{PeerId, UnixMillis};

/// The most keys in one set: the current one and those whose tokens still live.
pub const MAX_KEYS: usize = 16;

/// The keys under which an index signs assignments, signed by the identity of
/// the index. The highest sequence number replaces all before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeySet {
    /// The index.
    #[n(0)]
    pub index: PeerId,
    /// Rises with each set of this index.
    #[n(1)]
    pub sequence: u64,
    /// When it was signed.
    #[n(2)]
    pub issued_at: UnixMillis,
    /// When it must have been asked for again.
    #[n(3)]
    pub expires_at: UnixMillis,
    /// The keys; at least one.
    #[n(4)]
    pub keys: Vec<IssuerKey>,
}

/// One key of an index, and when what it signs may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IssuerKey {
    /// The key.
    #[n(0)]
    pub key: PeerId,
    /// From when.
    #[n(1)]
    pub not_before: UnixMillis,
    /// Until when.
    #[n(2)]
    pub not_after: UnixMillis,
}

impl KeySet {
    /// The key that `issuer` is, when the set lists it and its time is now.
    #[must_use]
    pub fn valid_key(&self, issuer: &PeerId, now: UnixMillis) -> Option<&IssuerKey> {
        self.keys.iter().find(|listed| {
            listed.key == *issuer && listed.not_before <= now && now < listed.not_after
        })
    }
}

impl Statement for KeySet {
    const DOMAIN: &'static str = "embermesh/key-set/v1";
    const MAX_LEN: usize = 4096;

    fn signer(&self) -> PeerId {
        self.index
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.keys.is_empty() || self.keys.len() > MAX_KEYS {
            return Err("a key set has 1 to 16 keys");
        }
        if self.keys.iter().any(|key| key.not_after <= key.not_before) {
            return Err("a key of a key set ends after it begins");
        }
        if self.expires_at <= self.issued_at {
            return Err("a key set expires after it was issued");
        }
        Ok(())
    }
}
