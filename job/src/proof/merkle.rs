//! A Merkle tree in the shape of RFC 6962, over BLAKE3.
//!
//! Leaves and inner nodes are hashed under different domains, so no leaf can pass for a
//! node, and the number of leaves is part of what is proven.

use embermesh_crypto::Digest;

/// The domain of a leaf.
const LEAF: &[u8] = b"embermesh proof leaf v1\0";
/// The domain of an inner node.
const NODE: &[u8] = b"embermesh proof node v1\0";

/// The hash of a leaf.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Digest {
    let mut hasher = Digest::hasher();
    hasher.update(LEAF).update(bytes);
    hasher.finalize()
}

fn node(left: Digest, right: Digest) -> Digest {
    let mut hasher = Digest::hasher();
    hasher.update(NODE);
    hasher.update(left.as_bytes()).update(right.as_bytes());
    hasher.finalize()
}

/// The root over hashes of leaves; that of none is the hash of nothing.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => leaf(&[]),
        [only] => *only,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(root(left), root(right))
        }
    }
}

/// The hashes that lead from a leaf to the root, from below; nothing for a place that
/// the tree has not.
#[must_use]
pub fn path(leaves: &[Digest], place: usize) -> Vec<Digest> {
    if place >= leaves.len() || leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut inner, other) = if place < left.len() {
        (path(left, place), root(right))
    } else {
        (path(right, place - left.len()), root(left))
    };
    inner.push(other);
    inner
}

/// The root that a leaf at a place of a tree of this many leaves leads to; nothing for a
/// place or a path that such a tree has not.
#[must_use]
pub fn climb(leaf: Digest, place: usize, count: usize, path: &[Digest]) -> Option<Digest> {
    if place >= count {
        return None;
    }
    let Some((last, below)) = path.split_last() else {
        return (count == 1).then_some(leaf);
    };
    if count == 1 {
        return None;
    }
    let left = split(count);
    if place < left {
        Some(node(climb(leaf, place, left, below)?, *last))
    } else {
        Some(node(*last, climb(leaf, place - left, count - left, below)?))
    }
}

/// The largest power of two below a count of two or more.
const fn split(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}
