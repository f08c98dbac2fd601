//! The names of things: peers, jobs, tasks, attempts, tokens, networks.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    digest::{hex, unhex},
    time::{UnixMillis, cbor_as_u64},
};

/// The identity multihash and protobuf framing that libp2p puts before an
/// ed25519 public key (libp2p peer-id specification): identity code, length
/// 36, key type 1, key length 32.
const MULTIHASH_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A peer: an ed25519 public key that is canonical and not of small order.
/// Its text form is the libp2p peer id, base58 (`12D3KooW…`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

/// Bytes or text that name no peer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPeerId {
    /// Not base58, or not an ed25519 peer id.
    #[error("not a peer id: expected the text form of an ed25519 key, such as 12D3KooW…")]
    Text,
    /// Not a point of the curve, or not encoded canonically.
    #[error("not an ed25519 public key")]
    Key,
    /// A point of small order, under which everything verifies.
    #[error("a weak ed25519 public key (small order)")]
    Weak,
}

/// A signature that does not verify.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl PeerId {
    /// The peer with this public key.
    ///
    /// # Errors
    /// When the bytes are no canonical point, or one of small order.
    pub fn from_public_key(bytes: &[u8; 32]) -> Result<Self, InvalidPeerId> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidPeerId::Key)?;
        if key.is_weak() {
            return Err(InvalidPeerId::Weak);
        }
        // Decompression accepts encodings of y above the field's prime.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(InvalidPeerId::Key);
        }
        Ok(Self(*bytes))
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The peer id's binary form, as libp2p uses it.
    #[must_use]
    pub fn to_multihash(&self) -> [u8; 38] {
        let mut out = [0; 38];
        out[..6].copy_from_slice(&MULTIHASH_PREFIX);
        out[6..].copy_from_slice(&self.0);
        out
    }

    /// The peer whose binary form this is.
    ///
    /// # Errors
    /// As [`PeerId::from_public_key`], and when it is of another key type.
    pub fn from_multihash(bytes: &[u8]) -> Result<Self, InvalidPeerId> {
        let key = bytes
            .strip_prefix(&MULTIHASH_PREFIX)
            .and_then(|key| <&[u8; 32]>::try_from(key).ok())
            .ok_or(InvalidPeerId::Text)?;
        Self::from_public_key(key)
    }

    /// The last eight characters of the text form, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_owned()
    }

    /// Checks a signature of this peer over exactly `message`, strictly:
    /// canonical `S`, no small-order `R` or key, no cofactor.
    ///
    /// # Errors
    /// [`BadSignature`] when it does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
            .map_err(|_| BadSignature)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_multihash()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId(…{})", self.short())
    }
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 38];
        match bs58::decode(text).onto(&mut bytes) {
            Ok(38) => Self::from_multihash(&bytes),
            _ => Err(InvalidPeerId::Text),
        }
    }
}

/// A job: a UUID, version 7 where we make it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId([u8; 16]);

/// Text or bytes that are not an id of this kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not {what}: expected {form}")]
pub struct InvalidId {
    what: &'static str,
    form: &'static str,
}

const NOT_A_JOB_ID: InvalidId = InvalidId {
    what: "a job id",
    form: "a UUID such as 01936e0a-5f2b-7c3d-8e4f-5a6b7c8d9e0f",
};

impl JobId {
    /// A UUID of version 7 (RFC 9562): ordered by time, unique by `random`.
    #[must_use]
    pub fn v7(now: UnixMillis, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&now.0.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(bytes)
    }

    /// The job with these bytes.
    ///
    /// # Errors
    /// When they are all zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, InvalidId> {
        if bytes == [0; 16] {
            return Err(NOT_A_JOB_ID);
        }
        Ok(Self(bytes))
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = hex(&self.0);
        write!(
            f,
            "{}-{}-{}-{}-{}",
            &text[..8],
            &text[8..12],
            &text[12..16],
            &text[16..20],
            &text[20..]
        )
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl FromStr for JobId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = digits.iter().map(|part| part.len()).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return Err(NOT_A_JOB_ID);
        }
        unhex::<16>(&digits.concat())
            .ok_or(NOT_A_JOB_ID)
            .and_then(Self::from_bytes)
    }
}

