//! Joins neighbours, the best pair first, until no pair joins: the heart of
//! both kinds of tokenizer, in `n log n` steps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No neighbour on that side.
const NONE: usize = usize::MAX;

/// A pair that may be joined, the least first: by rank, then from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    left: usize,
    right: usize,
    tokens: (u32, u32),
    joined: u32,
}

/// The pairs that wait, and the tokens that are left.
struct Row<F> {
    tokens: Vec<Option<u32>>,
    before: Vec<usize>,
    after: Vec<usize>,
    pairs: BinaryHeap<Reverse<Pair>>,
    join: F,
}

/// Joins tokens. `join` says, for two neighbours, how early they are joined
/// (the least first) and to what.
pub(super) fn merge(tokens: &[u32], join: impl Fn(u32, u32) -> Option<(u32, u32)>) -> Vec<u32> {
    let len = tokens.len();
    let mut row = Row {
        tokens: tokens.iter().copied().map(Some).collect(),
        before: (0..len).map(|at| at.wrapping_sub(1)).collect(),
        after: (1..=len)
            .map(|at| if at < len { at } else { NONE })
            .collect(),
        pairs: BinaryHeap::new(),
        join,
    };
    for left in 0..len {
        row.offer(left);
    }
    while let Some(Reverse(pair)) = row.pairs.pop() {
        row.take(pair);
    }
    row.tokens.into_iter().flatten().collect()
}

impl<F: Fn(u32, u32) -> Option<(u32, u32)>> Row<F> {
    /// Adds the pair that begins at `left`, if it joins.
    fn offer(&mut self, left: usize) {
        let Some(&right) = self.after.get(left).filter(|right| **right != NONE) else {
            return;
        };
        let (Some(a), Some(b)) = (self.tokens[left], self.tokens[right]) else {
            return;
        };
        if let Some((rank, joined)) = (self.join)(a, b) {
            self.pairs.push(Reverse(Pair {
                rank,
                left,
                right,
                tokens: (a, b),
                joined,
            }));
        }
    }

    /// Joins a pair that is still as it was when it was offered.
    fn take(&mut self, pair: Pair) {
        let Pair { left, right, .. } = pair;
        let now = (self.tokens[left], self.tokens[right]);
        if now != (Some(pair.tokens.0), Some(pair.tokens.1)) || self.after[left] != right {
            return;
        }
        self.tokens[left] = Some(pair.joined);
        self.tokens[right] = None;
        let next = self.after[right];
        self.after[left] = next;
        if let Some(before) = self.before.get_mut(next) {
            *before = left;
        }
        self.offer(left);
        let previous = self.before[left];
        if previous != NONE {
            self.offer(previous);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_pair_is_joined_first_and_equals_from_the_left() {
        // Texts are numbers in base ten; only these join.
        let join = |a: u32, b: u32| match (a, b) {
            (1, 1) => Some((5, 11)),
            (1, 2) => Some((1, 12)),
            (11, 12) => Some((9, 1112)),
            _ => None,
        };
        assert_eq!(merge(&[1, 1, 1, 2], join), [1112]);
        assert_eq!(merge(&[1, 1, 1], join), [11, 1]);
        assert_eq!(merge(&[], join), [0_u32; 0]);
        assert_eq!(merge(&[2, 2], join), [2, 2]);
    }

    #[test]
    fn a_long_run_takes_a_moment() {
        let doubles = |a: u32, b: u32| (a == b).then_some((a, a + 1));
        let joined = merge(&vec![0; 1 << 18], doubles);
        assert_eq!(joined, [18]);
    }
}
