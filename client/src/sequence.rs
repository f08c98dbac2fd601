//! The order of events: what follows, what was heard before, and what is missing.
//! Pure; the follower acts on the verdicts.

/// What to do with an event of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the next one.
    Show,
    /// It has been shown.
    Repeat,
    /// Numbers before it are missing: from, to.
    Hole(u64, u64),
}

/// The last event that was shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sequence {
    last: u64,
}

impl Sequence {
    /// Goes on behind event `last`; 0 means from the first.
    pub(crate) const fn after(last: u64) -> Self {
        Self { last }
    }

    /// The number of the last event shown.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Judges a number, and counts it as shown if it is the next.
    pub(crate) fn hear(&mut self, seq: u64) -> Verdict {
        if seq <= self.last {
            return Verdict::Repeat;
        }
        // It is larger than the last one, which therefore has a next.
        let next = self.last + 1;
        if seq > next {
            return Verdict::Hole(next, seq - 1);
        }
        self.last = seq;
        Verdict::Show
    }

    /// Whether nothing is missing before `seq`.
    pub(crate) const fn reaches(&self, seq: u64) -> bool {
        seq <= self.last.saturating_add(1)
    }

    /// Gives up what is missing up to and with `to`.
    pub(crate) fn skip(&mut self, to: u64) {
        self.last = self.last.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_shown_once_and_in_order() {
        let mut sequence = Sequence::default();
        let heard = [1, 2, 2, 1, 3, 5, 4, 5, 5, 6];
        let shown: Vec<u64> = heard
            .into_iter()
            .filter(|seq| sequence.hear(*seq) == Verdict::Show)
            .collect();
        assert_eq!(shown, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_largest_number_is_one_too() {
        let mut sequence = Sequence::after(u64::MAX);
        assert_eq!(sequence.hear(u64::MAX), Verdict::Repeat);
        assert!(sequence.reaches(u64::MAX));
        let mut sequence = Sequence::after(1);
        assert_eq!(sequence.hear(u64::MAX), Verdict::Hole(2, u64::MAX - 1));
        assert!(sequence.reaches(2) && !sequence.reaches(3));
    }

    #[test]
    fn a_hole_is_named_and_not_shown() {
        let mut sequence = Sequence::after(57);
        assert_eq!(sequence.hear(60), Verdict::Hole(58, 59));
        assert_eq!(sequence.last(), 57);
        sequence.skip(59);
        assert_eq!(sequence.hear(60), Verdict::Show);
        sequence.skip(3);
        assert_eq!(sequence.last(), 60);
    }
}
