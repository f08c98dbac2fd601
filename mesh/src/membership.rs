//! Who may take part in a mesh that is not for everybody.
//!
//! Two gates, each of which can stand alone. Both close before anything else is read:
//!
//! - The **network key**, 32 bytes that all members share. On the mesh it encrypts every
//!   TCP connection below the handshake (libp2p's private networks, specs/pnet), so that
//!   to whoever lacks it there is not even a handshake to talk about. On the TLS road both
//!   ends prove it to each other after the handshake; see `road::membership`. QUIC has no
//!   such layer: a mesh with a key goes over TCP.
//! - The **list of members**: peer ids, which every handshake proves.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use embermesh_crypto::ids::PeerId;
use libp2p::pnet::PreSharedKey;
use rand::{TryRngCore as _, rngs::OsRng};

/// Members on one list.
pub const MAX_MEMBERS: usize = 65_536;
/// What the key of the proofs on the TLS road is derived for (BLAKE3's `derive_key`).
const ROAD_PROOF: &str = "embermesh 2026-11 network key, proof of it on the TLS road";

/// The secret that all members of a private mesh share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetworkKey(PreSharedKey);

/// Text that is no network key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMembership {
    /// The text has another form.
    #[error(
        "this is no network key ({0}): it has three lines, `/key/swarm/psk/1.0.0/`, `/base16/` and 64 hexadecimal digits, as `embermesh keys network` writes them"
    )]
    Key(String),
    /// The system gives no random bytes.
    #[error("the system gives no randomness: {0}")]
    NoRandomness(String),
    /// The list is too long.
    #[error("{0} members are listed, and {MAX_MEMBERS} may be")]
    TooMany(usize),
}

impl NetworkKey {
    /// A new one from the system's randomness.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn generate() -> Result<Self, InvalidMembership> {
        let mut bytes = [0; 32];
        OsRng
            .try_fill_bytes(&mut bytes)
            .map_err(|error| InvalidMembership::NoRandomness(error.to_string()))?;
        Ok(Self(PreSharedKey::new(bytes)))
    }

    /// The text of its file, which is the one of libp2p and IPFS (`swarm.key`). Secret.
    #[must_use]
    pub fn to_file_text(&self) -> String {
        self.0.to_key_file()
    }

    /// What two members can compare without showing the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string()
    }

    pub(crate) const fn pre_shared(&self) -> PreSharedKey {
        self.0
    }

    /// The key of the proofs on the TLS road.
    pub(crate) fn road_key(&self) -> [u8; 32] {
        blake3::derive_key(ROAD_PROOF, self.to_file_text().as_bytes())
    }
}

impl FromStr for NetworkKey {
    type Err = InvalidMembership;

    fn from_str(text: &str) -> Result<Self, InvalidMembership> {
        let key = PreSharedKey::from_str(text)
            .map_err(|error| InvalidMembership::Key(error.to_string()))?;
        Ok(Self(key))
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NetworkKey")
            .field(&self.fingerprint())
            .finish()
    }
}

/// Who may take part. The default lets everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    key: Option<NetworkKey>,
    members: Option<Arc<BTreeSet<PeerId>>>,
}

impl Membership {
    /// Whoever has the key, if there is one, and is on the list, if there is one.
    ///
    /// # Errors
    /// When the list is longer than [`MAX_MEMBERS`].
    pub fn new(
        key: Option<NetworkKey>,
        members: Option<BTreeSet<PeerId>>,
    ) -> Result<Self, InvalidMembership> {
        match &members {
            Some(list) if list.len() > MAX_MEMBERS => Err(InvalidMembership::TooMany(list.len())),
            _ => Ok(Self {
                key,
                members: members.map(Arc::new),
            }),
        }
    }

    /// Whether the list lets this peer in.
    #[must_use]
    pub fn has(&self, peer: &PeerId) -> bool {
        self.members
            .as_ref()
            .is_none_or(|members| members.contains(peer))
    }

    /// Whether everybody may take part.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.key.is_none() && self.members.is_none()
    }

    pub(crate) const fn key(&self) -> Option<&NetworkKey> {
        self.key.as_ref()
    }

    pub(crate) fn members(&self) -> Option<Arc<BTreeSet<PeerId>>> {
        self.members.clone()
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::keys::Keypair;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_never_shown() {
        let key = NetworkKey::generate().unwrap();
        assert_ne!(key, NetworkKey::generate().unwrap());
        let text = key.to_file_text();
        assert_eq!(text.parse(), Ok(key));
        let secret = text.lines().nth(2).unwrap();
        assert!(!format!("{key:?}").contains(secret));
        assert!(!format!("{:?}", Membership::new(Some(key), None)).contains(secret));
        // Two keys for two uses.
        assert_ne!(key.road_key(), NetworkKey::generate().unwrap().road_key());
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_form_of_one() {
        for text in [
            "",
            "secret",
            "/key/swarm/psk/1.0.0/\n/base64/\nAAAA",
            "/key/swarm/psk/1.0.0/\n/base16/\n00ff",
            &format!("/key/swarm/psk/1.0.0/\n/base16/\n{}", "zz".repeat(32)),
        ] {
            let error = text.parse::<NetworkKey>().unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn a_list_lets_in_whom_it_names() {
        let peer = |seed: u8| Keypair::from_seed(&[seed; 32]).peer_id();
        let listed = Membership::new(None, Some(BTreeSet::from([peer(1)]))).unwrap();
        assert!(listed.has(&peer(1)) && !listed.has(&peer(2)) && !listed.is_open());
        // An empty list is a list.
        let nobody = Membership::new(None, Some(BTreeSet::new())).unwrap();
        assert!(!nobody.has(&peer(1)) && !nobody.is_open());
        assert!(Membership::default().has(&peer(1)) && Membership::default().is_open());
    }
}
