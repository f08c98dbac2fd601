//! The one encoding of blobs on every wire: bao in pre-order, each pair of hashes
//! before what it is about, leaves of one group. The encoder fills buffers of any
//! length; the decoder takes bytes in whatever pieces they come and lets nothing out
//! that it has not checked.

use std::io;

use bao_tree::{
    BaoTree, TreeNode,
    io::sync::ReadAt,
    iter::{BaoChunk, ResponseIter},
};
use blake3::{
    Hash, Hasher,
    hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use super::geometry::{Groups, tree};

/// Bytes of a pair of hashes.
pub(crate) const PAIR_BYTES: usize = 64;
/// Bytes of the outboard that are read at once.
const WINDOW_BYTES: u64 = 64 * 1024;
/// Bytes of the largest item: a group.
pub(crate) const MAX_ITEM_BYTES: usize = super::GROUP_BYTES as usize;

/// Why an encoded blob is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A group of data is not what the hash says.
    #[error("the bytes at offset {offset} do not match the blob's hash")]
    CorruptData {
        /// Where in the blob.
        offset: u64,
    },
    /// A pair of hashes is not what the hash above says.
    #[error("the hash tree above offset {offset} does not match the blob's hash")]
    CorruptTree {
        /// Where in the blob.
        offset: u64,
    },
    /// The encoding ended early.
    #[error("the encoding ends {missing} bytes early")]
    Truncated {
        /// What is missing of the encoding, in bytes.
        missing: u64,
    },
    /// The encoding goes on past its end.
    #[error("bytes follow the end of the encoding")]
    Overlong,
}

/// Bytes of the encoding of some groups: their own, and a pair of hashes for each
/// node above them.
pub(crate) fn encoded_bytes(groups: &Groups) -> u64 {
    groups.bytes() + groups.parents() * PAIR_BYTES as u64
}

const fn item_bytes(item: &BaoChunk) -> usize {
    match item {
        BaoChunk::Parent { .. } => PAIR_BYTES,
        BaoChunk::Leaf { size, .. } => *size,
    }
}

/// Encodes groups out of a blob's data and outboard. What it reads is not checked:
/// the receiver does that.
pub(crate) struct Encoder<D, O> {
    tree: BaoTree,
    items: ResponseIter,
    data: D,
    outboard: Window<O>,
}

impl<D: ReadAt, O: ReadAt> Encoder<D, O> {
    pub(crate) fn new(groups: &Groups, data: D, outboard: O) -> Self {
        let tree = tree(groups.size());
        Self {
            tree,
            items: ResponseIter::new(tree, groups.chunks()),
            data,
            outboard: Window::new(outboard, tree.outboard_size()),
        }
    }

    /// Writes items into `out` until there is no room for the largest. Says how many
    /// bytes it wrote, and whether the encoding goes on.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut filled = 0;
        while out.len() - filled >= MAX_ITEM_BYTES {
            let Some(item) = self.items.next() else {
                return Ok((filled, false));
            };
            let end = filled + item_bytes(&item);
            let place = &mut out[filled..end];
            match item {
                BaoChunk::Parent { node, .. } => {
                    let offset = self.tree.pre_order_offset(node).ok_or_else(no_place)?;
                    place.copy_from_slice(self.outboard.pair(offset * PAIR_BYTES as u64)?);
                }
                BaoChunk::Leaf { start_chunk, .. } => {
                    self.data.read_exact_at(start_chunk.to_bytes(), place)?;
                }
            }
            filled = end;
        }
        Ok((filled, true))
    }
}

fn no_place() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a node without a place in the outboard",
    )
}

/// Reads pairs of hashes, which a walk in pre-order wants one after the other.
struct Window<O> {
    outboard: O,
    bytes: u64,
    start: u64,
    held: Vec<u8>,
}

impl<O: ReadAt> Window<O> {
    const fn new(outboard: O, bytes: u64) -> Self {
        Self {
            outboard,
            bytes,
            start: 0,
            held: Vec::new(),
        }
    }

