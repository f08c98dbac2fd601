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
        if seq > self.last + 1 {
            return Verdict::Hole(self.last + 1, seq - 1);
        }
        self.last = seq;
        Verdict::Show
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
