//! Peers that were seen before: a file of addresses, so that a client which was told
//! once where the mesh is finds it again. What it says is a hint: who answers there
//! proves its key.

use std::path::Path;

use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

use crate::{
    ClientError,
    bounds::{MAX_ADDRESSES, MAX_SEEN},
    files::{bounded, make_private, write_whole},
};

/// Bytes of the file.
const MAX_FILE: u64 = 256 * 1024;

/// A peer that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Who.
    pub peer: PeerId,
    /// In which network.
    pub network: NetworkName,
    /// Multiaddrs, without the peer.
    pub addresses: Vec<String>,
    /// When.
    pub at: UnixMillis,
}

impl Seen {
    /// Multiaddrs to join the mesh through.
    pub fn bootstrap(&self) -> impl Iterator<Item = String> {
        let named = |address: &String| format!("{address}/p2p/{}", self.peer);
        self.addresses.iter().map(named)
    }
}

/// The peers of a network in the file, those that were seen last first. A file that is
/// not there, or damaged, has none: it is written anew.
#[must_use]
pub fn load(path: &Path, network: &NetworkName) -> Vec<Seen> {
    let read = bounded(path, MAX_FILE);
    let seen: Vec<Seen> = read
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let of_network = seen.into_iter().filter(|seen| seen.network == *network);
    of_network.take(MAX_SEEN).collect()
}

/// Adds what was seen now to the file. Of too many, those that were seen longest ago
/// are forgotten.
///
/// # Errors
/// When it cannot be written.
pub fn keep(path: &Path, now: Vec<Seen>) -> Result<(), ClientError> {
    let before: Vec<Seen> = bounded(path, MAX_FILE)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let bytes = serde_json::to_vec(&merged(before, now)).map_err(std::io::Error::other);
    let folder = path.parent().map_or(Ok(()), make_private);
    let written = folder
        .and(bytes)
        .and_then(|bytes| write_whole(path, &bytes));
    written.map_err(|source| ClientError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn merged(before: Vec<Seen>, now: Vec<Seen>) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for mut seen in now.into_iter().chain(before) {
        let known = |other: &Seen| other.peer == seen.peer && other.network == seen.network;
        seen.addresses.truncate(MAX_ADDRESSES);
        if !seen.addresses.is_empty() && !all.iter().any(known) {
            all.push(seen);
        }
    }
    all.sort_by_key(|seen| std::cmp::Reverse(seen.at));
    all.truncate(MAX_SEEN);
    all
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    fn seen(number: u16, at: u64) -> Seen {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        Seen {
            peer: Keypair::from_seed(&seed).peer_id(),
            network: NetworkName::default(),
            addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
            at: UnixMillis(at),
        }
    }

    #[test]
    fn a_peer_is_remembered_by_its_newest_addresses_and_the_file_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user/peers.json");
        let network = NetworkName::default();
        assert_eq!(load(&path, &network), []);
        keep(&path, vec![seen(1, 1), seen(2, 2)]).unwrap();
        let mut moved = seen(1, 3);
        moved.addresses = vec!["/ip4/192.0.2.9/tcp/1".to_owned(); MAX_ADDRESSES + 1];
        keep(&path, vec![moved.clone()]).unwrap();
        moved.addresses.truncate(MAX_ADDRESSES);
        assert_eq!(load(&path, &network), [moved.clone(), seen(2, 2)]);
        let bootstrap: Vec<String> = seen(2, 2).bootstrap().collect();
        assert!(bootstrap[0].ends_with(&format!("/p2p/{}", seen(2, 2).peer)));
        let many = (10..).map(|number| seen(number, u64::from(number)));
        keep(&path, many.take(MAX_SEEN).collect()).unwrap();
        let known = load(&path, &network);
        assert_eq!(known.len(), MAX_SEEN);
        assert!(!known.contains(&moved));
        // Those of another network are not of this one.
        let other: NetworkName = "elsewhere".parse().unwrap();
        assert_eq!(load(&path, &other), []);
    }

    #[test]
    fn a_damaged_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        std::fs::write(&path, b"[{").unwrap();
        assert_eq!(load(&path, &NetworkName::default()), []);
        keep(&path, vec![seen(1, 1)]).unwrap();
        assert_eq!(load(&path, &NetworkName::default()), [seen(1, 1)]);
    }
}
