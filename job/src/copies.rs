//! Who keeps copies of a blob: decided by rendezvous hashing over the adverts, so that
//! whoever knows the same adverts finds the same few without asking anybody.

use std::cmp::Reverse;

use embermesh_crypto::{
    Digest, PeerId,
    statement::{Advert, Role},
};

/// The nodes that could keep a blob, the first choice first: the highest hash of blob
/// and peer wins. `but` is whoever has it already.
#[must_use]
pub fn rank<'a>(
    blob: &Digest,
    adverts: impl Iterator<Item = &'a Advert>,
    but: PeerId,
) -> Vec<PeerId> {
    let mut peers: Vec<PeerId> = adverts
        .filter(|advert| advert.role == Role::Node && !advert.draining && advert.peer != but)
        .map(|advert| advert.peer)
        .collect();
    peers.sort_by_cached_key(|peer| {
        let mut hasher = Digest::hasher();
        hasher.update(blob.as_bytes()).update(peer.as_bytes());
        Reverse(*hasher.finalize().as_bytes())
    });
    peers
}
