//! The numbers that the model takes as given, from `simulations/scale.toml`, which says
//! where each of them comes from.

use serde::Deserialize;

/// The file, as it was when this was compiled.
const FILE: &str = include_str!("../../scale.toml");

/// All of them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Lookups and provider records.
    pub kademlia: Kademlia,
    /// How adverts spread.
    pub gossip: Gossip,
    /// What spreads.
    pub advert: Advert,
    /// What peers ask each other for.
    pub exchange: Exchange,
    /// What lies between nodes.
    pub network: Network,
    /// What a node is to an index.
    pub index: Index,
    /// What a node may spend.
    pub budget: Budget,
}

/// Lookups and provider records.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kademlia {
    /// Entries of a bucket, and results of a lookup.
    pub k: usize,
    /// Disjoint paths of a lookup.
    pub paths: usize,
    /// Requests of one path at one time.
    pub parallelism: usize,
    /// Bytes of a request.
    pub request_bytes: f64,
    /// Bytes of an answer with `k` peers.
    pub answer_bytes: f64,
    /// After which a request is given up, in seconds.
    pub timeout_s: f64,
    /// Between two announcements of one key, in seconds.
    pub provide_every_s: f64,
    /// Between two looks over the routing table, in seconds.
    pub bootstrap_every_s: f64,
    /// Providers that one node keeps for one key.
    pub providers_per_key: usize,
}

/// How adverts spread.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gossip {
    /// Neighbours that adverts go to.
    pub degree: usize,
    /// With fewer, more are sought.
    pub degree_low: usize,
    /// With more, some are let go.
    pub degree_high: usize,
    /// Peers that are told which adverts there were.
    pub lazy: usize,
    /// Between two times that they are told, in seconds.
    pub heartbeat_s: f64,
    /// The longest pause before an advert is passed on, in seconds.
    pub pause_s: f64,
    /// The shortest pause of an advert that is only renewed, in seconds.
    pub renewal_wait_s: f64,
    /// How often renewals are passed on together, in seconds.
    pub renewal_round_s: f64,
    /// Bytes around an advert.
    pub envelope_bytes: f64,
    /// Bytes of an id.
    pub id_bytes: f64,
    /// Heartbeats for which an id is told of.
    pub told_for: f64,
    /// Connections of a node in a large mesh.
    pub connections: usize,
}

/// What spreads.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advert {
    /// Its bytes.
    pub bytes: f64,
    /// Between two of one node, in seconds.
    pub every_s: f64,
    /// How many a table holds at most.
    pub table_most: usize,
    /// Bytes that each takes in memory.
    pub table_bytes: f64,
    /// Seconds of a core to judge one that is news.
    pub verify_s: f64,
}

/// What peers ask each other for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Between two, in seconds.
    pub every_s: f64,
    /// Bytes for each advert that the asker has.
    pub summary_bytes: f64,
    /// How many a joiner asks.
    pub join_exchanges: f64,
}

/// What lies between nodes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// One way, the median, in seconds.
    pub delay_median_s: f64,
    /// The standard deviation of its logarithm.
    pub delay_sigma: f64,
    /// The share of gossip that is lost.
    pub loss: f64,
    /// How long a node stays, in seconds.
    pub session_s: f64,
    /// The share of a routing table that has gone.
    pub stale: f64,
    /// The share of nodes that are reached through relays alone.
    pub behind_boxes: f64,
    /// Nodes that one relay serves.
    pub reservations: f64,
    /// Relays of each node that needs them.
    pub relays_each: f64,
}

/// What a node is to an index.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Between two heartbeats, in seconds.
    pub heartbeat_s: f64,
    /// Memory for each node.
    pub node_bytes: f64,
    /// Heartbeats in a second of one core.
    pub heartbeats_per_cpu_s: f64,
    /// Nodes that one index takes.
    pub nodes_most: f64,
    /// Bytes of a heartbeat and its answer.
    pub heartbeat_bytes: f64,
}

/// What a node may spend.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// Bytes of memory.
    pub memory_bytes: f64,
    /// Of a core.
    pub cpu: f64,
}

impl Calibration {
    /// The numbers of the file.
    ///
    /// # Errors
    /// Never, as a test sees; the type is the parser's.
    pub fn of_file() -> Result<Self, toml::de::Error> {
        toml::from_str(FILE)
    }
}

#[cfg(test)]
mod tests {
    use embermesh_mesh::protocol::{MAX_ADVERTS, exchange, own};

    use super::*;

    #[test]
    fn what_the_file_says_of_the_protocol_is_what_the_protocol_says() {
        let file = Calibration::of_file().unwrap();
        assert_eq!(file.advert.table_most, MAX_ADVERTS);
        let middle = |span: std::time::Duration, jitter: std::time::Duration| {
            span.as_secs_f64() - jitter.as_secs_f64() / 2.0
        };
        let refresh = middle(own::REFRESH, own::REFRESH_JITTER);
        assert!((file.advert.every_s - refresh).abs() < 1e-9);
        let every = middle(exchange::EXCHANGE_INTERVAL, exchange::EXCHANGE_JITTER);
        assert!((file.exchange.every_s - every).abs() < 1e-9);
        let joins = f64::from(exchange::JOIN_EXCHANGES);
        assert!((file.exchange.join_exchanges - joins).abs() < 1e-9);
    }
}
