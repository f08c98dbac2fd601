//! The one form of proofs: a file of all proofs of one computation, with the spec
//! that was executed, so that whoever has the job's inputs can verify it with nothing else.
//! Deterministic CBOR.
//!
//! A file begins with a line of its own, by which what is no proof and what was cut off
//! are told apart. As text, for messages that carry texts, it is base64url without
//! padding.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use minicbor::{Decode, Encode};

use super::{Commitment, MAX_GANG, MAX_PROOF, Proof};

/// The version of the form that is written and read here.
pub const VERSION: u8 = 1;
/// How a file of this version begins.
pub const MARK: &[u8] = b"embermesh proof v1\n";
/// How a file of commitments begins.
const COMMITTED: &[u8] = b"embermesh commitments v1\n";
/// The most bytes of one commitment.
const MAX_COMMITMENT: usize = 256;
/// How a file of any version begins.
const ANY_MARK: &[u8] = b"embermesh proof v";

/// A computation that was proven.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Proven {
    /// The canonical JSON of the spec that was executed.
    #[n(0)]
    pub spec: String,
    /// The proofs of all who executed it, by rank.
    #[n(1)]
    pub proofs: Vec<Proof>,
}

/// Bytes or a text that are no file of a proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    /// Larger than a proof may be.
    #[error("it is larger than the {MAX_PROOF} bytes of a proof")]
    TooLarge,
    /// Not base64url.
    #[error("the text is not base64url without padding")]
    Text,
    /// Something else altogether.
    #[error("it is not a proof")]
    NotOne,
    /// Of a version that is not known here.
    #[error("it is a proof of a version that is not known here")]
    Version,
    /// It ends before its end.
    #[error("the proof is cut off: it ends in the middle")]
    Cut,
    /// Not of this form.
    #[error("the proof cannot be read: {0}")]
    Malformed(String),
    /// Readable, but not in its one form.
    #[error("the proof is not in its canonical form: something was added to it or changed")]
    NotCanonical,
    /// Nobody's, or of too many.
    #[error("it has the proofs of {0} members, of 1 to {MAX_GANG}")]
    Members(usize),
}

impl Proven {
    /// Its bytes.
    ///
    /// # Errors
    /// [`NoProof::TooLarge`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, NoProof> {
        let mut bytes = MARK.to_vec();
        // Writing into memory does not fail.
        minicbor::encode(self, &mut bytes)
            .map_err(|error| NoProof::Malformed(error.to_string()))?;
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
        let Some(body) = bytes.strip_prefix(MARK) else {
            return Err(match bytes {
                [] => NoProof::NotOne,
                bytes if MARK.starts_with(bytes) => NoProof::Cut,
                bytes if bytes.starts_with(ANY_MARK) => NoProof::Version,
                _ => NoProof::NotOne,
            });
        };
        let proven: Self = minicbor::decode(body).map_err(|error| {
            if error.is_end_of_input() {
                NoProof::Cut
            } else {
                NoProof::Malformed(error.to_string())
            }
        })?;
        let members = proven.proofs.len();
        if !(1..=MAX_GANG).contains(&members) {
            return Err(NoProof::Members(members));
        }
        if proven.to_bytes()? != bytes {
            return Err(NoProof::NotCanonical);
        }
        Ok(proven)
    }

    /// The proof in a file, which may have it as bytes or as text.
    ///
    /// # Errors
    /// [`NoProof`].
    pub fn from_file(file: &[u8]) -> Result<Self, NoProof> {
        Self::from_bytes(&Self::as_bytes(file)?)
    }

    /// The bytes of a file that has them as bytes or as text.
    ///
    /// # Errors
    /// [`NoProof::TooLarge`] and [`NoProof::Text`].
    pub fn as_bytes(file: &[u8]) -> Result<Cow<'_, [u8]>, NoProof> {
        let text = str::from_utf8(file).unwrap_or_default().trim_ascii();
        // Whole groups of three bytes have characters of their own.
        let groups = ANY_MARK.len() / 3 * 3;
        if text.starts_with(&Self::text(&ANY_MARK[..groups])) {
            return Ok(Self::bytes_of(text)?.into());
        }
        Ok(file.into())
    }

    /// Bytes of a file as text.
    #[must_use]
    pub fn text(bytes: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The bytes of the file that a text is, whether it is a proof or not.
    ///
    /// # Errors
    /// [`NoProof::TooLarge`] and [`NoProof::Text`].
    pub fn bytes_of(text: &str) -> Result<Vec<u8>, NoProof> {
        // Four characters for three bytes.
        if text.len() > MAX_PROOF / 3 * 4 + 4 {
            return Err(NoProof::TooLarge);
        }
        BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| NoProof::Text)
    }
}

/// What members of a gang have committed to, as a file.
///
/// # Errors
/// [`NoProof::Members`].
pub fn commitments(gang: &[Commitment]) -> Result<Vec<u8>, NoProof> {
    if !(1..=MAX_GANG).contains(&gang.len()) {
        return Err(NoProof::Members(gang.len()));
    }
    let mut bytes = COMMITTED.to_vec();
    // Writing into memory does not fail.
    minicbor::encode(gang, &mut bytes).map_err(|error| NoProof::Malformed(error.to_string()))?;
    Ok(bytes)
}

/// The commitments in a file.
///
/// # Errors
/// [`NoProof`], also when encoding what was read gives other bytes.
pub fn committed(bytes: &[u8]) -> Result<Vec<Commitment>, NoProof> {
    if bytes.len() > COMMITTED.len() + MAX_GANG * MAX_COMMITMENT {
        return Err(NoProof::TooLarge);
    }
    let body = bytes.strip_prefix(COMMITTED).ok_or(NoProof::NotOne)?;
    let gang: Vec<Commitment> =
        minicbor::decode(body).map_err(|error| NoProof::Malformed(error.to_string()))?;
    if commitments(&gang)? != bytes {
        return Err(NoProof::NotCanonical);
    }
    Ok(gang)
}
