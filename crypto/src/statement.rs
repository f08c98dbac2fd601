//! Signed binary statements: adverts, receipts, revocations, key sets, grants.
//!
//! On the wire a statement is a 64-byte Ed25519 signature and then a payload
//! in deterministic CBOR (RFC 8949, section 4.2.1: maps with ascending integer
//! keys, shortest forms). The signature is over `DOMAIN || 0x00 || payload`,
//! with one domain string per kind, so that no signature of one kind verifies
//! as another. A payload is refused unless encoding what was read gives the
//! very same bytes. The signer's key stands inside the payload.

mod account;
mod advert;
mod grant;
mod key_set;
mod receipt;
mod revocation;
mod runtime;

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

pub use account::{ACCOUNT_VERSION, Account};
pub use advert::{
    Advert, DeviceAdvert, DeviceKind, MAX_ADVERT_LIFE, MAX_ADVERT_TEXT, MAX_MODEL_NAME, MAX_MODELS,
    MODEL_DIGEST, ModelAdvert, Role,
};
pub use grant::{Grant, MAX_GRANT_LIFE, MAX_GRANTED_NODES};
pub use key_set::{IssuerKey, KeySet, MAX_KEYS};
pub use receipt::{Outcome, Output, Receipt};
pub use revocation::{MAX_REVOKED, Revocation};
pub use runtime::{Runtime, Runtimes};

use crate::{Keypair, PeerId};

/// What can be stated: it has a domain of its own, a signer, a largest size,
/// and rules that hold without knowing anything else.
pub trait Statement:
    minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + Clone + fmt::Debug
{
    /// The domain string, unique to this kind and its version.
    const DOMAIN: &'static str;
    /// The largest statement, signature included, in bytes.
    const MAX_LEN: usize;

    /// The key that must have signed it.
    fn signer(&self) -> PeerId;

    /// The rules of this kind: bounds, orders, spans of time.
    ///
    /// # Errors
    /// A sentence that says which rule is broken.
    fn check(&self) -> Result<(), &'static str>;
}

/// Why a statement was not made or not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Larger than its kind may be, or smaller than a signature.
    #[error("the statement has {len} bytes, of {max} allowed")]
    Size {
        /// What it has.
        len: usize,
        /// What its kind may have.
        max: usize,
    },
    /// Not CBOR, or not of this kind.
    #[error("the statement cannot be read: {0}")]
    Malformed(String),
    /// Readable, but not in the one canonical form.
    #[error("the statement is not in canonical form")]
    NotCanonical,
    /// A rule of its kind is broken.
    #[error("the statement breaks a rule: {0}")]
    Invalid(&'static str),
    /// The signature is not the signer's.
    #[error("the statement's signature does not verify")]
    BadSignature,
    /// Somebody asked to sign for somebody else.
    #[error("the statement names another signer than the key at hand")]
    WrongSigner,
}

/// A statement as bytes that nobody has verified yet.
pub struct Signed<T> {
    bytes: Arc<[u8]>,
    kind: PhantomData<fn() -> T>,
}

/// A statement whose signature and form have been verified. There is no other
/// way to one.
#[derive(Clone)]
pub struct Verified<T> {
    content: T,
    bytes: Arc<[u8]>,
}

const SIGNATURE_LEN: usize = 64;

/// Signs a statement.
///
/// # Errors
/// When it breaks a rule of its kind, is too large, or names another signer.
pub fn sign<T: Statement>(content: &T, keypair: &Keypair) -> Result<Signed<T>, StatementError> {
    if content.signer() != keypair.peer_id() {
        return Err(StatementError::WrongSigner);
    }
    content.check().map_err(StatementError::Invalid)?;
    let payload = encode(content)?;
    let mut bytes = keypair.sign(&signed_message::<T>(&payload)).to_vec();
    bytes.extend_from_slice(&payload);
    Signed::from_bytes(bytes)
}

impl<T: Statement> Signed<T> {
    /// Takes bytes from the wire; only their size is looked at.
    ///
    /// # Errors
    /// [`StatementError::Size`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, StatementError> {
        let bytes: Vec<u8> = bytes.into();
        if bytes.len() <= SIGNATURE_LEN || bytes.len() > T::MAX_LEN {
            return Err(StatementError::Size {
                len: bytes.len(),
                max: T::MAX_LEN,
            });
        }
        Ok(Self {
            bytes: bytes.into(),
            kind: PhantomData,
        })
    }

    /// The exact bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Verifies form, rules and signature, and yields the content.
    ///
    /// # Errors
    /// The first of them that fails.
    pub fn open(&self) -> Result<Verified<T>, StatementError> {
        let (signature, payload) = self
            .bytes
            .split_first_chunk::<SIGNATURE_LEN>()
            .ok_or(StatementError::BadSignature)?;
        // The signer's key is inside the payload, so it is read before it can
        // be believed; nothing but the key is used before the signature holds.
        let content: T = minicbor::decode(payload)
            .map_err(|error| StatementError::Malformed(error.to_string()))?;
        content
            .signer()
            .verify(&signed_message::<T>(payload), signature)
            .map_err(|_| StatementError::BadSignature)?;
        if encode(&content)? != payload {
            return Err(StatementError::NotCanonical);
        }
        content.check().map_err(StatementError::Invalid)?;
        Ok(Verified {
            content,
            bytes: Arc::clone(&self.bytes),
        })
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self {
            bytes: Arc::clone(&self.bytes),
            kind: PhantomData,
        }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Signed<T> {}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes, unverified)", self.bytes.len())
    }
}

impl<T> Verified<T> {
    /// The exact bytes that were verified.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same statement, to be passed on.
    #[must_use]
    pub fn to_signed(&self) -> Signed<T> {
        Signed {
            bytes: Arc::clone(&self.bytes),
            kind: PhantomData,
        }
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.content
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verified").field(&self.content).finish()
    }
}

fn encode<T: Statement>(content: &T) -> Result<Vec<u8>, StatementError> {
    minicbor::to_vec(content).map_err(|error| StatementError::Malformed(error.to_string()))
}

fn signed_message<T: Statement>(payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(T::DOMAIN.len() + 1 + payload.len());
    message.extend_from_slice(T::DOMAIN.as_bytes());
    message.push(0);
    message.extend_from_slice(payload);
    message
}

/// Whether every text is at most `max` bytes.
fn short<'a>(texts: impl IntoIterator<Item = &'a String>, max: usize) -> bool {
    texts.into_iter().all(|text| text.len() <= max)
}

#[cfg(test)]
mod tests;
