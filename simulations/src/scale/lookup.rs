//! Kademlia lookups: how many hops and messages, and whether they find what is there.
//!
//! A node's buckets are not kept. Its bucket at some depth is a sample of `k` nodes out of
//! all that belong there, which a number made of node, depth and place decides, so that it
//! is the same whenever it is asked for. Ids are the first 64 bits of a hash: with a million
//! nodes the rest decides nothing. A lookup goes as libp2p's does: several paths that
//! start from the same peers and share none that was asked, each with a few requests at a
//! time, until the `k` closest that it knows have all answered.

use std::collections::BTreeSet;

use super::{
    calibration::Kademlia,
    random::{at, mix, share},
};

/// Bits of an id.
const BITS: u32 = 64;

/// Every node of a mesh, by id.
#[derive(Debug)]
pub struct Space {
    ids: Vec<u64>,
    seed: u64,
    k: usize,
    stale: f64,
}

/// What one lookup came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// How many answers led to each other until the closest node was known.
    pub hops: u32,
    /// Requests that were sent.
    pub messages: u32,
    /// Of these, to nodes that have gone.
    pub timeouts: u32,
    /// The share of the `k` nodes that are closest, and there, which were found.
    pub share: f64,
    /// Whether the closest one that is there was found.
    pub closest: bool,
}

/// A node that one path knows of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    distance: u64,
    node: u32,
    hops: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Answered,
    Gone,
}

#[derive(Default)]
struct Path {
    known: Vec<(Candidate, Standing)>,
}

impl Space {
    /// A mesh of `nodes` nodes, of whose entries in the tables of others a share `stale`
    /// has gone.
    #[must_use]
    pub fn new(nodes: u32, seed: u64, kademlia: &Kademlia, stale: f64) -> Self {
        let mut ids: Vec<u64> = (0..u64::from(nodes)).map(|n| at(seed, 1, n)).collect();
        ids.sort_unstable();
        ids.dedup();
        Self {
            ids,
            seed,
            k: kademlia.k,
            stale,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }

    /// Whether a node has gone that tables still name.
    fn is_gone(&self, node: u32) -> bool {
        share(at(self.seed, 2, u64::from(node))) < self.stale
    }

    /// The nodes whose ids begin as `id` does, up to `bits`.
    fn under(&self, id: u64, bits: u32) -> std::ops::Range<usize> {
        let rest = u64::MAX.checked_shr(bits).unwrap_or(0);
        let (first, last) = (id & !rest, id | rest);
        let from = self.ids.partition_point(|id| *id < first);
        let to = self.ids.partition_point(|id| *id <= last);
        from..to
    }

    /// Adds what a node has in its bucket at some depth.
    fn bucket(&self, node: u32, depth: u32, into: &mut Vec<u32>) {
        let flipped = self.ids[node as usize] ^ (1 << (BITS - 1 - depth));
        let there = self.under(flipped, depth + 1);
        let len = there.len();
        if len <= self.k {
            into.extend(there.map(|at| at as u32));
            return;
        }
        let draw = at(self.seed, u64::from(node), u64::from(depth));
        for place in 0..self.k {
            // One of each `k`-th part: distinct, and from everywhere.
            let (from, to) = (place * len / self.k, (place + 1) * len / self.k);
            let offset = mix(draw ^ place as u64) % (to - from) as u64;
            into.push((there.start + from) as u32 + offset as u32);
        }
    }

    /// The `k` nodes closest to `target` that a node knows.
    fn closest_of(&self, node: u32, target: u64, into: &mut Vec<u32>) {
        into.clear();
        let own = self.ids[node as usize];
        let shared = (own ^ target).leading_zeros().min(BITS - 1);
        self.bucket(node, shared, into);
        let mut depth = shared + 1;
        // What shares more with the node shares as much with the target as it does.
        while into.len() < self.k && depth < BITS && !self.under(own, depth).is_empty() {
            if self.under(own, depth).len() <= 1 {
                break;
            }
            self.bucket(node, depth, into);
            depth += 1;
        }
        let mut depth = shared;
        while into.len() < self.k && depth > 0 {
            depth -= 1;
            self.bucket(node, depth, into);
        }
        into.sort_unstable_by_key(|node| self.ids[*node as usize] ^ target);
        into.truncate(self.k);
    }

    /// One node looks a target up.
    #[must_use]
    pub fn lookup(&self, from: u32, target: u64, kademlia: &Kademlia) -> Found {
        let mut answer = Vec::new();
        self.closest_of(from, target, &mut answer);
        let mut asked: BTreeSet<u32> = [from].into();
        let mut found = Found::default();
        let mut paths: Vec<Path> = (0..kademlia.paths).map(|_| Path::default()).collect();
        for path in &mut paths {
            path.learn(&answer, self, target, 1);
        }
        let mut under_way = true;
        while under_way {
            under_way = false;
            for path in &mut paths {
                let next = path.next(self.k, kademlia.parallelism);
                for candidate in next {
                    under_way = true;
                    if !asked.insert(candidate.node) {
                        // Another path has asked it: it counts, and what it said does not.
                        let standing = self.standing(candidate.node);
                        path.settle(candidate.node, standing);
                        continue;
                    }
                    found.messages += 1;
                    let standing = self.standing(candidate.node);
                    path.settle(candidate.node, standing);
                    if standing == Standing::Gone {
                        found.timeouts += 1;
                        continue;
                    }
                    self.closest_of(candidate.node, target, &mut answer);
                    path.learn(&answer, self, target, candidate.hops + 1);
                }
            }
        }
        self.judge(target, &paths, found)
    }

    fn standing(&self, node: u32) -> Standing {
        if self.is_gone(node) {
            Standing::Gone
        } else {
            Standing::Answered
        }
    }

    /// What was found beside what there is.
    fn judge(&self, target: u64, paths: &[Path], mut found: Found) -> Found {
        let mut results: Vec<Candidate> = paths
            .iter()
            .flat_map(|path| &path.known)
            .filter(|(_, standing)| *standing == Standing::Answered)
            .map(|(candidate, _)| *candidate)
            .collect();
        results.sort_unstable();
        results.dedup_by_key(|candidate| candidate.node);
        results.truncate(self.k);
        let truth = self.truth(target);
        let got = truth
            .iter()
            .filter(|node| results.iter().any(|result| result.node == **node))
            .count();
        found.share = got as f64 / truth.len().max(1) as f64;
        found.closest = results.first().map(|result| result.node) == truth.first().copied();
        found.hops = results.first().map_or(0, |result| result.hops);
        found
    }

    /// The `k` closest nodes that are there.
    fn truth(&self, target: u64) -> Vec<u32> {
        // The subtree around the target with enough in it, and some to spare for the gone.
        let mut bits = BITS;
        let mut around = self.under(target, bits);
        let enough = (self.k as f64 * 2.0 / (1.0 - self.stale).max(0.05)) as usize + 8;
        while bits > 0 && around.len() < enough {
            bits -= 1;
            around = self.under(target, bits);
        }
        let mut nodes: Vec<u32> = around
            .map(|at| at as u32)
            .filter(|node| !self.is_gone(*node))
            .collect();
        nodes.sort_unstable_by_key(|node| self.ids[*node as usize] ^ target);
        nodes.truncate(self.k);
        nodes
    }
}

impl Path {
    fn learn(&mut self, nodes: &[u32], space: &Space, target: u64, hops: u32) {
        for node in nodes {
            let candidate = Candidate {
                distance: space.ids[*node as usize] ^ target,
                node: *node,
                hops,
            };
            let place = self
                .known
                .partition_point(|(known, _)| known.distance < candidate.distance);
            let is_known = self
                .known
                .get(place)
                .is_some_and(|(known, _)| known.node == candidate.node);
            if !is_known {
                self.known.insert(place, (candidate, Standing::New));
            }
        }
    }

