//! What becomes of a message: it takes its time, comes twice, or not at all.

use std::time::Duration;

use rand::Rng;

use crate::{
    World,
    happening::{Happening, Place},
    world::{DELAY_MS, PeerIndex},
};

/// After a partition a connection over which nothing comes is noticed within this: a
/// ping's interval and its timeout.
const NOTICED_MS: std::ops::RangeInclusive<u64> = 10_000..=25_000;

impl World {
    /// Whether a partition lies between two places.
    pub(crate) fn cut(&self, a: Place, b: Place) -> bool {
        self.partition
            .as_ref()
            .is_some_and(|far| far.contains(&a) != far.contains(&b))
    }

    /// Sends a message. False where it is lost, which the sender does not hear.
    pub(crate) fn send(&mut self, from: Place, to: Place, what: Happening) -> bool {
        self.counts.messages += 1;
        if self.cut(from, to) || self.chance(self.faults.loss) {
            self.counts.lost += 1;
            return false;
        }
        if self.chance(self.faults.duplicates) {
            self.counts.duplicated += 1;
            let delay = self.delay();
            self.schedule(delay, what.clone());
        }
        let delay = self.delay();
        self.schedule(delay, what);
        true
    }

    /// How long a message takes.
    pub(crate) fn delay(&mut self) -> Duration {
        let usual = self.rng.random_range(DELAY_MS);
        let late = if self.chance(self.faults.late) {
            self.rng.random_range(0..=self.faults.late_ms)
        } else {
            0
        };
        Duration::from_millis(usual + late)
    }

    /// Something that happens with this probability; none at all takes no randomness.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }

    /// The network falls in two: some nodes and perhaps the client are on the far side
    /// of the index. One of those to join through is on each side.
    pub(crate) fn part(&mut self) {
        let mut far = std::collections::BTreeSet::new();
        for peer in 0..self.peers.len() {
            let over_there = match peer {
                0 => false,
                1 => true,
                _ => self.rng.random_bool(0.5),
            };
            if over_there {
                far.insert(Place::Node(peer));
            }
        }
        if self.rng.random_bool(0.5) {
            far.insert(Place::Client);
        }
        self.partition = Some(far);
        let pairs: Vec<(PeerIndex, PeerIndex)> = self
            .peers
            .iter()
            .enumerate()
            .flat_map(|(a, peer)| peer.neighbours.iter().map(move |b| (a, *b)))
            .filter(|(a, b)| a < b && self.cut(Place::Node(*a), Place::Node(*b)))
            .collect();
        for (a, b) in pairs {
            let noticed = self.rng.random_range(NOTICED_MS);
            self.schedule(Duration::from_millis(noticed), Happening::LinkLost(a, b));
        }
    }

    /// The network is one again.
    pub(crate) fn heal(&mut self) {
        self.partition = None;
        self.healed_at = Some(self.now);
    }
}
