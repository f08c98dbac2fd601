//! How a blob is cut: groups of 16 KiB, the leaves of its hash tree; and sets of
//! groups, in the one form in which bao-tree walks them group by group.

use std::ops::Range;

use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};

/// Bytes of a group: the least that is sent, checked and written.
pub const GROUP_BYTES: u64 = 16 * 1024;
/// The same for bao-tree: 16 chunks of 1 KiB.
const BLOCK: BlockSize = BlockSize::from_chunk_log(4);
/// Bytes of a BLAKE3 chunk.
const CHUNK_BYTES: u64 = 1024;
/// Bytes of a blob at most. A larger claim is not believed, and every sum of offsets
/// stays far from the end of 64 bits.
pub(crate) const MAX_BLOB_BYTES: u64 = 1 << 44;

/// The hash tree of a blob of `size` bytes.
pub(crate) fn tree(size: u64) -> BaoTree {
    BaoTree::new(size, BLOCK)
}

/// Groups of a blob of known size, as byte ranges in order, apart from each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups {
    size: u64,
    ranges: Vec<Range<u64>>,
}

impl Groups {
    /// Every group.
    pub(crate) fn all(size: u64) -> Self {
        Self {
            size,
            // An empty blob has one group, of no bytes.
            ranges: Vec::from([std::ops::Range {
                start: 0,
                end: size,
            }]),
        }
    }

    /// The groups that hold any of the bytes asked for: pairs of an offset and a
    /// length, 0 meaning to the end. `None` when that is past the end.
    pub(crate) fn covering(size: u64, asked: &[(u64, u64)]) -> Option<Self> {
        let mut ranges = Vec::with_capacity(asked.len());
        for &(offset, length) in asked {
            if offset > size || (offset == size && size > 0) {
                return None;
            }
            let end = match length {
                0 => size,
                length => offset.checked_add(length)?.min(size),
            };
            ranges.push(down(offset)..up(end, size));
        }
        ranges.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Some(Self {
            size,
            ranges: merged,
        })
    }

    /// The groups that are not in `present`, which bao-tree says in chunks.
    pub(crate) fn missing(size: u64, present: &ChunkRanges) -> Self {
        let all = ChunkRanges::from(ChunkNum(0)..ChunkNum(size.div_ceil(CHUNK_BYTES).max(1)));
        let missing: ChunkRanges = all.difference(present);
        let bounds: &[ChunkNum] = missing.boundaries();
        let ranges = bounds
            .chunks_exact(2)
            .map(|pair| pair[0].0 * CHUNK_BYTES..(pair[1].0 * CHUNK_BYTES).min(size))
            .collect();
        Self { size, ranges }
    }

