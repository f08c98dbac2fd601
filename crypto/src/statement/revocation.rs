//! The revocation: tokens that an index takes back.

use minicbor::{Decode, Encode};

use super::Statement;
use crate::{PeerId, TokenId, UnixMillis};

/// The most tokens that one revocation names; beyond it the index raises
/// `min_epoch` instead.
pub const MAX_REVOKED: usize = 1024;

/// Tokens that an index takes back. The highest sequence number holds and
/// replaces all before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// The index.
    #[n(0)]
    pub index: PeerId,
    /// Rises with each revocation of this index.
    #[n(1)]
    pub sequence: u64,
    /// When it was signed.
    #[n(2)]
    pub issued_at: UnixMillis,
    /// Every token with a lower revocation epoch is void.
    #[n(3)]
    pub min_epoch: u64,
    /// Single tokens that are void, ascending.
    #[n(4)]
    pub tokens: Vec<TokenId>,
}

impl Statement for Revocation {
    const DOMAIN: &'static str = "embermesh/revocation/v1";
    const MAX_LEN: usize = 24 * 1024;

    fn signer(&self) -> PeerId {
        self.index
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.tokens.len() > MAX_REVOKED {
            return Err("a revocation names too many tokens");
        }
        if !self.tokens.is_sorted_by(|a, b| a < b) {
            return Err("a revocation names each token once, ascending");
        }
        Ok(())
    }
}