    /// Whom to ask next: of the `k` closest that have not gone, those not asked yet.
    fn next(&self, k: usize, parallelism: usize) -> Vec<Candidate> {
        self.known
            .iter()
            .filter(|(_, standing)| *standing != Standing::Gone)
            .take(k)
            .filter(|(_, standing)| *standing == Standing::New)
            .take(parallelism)
            .map(|(candidate, _)| *candidate)
            .collect()
    }

    fn settle(&mut self, node: u32, standing: Standing) {
        if let Some(known) = self.known.iter_mut().find(|(known, _)| known.node == node) {
            known.1 = standing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::Calibration;

    fn mean_hops(nodes: u32, stale: f64) -> (f64, f64) {
        let kademlia = Calibration::of_file().unwrap().kademlia;
        let space = Space::new(nodes, 1, &kademlia, stale);
        let lookups = 200u32;
        let all = (0..lookups).map(|n| {
            let from = (at(9, 1, u64::from(n)) % u64::from(space.nodes())) as u32;
            space.lookup(from, at(9, 2, u64::from(n)), &kademlia)
        });
        let (hops, found) = all.fold((0, 0), |(hops, closest), found| {
            (hops + found.hops, closest + u32::from(found.closest))
        });
        let mean = |sum: u32| f64::from(sum) / f64::from(lookups);
        (mean(hops), mean(found))
    }

    #[test]
    fn small_meshes_are_known_whole_and_large_ones_take_the_logarithm() {
        let (hops, found) = mean_hops(20, 0.0);
        assert!((hops - 1.0).abs() < 0.2 && found > 0.99, "{hops} {found}");
        let (small, found) = mean_hops(1_000, 0.0);
        assert!(found > 0.99, "{found}");
        let (large, found) = mean_hops(100_000, 0.0);
        assert!(found > 0.99, "{found}");
        // A bucket of 20 resolves about four bits a hop and the last one all the rest.
        let apart = large - small;
        assert!((0.5..=3.0).contains(&apart), "{small} {large}");
    }

    #[test]
    fn nodes_that_have_gone_cost_time_and_hardly_a_result() {
        let (_, found) = mean_hops(10_000, 0.3);
        assert!(found > 0.95, "{found}");
    }

    #[test]
    fn a_table_is_the_same_whenever_it_is_asked_for() {
        let kademlia = Calibration::of_file().unwrap().kademlia;
        let space = Space::new(5_000, 3, &kademlia, 0.1);
        let (a, b) = (
            space.lookup(17, 99, &kademlia),
            space.lookup(17, 99, &kademlia),
        );
        assert_eq!(a, b);
    }
}
