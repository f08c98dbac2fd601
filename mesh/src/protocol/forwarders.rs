//! What peers pass on that is of no use: each may do so now and then, because honest
//! tables differ, and none without end.
//!
//! An ignored advert costs its forwarder no score, and costs this peer two checks of
//! signatures and minutes of memory in gossip's caches. What is bounded here is
//! therefore the rate of it, by whoever passed it on.

use std::{collections::BTreeMap, time::Duration};

use embermesh_crypto::{ids::PeerId, time::UnixMillis};

use super::{
    MAX_ADVERTS,
    bucket::{Bucket, Rate},
};

/// How much of what one peer passes on may be of no use. It is more than one neighbour
/// passes on of a full table's refreshes, so that a process whose own clock is wrong,
/// and which ignores them all, does not take its neighbours for cheats. What gossip
/// remembers of it for six minutes is about a mebibyte for each neighbour.
pub const IGNORED_RATE: Rate = Rate {
    burst: 512,
    every: Duration::from_millis(125),
};
/// How often it is said of one peer that it goes beyond that: it takes a moment until
/// its connection is closed, and what is on its way until then is not news.
pub const DISTRUST_RATE: Rate = Rate {
    burst: 1,
    every: Duration::from_secs(1),
};
/// How many authors that are not in the table one peer may bring into it, by gossip and
/// by its own table together. Keys cost nothing: without this one peer could fill the
/// table with them. Half of a full table at once is more than a young mesh needs from
/// one of its peers, and the other half is for others to fill.
pub const NEWCOMER_RATE: Rate = Rate {
    burst: (MAX_ADVERTS / 2) as u32,
    every: Duration::from_millis(500),
};
/// How many authors that were not in the table this peer passes on: fewer than others take
/// from one peer, or a crowd of keys that besets one peer would have it shunned.
pub const BRINGING_RATE: Rate = Rate {
    burst: NEWCOMER_RATE.burst / 2,
    every: Duration::from_secs(1),
};
/// Forwarders kept track of: above any limit on connections that makes sense.
pub const MAX_FORWARDERS: usize = 4096;

/// What each forwarder may still pass on in vain.
#[derive(Debug, Clone, Default)]
pub struct Forwarders(BTreeMap<PeerId, Forwarder>);

#[derive(Debug, Clone)]
struct Forwarder {
    ignored: Bucket,
    distrust: Bucket,
    newcomers: Bucket,
}

impl Forwarder {
    /// When it owes nothing any more.
    fn full_at(&self) -> UnixMillis {
        self.ignored.full_at().max(self.newcomers.full_at())
    }
}

impl Forwarders {
    /// A peer has passed on what is ignored. True when that is more than is allowed,
    /// and it is time to say so.
    pub fn ignored(&mut self, from: PeerId, now: UnixMillis) -> bool {
        let forwarder = self.of(from, now);
        !forwarder.ignored.take(IGNORED_RATE, now) && forwarder.distrust.take(DISTRUST_RATE, now)
    }

    /// A peer brings the first advert of an author. False when it has brought more of
    /// them than one may.
    pub fn may_introduce(&mut self, from: PeerId, now: UnixMillis) -> bool {
        self.of(from, now).newcomers.take(NEWCOMER_RATE, now)
    }

    fn of(&mut self, from: PeerId, now: UnixMillis) -> &mut Forwarder {
        if self.0.len() >= MAX_FORWARDERS && !self.0.contains_key(&from) {
            self.make_room(now);
        }
        self.0.entry(from).or_insert_with(|| Forwarder {
            ignored: Bucket::full(now),
            distrust: Bucket::full(now),
            newcomers: Bucket::full(now),
        })
    }

    /// Forgets those that owe nothing. They outlive their connections, so that
    /// dialling again does not fill a bucket.
    pub fn forget_full(&mut self, now: UnixMillis) {
        self.0.retain(|_, forwarder| forwarder.full_at() > now);
    }

    /// Forgets who owes nothing, or else who owes the least: many keys of one owner
    /// must not lead to the distrust of others.
    fn make_room(&mut self, now: UnixMillis) {
        self.forget_full(now);
        if self.0.len() < MAX_FORWARDERS {
            return;
        }
        let least = self
            .0
            .iter()
            .min_by_key(|(_, forwarder)| forwarder.full_at())
            .map(|(peer, _)| *peer);
        if let Some(peer) = least {
            self.0.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::keys::Keypair;

    use super::*;
    use crate::protocol::{after, millis, own};

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    /// Gossip comes from about as many at first hand.
    const NEIGHBOURS: u64 = 6;

    fn peer(number: u16) -> PeerId {
        let mut seed = [9; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        Keypair::from_seed(&seed).peer_id()
    }

    #[test]
    fn the_rate_is_each_forwarders_own_and_is_told_once_a_moment() {
        let mut forwarders = Forwarders::default();
        let told = |forwarders: &mut Forwarders, number, count, now| {
            (0..count)
                .filter(|_| forwarders.ignored(peer(number), now))
                .count()
        };
        assert_eq!(told(&mut forwarders, 1, IGNORED_RATE.burst, NOW), 0);
        assert_eq!(told(&mut forwarders, 1, 500, NOW), 1);
        assert_eq!(told(&mut forwarders, 2, IGNORED_RATE.burst, NOW), 0);
        let later = after(NOW, DISTRUST_RATE.every);
        // Some came back to it, and after those it is too much again.
        let back = millis(DISTRUST_RATE.every) / millis(IGNORED_RATE.every);
        let back = u32::try_from(back).unwrap();
        assert_eq!(told(&mut forwarders, 1, back, later), 0);
        assert_eq!(told(&mut forwarders, 1, 500, later), 1);
    }

    #[test]
    fn a_neighbours_part_of_a_full_tables_refreshes_is_within_the_rate() {
        let refresh = millis(own::REFRESH - own::REFRESH_JITTER);
        let each = refresh / (MAX_ADVERTS as u64 / NEIGHBOURS);
        assert!(millis(IGNORED_RATE.every) <= each);
    }

    #[test]
    fn a_crowd_of_keys_takes_no_memory_and_hurts_nobody_else() {
        let mut forwarders = Forwarders::default();
        let crowd = u16::try_from(MAX_FORWARDERS).unwrap();
        for number in 0..crowd {
            for _ in 0..2 {
                forwarders.ignored(peer(number), NOW);
            }
        }
        assert!(!forwarders.ignored(peer(crowd), NOW));
        assert_eq!(forwarders.0.len(), MAX_FORWARDERS);
        forwarders.forget_full(UnixMillis(NOW.0 + 3_000));
        assert!(forwarders.0.is_empty());
    }
}
