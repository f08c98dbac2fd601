//! What waits for a moment of random length before it goes into gossip, so that it is not
//! sent by everybody at once: whoever goes first saves the others the sending.
//!
//! **Adverts that are passed on.** Gossip passes a message on to every neighbour but those
//! from which it has come. Passed on at once, two neighbours that heard it at about the same
//! time send it to each other, and a peer with six neighbours gets it six times. After a
//! pause the one has sent it before the other would, or has said that it needs no copy: a
//! link carries a message once at most. Nobody needs an advert within a tenth of a second.
//!
//! **Adverts that are renewed.** Most say nothing but that the one before still holds, and it
//! holds for a minute and more. They are passed on together every two seconds: what a message
//! costs is for the most part that a connection and its two ends wake up for it. By then gossip
//! names them in no list of ids any more (see [`super::gossip`]), so that nobody asks for one
//! that is on its way.
//!
//! **Adverts that are repeated.** What a table exchange has brought late (see
//! [`crate::protocol`]) is known to many at the same time, after a cut has healed to half of
//! the mesh. The first to repeat it reaches everybody, and gossip drops the rest.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use libp2p::{PeerId, gossipsub::MessageId};
use rand::Rng;

use super::gossip;
use crate::protocol::GOSSIP_TIME;

/// The longest pause of an advert that is passed on. Above the time that most messages take
/// from one peer to another: a shorter one saves little.
const LONGEST_OF_GOSSIP: Duration = Duration::from_millis(150);
/// Adverts that wait to be passed on. In a flood what is beyond it goes without a pause.
const MAX_GOSSIP: usize = 1024;
/// Renewals leave together this often.
const ROUND_OF_RENEWALS: Duration = Duration::from_secs(2);
/// A renewal waits at least this long: until gossip's lists of ids leave it out. It must be
/// gone while gossip still keeps its bytes.
const SHORTEST_OF_RENEWALS: Duration = gossip::LISTED_FOR;
const _: () = assert!(
    SHORTEST_OF_RENEWALS.as_millis() + ROUND_OF_RENEWALS.as_millis() < gossip::KEPT_FOR.as_millis()
);
/// By how much the pauses of those who repeat an advert differ, once gossip has had its time:
/// many times what gossip needs to reach everybody, so that few repeat the same.
const SPAN_OF_REPEATS: Duration = Duration::from_secs(8);
/// Adverts that wait to be repeated. What is beyond it is left to others, and to later
/// exchanges.
const MAX_REPEATS: usize = crate::protocol::MAX_ADVERTS;

/// An advert that was judged good, by its id, and the neighbour that passed it on.
pub(crate) type Judged = (MessageId, PeerId);

/// Things that wait, each for a while of its own.
#[derive(Debug)]
pub(crate) struct Pauses<T> {
    shortest: Duration,
    longest: Duration,
    /// Where they leave together: how often, counted from a moment.
    rounds: Option<(Duration, Instant)>,
    bound: usize,
    waiting: BTreeMap<(Instant, u64), T>,
    count: u64,
}

impl Pauses<Judged> {
    /// For adverts that are passed on.
    pub(crate) fn of_gossip() -> Self {
        Self::new(Duration::ZERO..LONGEST_OF_GOSSIP, MAX_GOSSIP)
    }

    /// For adverts that are renewed.
    pub(crate) fn of_renewals(now: Instant) -> Self {
        let mut pauses = Self::new(SHORTEST_OF_RENEWALS..SHORTEST_OF_RENEWALS, MAX_GOSSIP);
        pauses.rounds = Some((ROUND_OF_RENEWALS, now));
        pauses
    }
}

impl Pauses<Vec<u8>> {
    /// For signed adverts that are repeated.
    pub(crate) fn of_repeats() -> Self {
        Self::new(GOSSIP_TIME..GOSSIP_TIME + SPAN_OF_REPEATS, MAX_REPEATS)
    }
}

impl<T> Pauses<T> {
    fn new(span: Range<Duration>, bound: usize) -> Self {
        Self {
            shortest: span.start,
            longest: span.end,
            rounds: None,
            bound,
            waiting: BTreeMap::new(),
            count: 0,
        }
    }

    /// Takes one in; gives it back when there is no room for it.
    pub(crate) fn add(&mut self, thing: T, now: Instant, rng: &mut impl Rng) -> Option<T> {
        if self.waiting.len() >= self.bound {
            return Some(thing);
        }
        let span = self.longest.saturating_sub(self.shortest);
        let due = now + self.shortest + span.mul_f64(rng.random_range(0.0..1.0));
        let due = self.rounds.map_or(due, |(round, since)| {
            let rounds = due.saturating_duration_since(since).div_duration_f64(round);
            since + round.mul_f64(rounds.ceil())
        });
        self.count = self.count.wrapping_add(1);
        self.waiting.insert((due, self.count), thing);
        None
    }

    /// When the first has waited enough.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// One that has waited enough.
    pub(crate) fn due(&mut self, now: Instant) -> Option<T> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(1);

    #[test]
    fn each_waits_for_a_while_of_its_own_and_none_is_lost() {
        let rng = &mut StdRng::seed_from_u64(1);
        let now = Instant::now();
        let mut pauses = Pauses::new(Duration::ZERO..LONGEST, 100);
        for number in 0..100 {
            assert_eq!(pauses.add(number, now, rng), None);
        }
        let half = now + LONGEST / 2;
        let early = std::iter::from_fn(|| pauses.due(half)).count();
        assert!(
            (20..80).contains(&early),
            "{early} of 100 waited less than half"
        );
        assert!(pauses.next().is_some_and(|next| next > half));
        let late = std::iter::from_fn(|| pauses.due(now + LONGEST)).count();
        assert_eq!(early + late, 100);
        assert_eq!(pauses.next(), None);
    }

    #[test]
    fn renewals_leave_together_and_late_enough() {
        let rng = &mut StdRng::seed_from_u64(1);
        let start = Instant::now();
        let mut pauses = Pauses::new(LONGEST..LONGEST, 100);
        pauses.rounds = Some((2 * LONGEST, start));
        for number in 0..40 {
            let now = start + LONGEST * number / 10;
            assert_eq!(pauses.add(now, now, rng), None);
        }
        let mut leaves = Vec::new();
        while let Some(next) = pauses.next() {
            let together: Vec<Instant> = std::iter::from_fn(|| pauses.due(next)).collect();
            assert!(together.iter().all(|came| next - *came >= LONGEST));
            leaves.push((next - start, together.len()));
        }
        let second = LONGEST;
        assert_eq!(
            leaves,
            [(2 * second, 11), (4 * second, 20), (6 * second, 9)]
        );
    }

    #[test]
    fn what_there_is_no_room_for_comes_back() {
        let rng = &mut StdRng::seed_from_u64(1);
        let now = Instant::now();
        let mut pauses = Pauses::new(Duration::ZERO..LONGEST, 2);
        let back: Vec<Option<u32>> = (0..3).map(|n| pauses.add(n, now, rng)).collect();
        assert_eq!(back, [None, None, Some(2)]);
        assert!(pauses.due(now + LONGEST).is_some());
        assert_eq!(pauses.add(3, now, rng), None);
    }
}
