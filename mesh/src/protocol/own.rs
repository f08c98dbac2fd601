//! The schedule of the own advert: when it is signed anew, and under which number.
//!
//! Numbers start from the clock and always rise, so that a restart, which forgets
//! the last one, still goes on above it. Where the clock went back in between,
//! the mesh itself says how far the numbers had come, and the schedule jumps past.

use std::time::Duration;

use embermesh_crypto::time::UnixMillis;
use rand::{Rng, RngCore};

use super::{MAX_LIFETIME, after, millis};

/// An unchanged advert is signed anew this long after the last. Two minutes are left of its
/// life then: whoever gossip does not reach has asked another peer twice by the end.
pub const REFRESH: Duration = Duration::from_secs(180);
/// Up to this much sooner, at random.
pub const REFRESH_JITTER: Duration = Duration::from_secs(30);
/// The same of the first refresh after a change: what has changed everywhere at once, as when
/// a mesh starts, is not refreshed everywhere at once.
pub const REFRESH_JITTER_OF_CHANGES: Duration = Duration::from_secs(120);
/// Changes within this span become one advert.
pub const MIN_REPUBLISH: Duration = Duration::from_secs(1);
/// Two processes with one key overtake each other no faster than this.
pub const OVERTAKE_PAUSE: Duration = Duration::from_secs(10);
/// How long the last advert of a peer that leaves is believed.
pub const FAREWELL_LIFE: Duration = Duration::from_secs(5);

/// What the signer must put into the next advert. Times in unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The number.
    pub sequence: u64,
    /// From when it counts.
    pub issued_at: UnixMillis,
    /// Until when it is believed.
    pub expires_at: UnixMillis,
    /// It is the last one: say that nothing more is taken on.
    pub farewell: bool,
}

/// When to sign, and under which number.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    last_sequence: u64,
    /// No sooner than this, for the sake of the rate.
    not_before: UnixMillis,
    /// No later than this, for the sake of the expiry. `None` before the first.
    refresh_at: Option<UnixMillis>,
    /// Something has changed since the last one.
    changed: bool,
    /// Nothing is signed after a farewell.
    over: bool,
}

impl Schedule {
    /// What the advert says has changed.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// A number of our own was seen in the mesh. True when it is above all that
    /// this process has given out, so that an advert above it is due.
    pub fn seen(&mut self, sequence: u64, now: UnixMillis) -> bool {
        if sequence <= self.last_sequence {
            return false;
        }
        // A hostile copy of the key must not drive the numbers to their end.
        self.last_sequence = sequence.min(u64::MAX / 2);
        if self.has_begun() {
            self.changed = true;
            self.not_before = self.not_before.max(after(now, OVERTAKE_PAUSE));
        }
        true
    }

    /// Whether anything has been signed yet.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.refresh_at.is_some()
    }

    /// The next moment at which [`Schedule::due`] can give a ticket.
    #[must_use]
    pub fn next(&self) -> Option<UnixMillis> {
        if self.over {
            return None;
        }
        if self.changed {
            Some(self.not_before)
        } else {
            self.refresh_at
        }
    }

    /// A ticket, if it is time for one.
    pub fn due(&mut self, now: UnixMillis, rng: &mut dyn RngCore) -> Option<Ticket> {
        if self.next().is_none_or(|at| at > now) {
            return None;
        }
        let most = if self.changed {
            REFRESH_JITTER_OF_CHANGES
        } else {
            REFRESH_JITTER
        };
        let jitter = Duration::from_millis(rng.random_range(0..=millis(most)));
        self.not_before = after(now, MIN_REPUBLISH);
        self.refresh_at = Some(after(now, REFRESH.saturating_sub(jitter)));
        self.changed = false;
        Some(self.ticket(now, MAX_LIFETIME, false))
    }

    /// The ticket of the last advert, which does not wait for the rate. `None`
    /// when nothing was ever said, or the last word has been.
    pub fn farewell(&mut self, now: UnixMillis) -> Option<Ticket> {
        if self.over || self.refresh_at.is_none() {
            return None;
        }
        self.over = true;
        Some(self.ticket(now, FAREWELL_LIFE, true))
    }

    fn ticket(&mut self, now: UnixMillis, life: Duration, farewell: bool) -> Ticket {
        self.last_sequence = now.0.max(self.last_sequence.saturating_add(1));
        Ticket {
            sequence: self.last_sequence,
            issued_at: now,
            expires_at: after(now, life),
            farewell,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn changes_are_gathered_and_refreshes_come_before_expiry() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut own = Schedule::default();
        let start = UnixMillis(1_000_000);
        assert_eq!(own.due(start, rng), None);
        own.change();
        let first = own.due(start, rng).unwrap();
        own.change();
        own.change();
        assert_eq!(own.due(after(start, Duration::from_millis(999)), rng), None);
        let second = own.due(after(start, MIN_REPUBLISH), rng).unwrap();
        assert!(second.sequence > first.sequence);
        let refresh = own.next().unwrap();
        assert!(refresh < second.expires_at);
        assert!(refresh <= after(second.issued_at, REFRESH));
    }

    #[test]
    fn what_changes_at_once_is_not_refreshed_at_once() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let start = UnixMillis(1_000_000);
        let mut crowded = 0;
        for _ in 0..300 {
            let mut own = Schedule::default();
            own.change();
            own.due(start, rng).unwrap();
            let wait = own.next().unwrap().since(start);
            assert!(wait >= REFRESH - REFRESH_JITTER_OF_CHANGES && wait <= REFRESH);
            crowded += u32::from(wait <= REFRESH && wait > REFRESH - REFRESH_JITTER);
            let first = own.next().unwrap();
            own.due(first, rng).unwrap();
            let wait = own.next().unwrap().since(first);
            assert!(wait >= REFRESH - REFRESH_JITTER && wait <= REFRESH);
        }
        assert!((50..100).contains(&crowded), "a quarter of them: {crowded}");
    }

    #[test]
    fn numbers_rise_over_a_restart_and_over_a_clock_that_went_back() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut before = Schedule::default();
        before.change();
        let last = before.due(UnixMillis(5_000_000), rng).unwrap();

        let mut later = Schedule::default();
        later.change();
        assert!(later.due(UnixMillis(5_000_001), rng).unwrap().sequence > last.sequence);

        let mut back = Schedule::default();
        back.change();
        let wrong = back.due(UnixMillis(1_000_000), rng).unwrap();
        assert!(wrong.sequence < last.sequence);
        let now = UnixMillis(1_000_000);
        assert!(back.seen(last.sequence, now));
        assert!(!back.seen(last.sequence, now));
        assert_eq!(back.due(after(now, MIN_REPUBLISH), rng), None);
        let jumped = back.due(after(now, OVERTAKE_PAUSE), rng).unwrap();
        assert!(jumped.sequence > last.sequence);
    }

    #[test]
    fn a_farewell_is_the_last_word() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut own = Schedule::default();
        assert_eq!(own.farewell(UnixMillis(9)), None);
        own.change();
        own.due(UnixMillis(1_000_000), rng).unwrap();
        let last = own.farewell(UnixMillis(1_000_001)).unwrap();
        assert!(last.farewell && last.expires_at.0 - last.issued_at.0 <= 5_000);
        own.change();
        assert_eq!(own.due(UnixMillis(9_000_000), rng), None);
    }
}