    /// The first `count` ranges.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self {
            size: self.size,
            ranges: self.ranges.iter().take(count).cloned().collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes of the blob that these groups hold.
    pub(crate) fn bytes(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Takes away the group that begins at `offset`.
    pub(crate) fn remove(&mut self, offset: u64, length: u64) {
        let end = offset + length;
        let Some(at) = self
            .ranges
            .iter()
            .position(|range| range.start <= offset && end <= range.end)
        else {
            return;
        };
        let whole = self.ranges[at].clone();
        let left = (whole.start < offset).then_some(whole.start..offset);
        let right = (end < whole.end).then_some(end..whole.end);
        self.ranges.splice(at..=at, left.into_iter().chain(right));
    }

    /// Takes groups off the beginning: so many bytes, rounded up to groups, in so many
    /// ranges at most.
    pub(crate) fn take(&mut self, bytes: u64, count: usize) -> Self {
        let mut taken = self.first(count);
        let mut left = bytes;
        taken.ranges.retain_mut(|range| {
            let end = up(range.start.saturating_add(left).min(range.end), self.size);
            let taken = left > 0;
            left = left.saturating_sub(end - range.start);
            range.end = end;
            taken
        });
        self.take_away(&taken);
        taken
    }

    /// Takes groups away that are all among these.
    pub(crate) fn take_away(&mut self, others: &Self) {
        for range in &others.ranges {
            self.remove(range.start, range.end - range.start);
        }
    }

    /// Puts groups back that are not among these.
    pub(crate) fn put_back(&mut self, others: &Self) {
        let both: Vec<_> = self.pairs().into_iter().chain(others.pairs()).collect();
        if let Some(merged) = Self::covering(self.size, &both) {
            *self = merged;
        }
    }

    /// Nodes of the hash tree that stand above any of these groups. Counted along the
    /// edges of the ranges and not node by node: the size may be a holder's claim.
    pub(crate) fn parents(&self) -> u64 {
        let ranges: Vec<Range<u64>> = self
            .ranges
            .iter()
            .map(|range| range.start / GROUP_BYTES..range.end.div_ceil(GROUP_BYTES))
            .collect();
        parents_within(&(0..self.size.div_ceil(GROUP_BYTES)), &ranges)
    }

    /// As pairs of an offset and a length, for the wire.
    pub(crate) fn pairs(&self) -> Vec<(u64, u64)> {
        self.ranges
            .iter()
            .map(|range| {
                let to_the_end = range.end == self.size;
                let length = if to_the_end {
                    0
                } else {
                    range.end - range.start
                };
                (range.start, length)
            })
            .collect()
    }

    /// As bao-tree wants them: a range that reaches the end must be open, or the
    /// last group would be walked chunk by chunk.
    pub(crate) fn chunks(&self) -> ChunkRanges {
        let mut chunks = ChunkRanges::empty();
        for range in &self.ranges {
            let start = ChunkNum(range.start / CHUNK_BYTES);
            chunks |= if range.end == self.size {
                ChunkRanges::from(start..)
            } else {
                ChunkRanges::from(start..ChunkNum(range.end / CHUNK_BYTES))
            };
        }
        chunks
    }
}

/// The nodes above some groups within a subtree, which is named by its groups. The
/// ranges are those of the groups that touch it, in order.
fn parents_within(tree: &Range<u64>, ranges: &[Range<u64>]) -> u64 {
    let leaves = tree.end - tree.start;
    let Some(first) = ranges.first() else {
        return 0;
    };
    if leaves < 2 {
        return 0;
    }
    if first.start <= tree.start && tree.end <= first.end {
        return leaves - 1;
    }
    // As BLAKE3 has it: on the left stands the largest whole power of two.
    let middle = tree.start + leaves.next_power_of_two() / 2;
    let left = ranges.partition_point(|range| range.start < middle);
    let right = ranges.partition_point(|range| range.end <= middle);
    1 + parents_within(&(tree.start..middle), &ranges[..left])
        + parents_within(&(middle..tree.end), &ranges[right..])
}

const fn down(offset: u64) -> u64 {
    offset / GROUP_BYTES * GROUP_BYTES
}

fn up(end: u64, size: u64) -> u64 {
    end.next_multiple_of(GROUP_BYTES).min(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: u64 = GROUP_BYTES;

    #[test]
    fn ranges_are_rounded_out_to_groups_and_merged() {
        let size = 10 * G + 5;
        let groups =
            Groups::covering(size, &[(1, 2), (G - 1, 2), (5 * G, 1), (10 * G, 0)]).unwrap();
        assert_eq!(groups.ranges, vec![0..2 * G, 5 * G..6 * G, 10 * G..size]);
        assert_eq!(groups.bytes(), 3 * G + 5);
        assert_eq!(groups.pairs(), vec![(0, 2 * G), (5 * G, G), (10 * G, 0)]);
    }

    #[test]
    fn what_lies_past_the_end_is_refused() {
        for asked in [(G + 1, 0), (G + 1, 1), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(Groups::covering(G + 1, &[asked]).is_none(), "{asked:?}");
        }
        assert_eq!(Groups::covering(0, &[(0, 0)]).unwrap(), Groups::all(0));
    }

    #[test]
    fn what_has_come_is_no_longer_missing() {
        let size = 4 * G + 7;
        let mut missing = Groups::all(size);
        missing.remove(2 * G, G);
        assert_eq!(missing.ranges, vec![0..2 * G, 3 * G..size]);
        missing.remove(4 * G, 7);
        missing.remove(0, G);
        missing.remove(G, G);
        assert_eq!(missing.ranges, vec![3 * G..4 * G]);
        missing.remove(3 * G, G);
        assert!(missing.is_empty());
        let mut empty = Groups::all(0);
        empty.remove(0, 0);
        assert!(empty.is_empty());
    }

    #[test]
    fn what_is_taken_off_and_put_back_is_whole_again() {
        let size = 10 * G + 7;
        let mut free = Groups::all(size);
        free.remove(2 * G, G);
        let whole = free.clone();
        let first = free.take(3 * G - 1, 8);
        assert_eq!(first.ranges, vec![0..2 * G, 3 * G..4 * G]);
        assert_eq!(free.ranges, vec![4 * G..size]);
        let second = free.take(u64::MAX, 8);
        assert_eq!(second.ranges, vec![4 * G..size]);
        assert!(free.is_empty());
        assert!(free.take(G, 8).is_empty());
        free.put_back(&second);
        free.put_back(&first);
        assert_eq!(free, whole);
        // No more ranges than are wanted, whatever they hold.
        assert_eq!(free.take(u64::MAX, 1).ranges, vec![0..2 * G]);
    }

    #[test]
    fn the_tree_of_a_huge_claim_is_counted_at_once() {
        let groups = MAX_BLOB_BYTES / G;
        assert_eq!(Groups::all(MAX_BLOB_BYTES).parents(), groups - 1);
        // All but the first group: only the path above that one is walked.
        let rest = Groups::covering(MAX_BLOB_BYTES, &[(G, 0)]).unwrap();
        assert_eq!(rest.parents(), groups - 1);
        let ends = Groups::covering(MAX_BLOB_BYTES, &[(0, 1), (MAX_BLOB_BYTES - 1, 0)]).unwrap();
        let depth = u64::from(groups.ilog2());
        assert_eq!(ends.parents(), 2 * depth - 1);
    }

    #[test]
    fn missing_is_the_complement_of_present() {
        let size = 4 * G + 7;
        let present = ChunkRanges::from(ChunkNum(16)..ChunkNum(32));
        assert_eq!(
            Groups::missing(size, &present).ranges,
            vec![0..G, 2 * G..size]
        );
        assert!(Groups::missing(size, &ChunkRanges::all()).is_empty());
        assert_eq!(Groups::missing(0, &ChunkRanges::empty()).ranges, vec![0..0]);
    }
}
