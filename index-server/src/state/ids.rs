//! Ids of jobs that rise with every submit, because the queue and the lists are
//! in their order: two submits of one millisecond keep their order, and so do
//! submits before and after the clock was set back.

use embermesh_crypto::{ids::JobId, time::UnixMillis};

use super::Entropy;

/// How far the counter in an id goes: the 12 bits that version 7 leaves between
/// the time and the random part (RFC 9562, 6.2, method 1).
const COUNTER_END: u16 = 1 << 12;

/// The last id that was given out, as far as its order goes.
#[derive(Debug, Default)]
pub(super) struct JobIds {
    at: UnixMillis,
    counter: u16,
}

impl JobIds {
    /// An id that is greater than every one before it.
    pub(super) fn next(&mut self, now: UnixMillis, entropy: &mut Entropy) -> JobId {
        if now > self.at {
            (self.at, self.counter) = (now, 0);
        } else if self.counter + 1 < COUNTER_END {
            self.counter += 1;
        } else {
            (self.at, self.counter) = (UnixMillis(self.at.0 + 1), 0);
        }
        let mut random: [u8; 10] = entropy.bytes();
        random[..2].copy_from_slice(&self.counter.to_be_bytes());
        JobId::v7(self.at, random)
    }

    /// Takes note of an id that was given out before.
    pub(super) fn seen(&mut self, id: &JobId) {
        let [a, b, c, d, e, f, version, counter, ..] = *id.as_bytes();
        let at = UnixMillis(u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        let counter = u16::from_be_bytes([version & 0x0f, counter]);
        (self.at, self.counter) = (self.at, self.counter).max((at, counter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    #[test]
    fn ids_rise_within_a_millisecond_and_across_a_clock_set_back() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let mut ids = JobIds::default();
        let same = (0..2 * u64::from(COUNTER_END)).map(|_| NOW);
        let back = (0..10).map(|n| UnixMillis(NOW.0 - 3_600_000 + n));
        let later = [UnixMillis(NOW.0 + 60_000)];
        let made: Vec<JobId> = same
            .chain(back)
            .chain(later)
            .map(|now| ids.next(now, &mut entropy))
            .collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert!(made.iter().all(|id| id.to_string().as_bytes()[14] == b'7'));
    }

    #[test]
    fn ids_go_on_from_those_of_before() {
        let mut entropy = Entropy::from_seed([1; 32]);
        let mut before = JobIds::default();
        let first = before.next(NOW, &mut entropy);
        let second = before.next(NOW, &mut entropy);
        let mut after = JobIds::default();
        after.seen(&second);
        after.seen(&first);
        assert!(after.next(UnixMillis(NOW.0 - 1), &mut entropy) > second);
    }
}
