//! A bound on a rate: a bucket of tokens that fills with time.

use std::time::Duration;

use embermesh_crypto::time::UnixMillis;

use super::millis;

/// How fast a bucket fills and how much it holds.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Tokens that a full bucket holds.
    pub burst: u32,
    /// Time in which one token comes back. Must not be zero.
    pub every: Duration,
}

/// Tokens left, as of some moment. A new bucket is full.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// The moment at which the bucket is, or was, full again. Tokens are counted
    /// backwards from it, so that nothing has to be updated as time passes.
    full_at: UnixMillis,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(now: UnixMillis) -> Self {
        Self { full_at: now }
    }

    /// Takes one token, or says that there is none.
    pub fn take(&mut self, rate: Rate, now: UnixMillis) -> bool {
        self.take_many(1, rate, now)
    }

    /// Takes so many tokens, or says that there are not as many.
    pub fn take_many(&mut self, many: u32, rate: Rate, now: UnixMillis) -> bool {
        let every = millis(rate.every).max(1);
        let wanted = every.saturating_mul(u64::from(many));
        let owed = self.full_at.0.saturating_sub(now.0);
        if owed.saturating_add(wanted) > every.saturating_mul(u64::from(rate.burst)) {
            return false;
        }
        self.full_at = UnixMillis(now.0.saturating_add(owed).saturating_add(wanted));
        true
    }

    /// The moment at which nothing is owed any more.
    #[must_use]
    pub fn full_at(&self) -> UnixMillis {
        self.full_at
    }

    /// Whether nothing is owed, so that forgetting the bucket changes nothing.
    #[must_use]
    pub fn is_full(&self, now: UnixMillis) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(1),
    };

    #[test]
    fn gives_its_burst_and_then_one_per_interval() {
        let mut now = UnixMillis(1_000_000);
        let mut bucket = Bucket::full(now);
        assert_eq!((0..5).filter(|_| bucket.take(RATE, now)).count(), 3);
        now.0 += 999;
        assert!(!bucket.take(RATE, now));
        now.0 += 1;
        assert!(bucket.take(RATE, now));
        assert!(!bucket.take(RATE, now));
    }

    #[test]
    fn never_holds_more_than_its_burst() {
        let mut now = UnixMillis(1_000_000);
        let mut bucket = Bucket::full(now);
        now.0 += 3_600_000;
        assert_eq!((0..9).filter(|_| bucket.take(RATE, now)).count(), 3);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_open_it() {
        let now = UnixMillis(1_000_000);
        let mut bucket = Bucket::full(now);
        while bucket.take(RATE, now) {}
        assert!(!bucket.take(RATE, UnixMillis(0)));
        assert!(!bucket.is_full(now));
    }
}