/// One token, named by 16 random bytes; its text form is 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 16]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unhex(text).map(Self).ok_or(InvalidId {
            what: "a token id",
            form: "32 lowercase hex digits",
        })
    }
}

/// A task's place in its job's plan, from 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TaskIndex(pub u32);

impl fmt::Display for TaskIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of an attempt: it rises with each assignment of a task, and
/// fences off whoever still works under an older one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The first attempt.
    pub const FIRST: Self = Self(1);

    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The longest network name, in characters.
pub const MAX_NETWORK_NAME: usize = 64;

/// The name of a mesh: nodes of different names do not speak to each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName(String);

impl NetworkName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for NetworkName {
    fn default() -> Self {
        Self("embermesh".to_owned())
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NetworkName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_NETWORK_NAME).contains(&text.len())
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                what: "a network name",
                form: "1 to 64 of the characters a-z, 0-9 and -",
            })
        }
    }
}

macro_rules! text_forms {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
text_forms!(PeerId, JobId, TokenId, NetworkName);

macro_rules! cbor_as_bytes {
    ($name:ident, $from:expr) => {
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }
        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?.try_into().map_err(|_| {
                    minicbor::decode::Error::message(concat!("wrong length of ", stringify!($name)))
                })?;
                $from(bytes).map_err(minicbor::decode::Error::message)
            }
        }
    };
}
cbor_as_bytes!(PeerId, |bytes: [u8; 32]| Self::from_public_key(&bytes));
cbor_as_bytes!(JobId, Self::from_bytes);
cbor_as_bytes!(TokenId, |bytes| Ok::<_, &str>(Self(bytes)));
cbor_as_u64!(Epoch);

impl<C> minicbor::Encode<C> for TaskIndex {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u32(self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for TaskIndex {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.u32().map(Self)
    }
}

impl<C> minicbor::Encode<C> for NetworkName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for NetworkName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str()?.parse().map_err(minicbor::decode::Error::message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keypair;

    #[test]
    fn peer_id_has_the_libp2p_text_form() {
        let peer = Keypair::from_seed(&[7; 32]).peer_id();
        let text = peer.to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.parse(), Ok(peer));
        assert_eq!("12D3KooW".parse::<PeerId>(), Err(InvalidPeerId::Text));
        assert_eq!(PeerId::from_multihash(&peer.to_multihash()), Ok(peer));
    }

    #[test]
    fn weak_and_noncanonical_keys_name_no_peer() {
        // The neutral point, and the same point with y above the prime.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(PeerId::from_public_key(&neutral), Err(InvalidPeerId::Weak));
        let mut above = [0xff; 32];
        above[0] = 0xee;
        above[31] = 0x7f;
        assert!(PeerId::from_public_key(&above).is_err());
        // y = 3 + p is canonical for nobody, though y = 3 may be on the curve.
        for low in 0..19u8 {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xed_u8.wrapping_add(low);
            bytes[31] = 0x7f;
            if low < 19 && bytes[0] >= 0xed {
                assert!(PeerId::from_public_key(&bytes).is_err(), "p + {low}");
            }
        }
    }

    #[test]
    fn job_ids_sort_by_time_and_have_one_text() {
        let early = JobId::v7(UnixMillis(1_000), [0xff; 10]);
        let late = JobId::v7(UnixMillis(1_001), [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early.to_string().to_uppercase().parse::<JobId>().is_err());
        assert!(
            "00000000-0000-0000-0000-000000000000"
                .parse::<JobId>()
                .is_err()
        );
        assert!("0".repeat(36).parse::<JobId>().is_err());
    }

    #[test]
    fn network_names_are_plain() {
        assert!("lab-2".parse::<NetworkName>().is_ok());
        for bad in ["", "Lab", "a/b", "é", &"a".repeat(65)] {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad}");
        }
    }
}