    fn pair(&mut self, offset: u64) -> io::Result<&[u8]> {
        let end = offset + PAIR_BYTES as u64;
        if offset < self.start || end > self.start + self.held.len() as u64 {
            let length = WINDOW_BYTES.min(self.bytes.saturating_sub(offset));
            self.held.resize(usize::try_from(length).unwrap_or(0), 0);
            self.start = offset;
            self.outboard.read_exact_at(offset, &mut self.held)?;
        }
        let at = usize::try_from(offset - self.start).map_err(io::Error::other)?;
        self.held
            .get(at..at + PAIR_BYTES)
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

/// A checked piece of a blob.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// A pair of hashes and its place in the outboard, in bytes.
    Pair { place: u64, pair: &'a [u8] },
    /// A group of data.
    Data { offset: u64, data: &'a [u8] },
}

/// Takes the encoding of groups in pieces and lets checked items out.
#[derive(Debug)]
pub(crate) struct Decoder {
    tree: BaoTree,
    items: ResponseIter,
    next: Option<BaoChunk>,
    /// Hashes of what is to come, the nearest last.
    expected: Vec<Hash>,
    /// The beginning of an item whose rest has not come yet.
    carry: Vec<u8>,
    remaining: u64,
}

impl Decoder {
    pub(crate) fn new(root: Hash, groups: &Groups) -> Self {
        let tree = tree(groups.size());
        let mut items = ResponseIter::new(tree, groups.chunks());
        Self {
            tree,
            next: items.next(),
            items,
            expected: vec![root],
            carry: Vec::with_capacity(MAX_ITEM_BYTES),
            remaining: encoded_bytes(groups),
        }
    }

    /// Bytes of the encoding that have not come.
    pub(crate) const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Takes the next bytes of the encoding. Every item given to `sink` is checked;
    /// after an error nothing more is.
    pub(crate) fn push<E: From<CodecError>>(
        &mut self,
        mut input: &[u8],
        mut sink: impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.remaining = self
            .remaining
            .checked_sub(input.len() as u64)
            .ok_or(CodecError::Overlong)?;
        while let Some(item) = self.next {
            let wanted = item_bytes(&item);
            if self.carry.is_empty() && input.len() >= wanted {
                let (bytes, rest) = input.split_at(wanted);
                self.check(item, bytes, &mut sink)?;
                input = rest;
            } else {
                let missing = (wanted - self.carry.len()).min(input.len());
                let (bytes, rest) = input.split_at(missing);
                self.carry.extend_from_slice(bytes);
                input = rest;
                if self.carry.len() < wanted {
                    return Ok(());
                }
                let bytes = std::mem::take(&mut self.carry);
                self.check(item, &bytes, &mut sink)?;
                self.carry = bytes;
                self.carry.clear();
            }
            self.next = self.items.next();
        }
        Ok(())
    }

    /// Says whether everything has come.
    pub(crate) const fn finish(&self) -> Result<(), CodecError> {
        match self.next {
            None => Ok(()),
            Some(_) => Err(CodecError::Truncated {
                missing: self.remaining,
            }),
        }
    }

    fn check<E: From<CodecError>>(
        &mut self,
        item: BaoChunk,
        bytes: &[u8],
        sink: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let expected = self.expected.pop();
        match item {
            BaoChunk::Parent {
                node,
                is_root,
                left,
                right,
                ..
            } => {
                let (pair, offset) = (pair_of(bytes), start_of(node));
                let parent = pair.filter(|pair| Some(parent_hash(pair, is_root)) == expected);
                let (l, r) = parent.ok_or(CodecError::CorruptTree { offset })?;
                if right {
                    self.expected.push(r);
                }
                if left {
                    self.expected.push(l);
                }
                match self.tree.pre_order_offset(node) {
                    Some(place) => sink(Item::Pair {
                        place: place * PAIR_BYTES as u64,
                        pair: bytes,
                    }),
                    None => Ok(()),
                }
            }
            BaoChunk::Leaf {
                start_chunk,
                is_root,
                ..
            } => {
                let offset = start_chunk.to_bytes();
                if expected != Some(group_hash(offset, bytes, is_root)) {
                    return Err(CodecError::CorruptData { offset }.into());
                }
                sink(Item::Data {
                    offset,
                    data: bytes,
                })
            }
        }
    }
}

fn start_of(node: TreeNode) -> u64 {
    node.chunk_range().start.to_bytes()
}

fn pair_of(bytes: &[u8]) -> Option<(Hash, Hash)> {
    let (left, right) = bytes.split_at_checked(PAIR_BYTES / 2)?;
    Some((Hash::from_slice(left).ok()?, Hash::from_slice(right).ok()?))
}

fn parent_hash((left, right): &(Hash, Hash), is_root: bool) -> Hash {
    if is_root {
        merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash)
    } else {
        Hash::from(merge_subtrees_non_root(
            left.as_bytes(),
            right.as_bytes(),
            Mode::Hash,
        ))
    }
}

fn group_hash(offset: u64, data: &[u8], is_root: bool) -> Hash {
    if is_root {
        return blake3::hash(data);
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(data);
    Hash::from(hasher.finalize_non_root())
}

#[cfg(test)]
mod tests;
