//! All that the model says of a mesh of one size.

use serde::Serialize;

use super::{
    calibration::Calibration,
    cost::{Cost, IndexLoad, PerAdvert, index_load, table_of, with_keys},
    lookup::{Found, Space},
    random::at,
    spread::{Graph, Kind, Spread, spread},
};

/// Lookups that are tried at each size.
const LOOKUPS: u32 = 2_000;
/// Adverts that are let spread.
const ADVERTS: u32 = 5;
/// Nodes of a zone, where the mesh has zones.
pub const ZONE: f64 = 2_000.0;
/// Keys that a node announces: its classes and blobs.
pub const KEYS: f64 = 8.0;

/// What the model says of a mesh of one size. Means, where nothing else is said.
#[derive(Clone, Debug, Serialize)]
pub struct Outlook {
    /// Its nodes.
    pub nodes: u32,
    /// Answers that lead to each other until the closest node is known.
    pub hops: f64,
    /// The same, of which 99 of 100 lookups need no more.
    pub hops_p99: f64,
    /// Requests of a lookup.
    pub messages: f64,
    /// Of these, to nodes that have gone.
    pub timeouts: f64,
    /// The share of lookups that found the closest node there is.
    pub found: f64,
    /// The share of the `k` closest that was found.
    pub found_of_k: f64,
    /// The share of nodes that an advert reached.
    pub reached: f64,
    /// Copies of an advert that a node gets, where it says something new.
    pub copies: f64,
    /// The same of one that is only renewed, as most are.
    pub renewal_copies: f64,
    /// Ids in lists that a node gets for one that is renewed.
    pub renewal_ids: f64,
    /// When 99 of 100 have one that is renewed, in seconds.
    pub renewal_p99_s: f64,
    /// When half of the nodes have an advert, in seconds.
    pub spread_p50_s: f64,
    /// When 99 of 100 have it.
    pub spread_p99_s: f64,
    /// When all have it.
    pub spread_all_s: f64,
    /// Where every node knows every other.
    pub full: Cost,
    /// As it is today: where a table has a bound.
    pub bounded: Cost,
    /// Where nodes know those of their zone, and find others by keys.
    pub zones: Cost,
    /// What all are to indexes.
    pub index: IndexLoad,
}

/// What the model says of a mesh of `nodes` nodes.
#[must_use]
pub fn outlook(nodes: u32, seed: u64, given: &Calibration) -> Outlook {
    let lookups = lookups(nodes, seed, given);
    let news = adverts(nodes, Kind::News, seed, given);
    let renewals = adverts(nodes, Kind::Renewal, seed, given);
    let each = PerAdvert {
        copies: renewals.copies,
        ids: renewals.ids,
    };
    let messages = lookups.messages;
    let most = f64::from(nodes);
    let bounded = most.min(given.advert.table_most as f64);
    let zone = table_of(most.min(ZONE), each, messages, given);
    Outlook {
        nodes,
        hops: lookups.hops,
        hops_p99: lookups.hops_p99,
        messages,
        timeouts: lookups.timeouts,
        found: lookups.found,
        found_of_k: lookups.found_of_k,
        reached: news.reached,
        copies: news.copies,
        renewal_copies: renewals.copies,
        renewal_ids: renewals.ids,
        renewal_p99_s: renewals.p99_s,
        spread_p50_s: news.p50_s,
        spread_p99_s: news.p99_s,
        spread_all_s: news.all_s,
        full: table_of(most, each, messages, given),
        bounded: Cost {
            // Gossip reaches a node however full its table is.
            memory_bytes: bounded * given.advert.table_bytes,
            ..table_of(most, each, messages, given)
        },
        zones: with_keys(zone, KEYS, messages, given),
        index: index_load(most, given),
    }
}

struct Lookups {
    hops: f64,
    hops_p99: f64,
    messages: f64,
    timeouts: f64,
    found: f64,
    found_of_k: f64,
}

fn lookups(nodes: u32, seed: u64, given: &Calibration) -> Lookups {
    let kademlia = &given.kademlia;
    let space = Space::new(nodes, seed, kademlia, given.network.stale);
    let mut all: Vec<Found> = (0..u64::from(LOOKUPS))
        .map(|n| {
            let from = (at(seed, 3, n) % u64::from(space.nodes())) as u32;
            space.lookup(from, at(seed, 4, n), kademlia)
        })
        .collect();
    all.sort_unstable_by_key(|found| found.hops);
    let mean = |value: &dyn Fn(&Found) -> f64| {
        all.iter().map(value).sum::<f64>() / all.len().max(1) as f64
    };
    Lookups {
        hops: mean(&|found| f64::from(found.hops)),
        hops_p99: f64::from(all.get(all.len() * 99 / 100).map_or(0, |found| found.hops)),
        messages: mean(&|found| f64::from(found.messages)),
        timeouts: mean(&|found| f64::from(found.timeouts)),
        found: mean(&|found| f64::from(u8::from(found.closest))),
        found_of_k: mean(&|found| found.share),
    }
}

/// The mean of several adverts on one mesh.
#[must_use]
pub fn adverts(nodes: u32, kind: Kind, seed: u64, given: &Calibration) -> Spread {
    let gossip = &given.gossip;
    let graph = Graph::new(nodes, gossip.degree, gossip.degree_high, seed);
    let mut sum = Spread::default();
    for n in 0..u64::from(ADVERTS) {
        let publisher = (at(seed, 5, n) % u64::from(nodes.max(1))) as u32;
        let one = spread(&graph, kind, publisher, given, at(seed, 6, n));
        let share = 1.0 / f64::from(ADVERTS);
        sum.reached += one.reached * share;
        sum.copies += one.copies * share;
        sum.ids += one.ids * share;
        sum.p50_s += one.p50_s * share;
        sum.p99_s += one.p99_s * share;
        sum.all_s += one.all_s * share;
    }
    sum
}
