//! What breaks first: at what size each budget is spent and each bound is met.

use serde::Serialize;

use super::{
    Outlook,
    calibration::Calibration,
    cost::{Cost, PerAdvert, hot_key_per_s, index_load, table_of},
};

/// Requests a second that a node which keeps records should not be made to answer.
const HOT: f64 = 100.0;
/// The largest mesh that is looked at.
const LARGEST: f64 = 1e10;

/// A size from which something does not work, or costs more than it may.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// The size, in nodes.
    pub nodes: f64,
    /// What it is.
    pub what: String,
    /// What comes in its place.
    pub instead: &'static str,
}

/// All limits, the first to be met first. `of` is what the model says of a large mesh.
#[must_use]
pub fn limits(of: &Outlook, given: &Calibration) -> Vec<Limit> {
    let each = PerAdvert {
        copies: of.renewal_copies,
        ids: of.renewal_ids,
    };
    let full = |value: fn(&Cost) -> f64, budget: f64| {
        first(|nodes| value(&table_of(nodes, each, of.messages, given)) > budget)
    };
    let (budget, index) = (&given.budget, &given.index);
    let one_core = first(|nodes| index_load(nodes, given).cores > 1.0);
    let eight_gib =
        first(|nodes| index_load(nodes, given).memory_bytes > 8.0 * budget.memory_bytes);
    let hot = first(|nodes| hot_key_per_s(nodes, given) > HOT);
    let limit = |nodes, what: &str, instead| Limit {
        nodes,
        what: what.to_owned(),
        instead,
    };
    let zones = "zones: a table and a topic of some 2,000 nodes each, and keys in the DHT";
    let mut all = vec![
        limit(
            given.kademlia.providers_per_key as f64,
            "nodes of one class that a key of the DHT can name",
            "asking for a sample is what a class key is for; sharded keys (class/0 to class/n) name more",
        ),
        limit(
            given.advert.table_most as f64,
            "lines of a table: beyond, each node knows only a part of the mesh",
            zones,
        ),
        limit(
            full(|cost| cost.bytes_per_s, budget.bytes_per_s),
            "1 Mbit/s at each node, for knowing every other",
            zones,
        ),
        limit(
            full(|cost| cost.cpu, budget.cpu),
            "a tenth of a core at each node, for judging adverts",
            zones,
        ),
        limit(
            full(|cost| cost.tables_bytes_per_s, budget.bytes_per_s),
            "1 Mbit/s at each node, for the summaries of exchanges alone",
            "summaries by range (a hash for each part of the key space), asked for where they differ",
        ),
        limit(
            full(|cost| cost.memory_bytes, budget.memory_bytes),
            "1 GiB at each node, for the table (were it without a bound)",
            zones,
        ),
        limit(
            one_core,
            "one core of an index, for heartbeats",
            "heartbeats every 10 s for idle nodes; several indexes, which share nothing",
        ),
        limit(
            index.nodes_most,
            "nodes that one index takes by its settings",
            "several indexes, which share nothing: a client asks two or three",
        ),
        limit(
            eight_gib,
            "8 GiB of an index, for lines to its nodes",
            "several indexes; plain UDP heartbeats instead of a TLS line each",
        ),
        limit(
            hot,
            "100 requests a second at each node that keeps the record of one class",
            "sharded class keys; announcing less often the more providers a key has",
        ),
    ];
    all.sort_by(|a, b| a.nodes.total_cmp(&b.nodes));
    all
}

/// The least size for which something holds that holds for all larger ones.
fn first(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut below, mut above) = (1.0, LARGEST);
    if !holds(above) {
        return f64::INFINITY;
    }
    while above / below > 1.001 {
        let middle = f64::sqrt(below * above);
        if holds(middle) {
            above = middle;
        } else {
            below = middle;
        }
    }
    above.round()
}
