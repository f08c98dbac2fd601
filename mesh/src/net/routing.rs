//! Who comes into Kademlia's routing table, and who is taken out of it.

use std::time::{Duration, Instant};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    kad::{Behaviour, K_VALUE},
    swarm::DialError,
};

use super::{actor::Actor, providers::ProviderStore};

/// How often the oldest peer of a full bucket is dialled, because another could have its
/// place. libp2p dials one for every peer that comes and finds its bucket full. Where that
/// one answers, the same happens on its side: in a mesh larger than a bucket everybody would
/// dial on and on until all of them are connected with all.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// With as many peers in the table (libp2p, too, seeks no more by itself then), the buckets that
/// a bootstrap has not come to are left as they are. It begins with the peers nearest to the own
/// id, and goes on with a lookup in every farther bucket: each visits as many peers again, so
/// that a joiner would dial most of a mesh of a thousand. Far buckets fill by themselves, since
/// any peer of half of the mesh fits.
const WELL_FILLED: usize = K_VALUE.get();

/// When the next bucket may be looked over.
#[derive(Debug, Default)]
pub(crate) struct BucketChecks(Option<Instant>);

impl BucketChecks {
    fn is_due(&mut self, now: Instant) -> bool {
        if self.0.is_some_and(|next| now < next) {
            return false;
        }
        self.0 = Some(now + CHECK_INTERVAL);
        true
    }
}

impl Actor {
    /// Lets Kademlia know a peer that serves it.
    pub(crate) fn route(
        &mut self,
        peer: PeerId,
        protocols: &[StreamProtocol],
        addresses: &[Multiaddr],
    ) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let serves = protocols
            .iter()
            .any(|protocol| kad.protocol_names().contains(protocol));
        if !serves {
            return;
        }
        if finds_no_room(kad, peer) && !self.bucket_checks.is_due(Instant::now()) {
            return;
        }
        for address in addresses {
            kad.add_address(&peer, address.clone());
        }
    }

    /// Has Kademlia forget a peer that does not answer. Left alone it names it to others for
    /// as long as nobody else wants the place.
    pub(crate) fn unroute(&mut self, peer: &PeerId, error: &DialError) {
        // Of a process that reaches others; else it may be itself that is cut off.
        if matches!(error, DialError::Transport(_)) && self.is_settled() {
            self.swarm.behaviour_mut().kad.remove_peer(peer);
        }
    }

    /// Has Kademlia forget a peer whose advert is over, unless it is there.
    pub(crate) fn unroute_absent(&mut self, peer: &PeerId) {
        if !self.neighbours.contains_key(peer) {
            self.swarm.behaviour_mut().kad.remove_peer(peer);
        }
    }
}

/// Whether there are peers enough to begin any lookup with.
pub(super) fn is_well_filled(kad: &mut Behaviour<ProviderStore>) -> bool {
    let entries = kad.kbuckets().map(|bucket| bucket.num_entries());
    entries.sum::<usize>() >= WELL_FILLED
}

/// Whether the bucket of a peer is full of others.
fn finds_no_room(kad: &mut Behaviour<ProviderStore>, peer: PeerId) -> bool {
    kad.kbucket(peer).is_some_and(|bucket| {
        bucket.num_entries() >= K_VALUE.get()
            && bucket
                .iter()
                .all(|entry| entry.node.key.preimage() != &peer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_buckets_are_looked_over_once_a_minute() {
        let mut checks = BucketChecks::default();
        let start = Instant::now();
        assert!(checks.is_due(start));
        assert!(!checks.is_due(start + CHECK_INTERVAL / 2));
        assert!(checks.is_due(start + CHECK_INTERVAL));
        assert!(!checks.is_due(start + CHECK_INTERVAL));
    }
}
