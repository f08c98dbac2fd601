//! The one form of a proof: deterministic CBOR, and the same as text for messages that
//! carry texts (base64url without padding).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{MAX_PROOF, Proof};

/// The version of the form that is written and read here.
pub const VERSION: u8 = 1;

/// Bytes or a text that are no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    /// Larger than a proof may be.
    #[error("the proof is larger than {MAX_PROOF} bytes")]
    TooLarge,
    /// Not base64url.
    #[error("the text of the proof is not base64url without padding")]
    Text,
    /// Not of this form.
    #[error("the proof cannot be read: {0}")]
    Malformed(String),
    /// Readable, but not in its one form.
    #[error("the proof is not in its canonical form")]
    NotCanonical,
}

impl Proof {
    /// Its bytes.
    ///
    /// # Errors
    /// [`NoProof::TooLarge`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, NoProof> {
        // Writing into memory does not fail.
        let bytes =
            minicbor::to_vec(self).map_err(|error| NoProof::Malformed(error.to_string()))?;
        if bytes.len() > MAX_PROOF {
            return Err(NoProof::TooLarge);
        }
        Ok(bytes)
    }

    /// The proof in some bytes.
    ///
    /// # Errors
    /// [`NoProof`], also when encoding what was read gives other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoProof> {
        if bytes.len() > MAX_PROOF {
            return Err(NoProof::TooLarge);
        }
        let proof: Self =
            minicbor::decode(bytes).map_err(|error| NoProof::Malformed(error.to_string()))?;
        if proof.to_bytes()? != bytes {
            return Err(NoProof::NotCanonical);
        }
        Ok(proof)
    }

    /// The same as text.
    ///
    /// # Errors
    /// [`NoProof::TooLarge`].
    pub fn to_text(&self) -> Result<String, NoProof> {
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.to_bytes()?))
    }

    /// The proof in a text.
    ///
    /// # Errors
    /// [`NoProof`].
    pub fn from_text(text: &str) -> Result<Self, NoProof> {
        // Four characters for three bytes.
        if text.len() > MAX_PROOF / 3 * 4 + 4 {
            return Err(NoProof::TooLarge);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| NoProof::Text)?;
        Self::from_bytes(&bytes)
    }
}
