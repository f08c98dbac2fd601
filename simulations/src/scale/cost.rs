//! What a mesh costs each node by the second, for each way to know of the others.

use serde::Serialize;

use super::calibration::Calibration;

/// What one node pays. Bytes are those that it receives; it sends as many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Bytes of adverts that come by gossip, a second.
    pub adverts_bytes_per_s: f64,
    /// Bytes of lists of ids, a second.
    pub lists_bytes_per_s: f64,
    /// Bytes of tables that peers ask each other for, a second.
    pub tables_bytes_per_s: f64,
    /// Bytes of lookups: of the own ones and of others', a second.
    pub lookups_bytes_per_s: f64,
    /// All of these.
    pub bytes_per_s: f64,
    /// Bytes of memory for what is known of others.
    pub memory_bytes: f64,
    /// The share of a core that judging adverts takes.
    pub cpu: f64,
    /// Bytes that a node receives until it knows the mesh, when it joins.
    pub join_bytes: f64,
}

/// What a message of gossip costs on this mesh: what [`super::spread`] found.
#[derive(Clone, Copy, Debug)]
pub struct PerAdvert {
    /// Copies that a node gets.
    pub copies: f64,
    /// Ids in lists.
    pub ids: f64,
}

/// Every node knows the adverts of `known` others, by gossip and by exchanges; the mesh has
/// lookups of `messages` requests.
#[must_use]
pub fn table_of(known: f64, each: PerAdvert, messages: f64, given: &Calibration) -> Cost {
    let Calibration {
        gossip,
        advert,
        exchange,
        network,
        kademlia,
        ..
    } = given;
    // Each node's own renewals, and its first word where it has just come, which is little.
    let news_per_s = known * (1.0 / advert.every_s + 1.0 / network.session_s);
    let adverts = news_per_s * each.copies * (advert.bytes + gossip.envelope_bytes);
    let lists = news_per_s * each.ids * gossip.id_bytes;
    // A node is asked as often as it asks: the summaries of others come in. What they
    // lack is little: gossip has brought the rest.
    let join_bytes = known * (advert.bytes + exchange.join_exchanges * exchange.summary_bytes);
    let tables = known * exchange.summary_bytes / exchange.every_s + join_bytes / network.session_s;
    let lookups =
        messages * (kademlia.request_bytes + kademlia.answer_bytes) / kademlia.bootstrap_every_s;
    Cost {
        adverts_bytes_per_s: adverts,
        lists_bytes_per_s: lists,
        tables_bytes_per_s: tables,
        lookups_bytes_per_s: lookups,
        bytes_per_s: adverts + lists + tables + lookups,
        memory_bytes: known * advert.table_bytes,
        cpu: news_per_s * advert.verify_s,
        join_bytes,
    }
}

/// Beside a table of its zone, a node announces `keys` keys in the DHT: what it can do,
/// and what it holds.
#[must_use]
pub fn with_keys(cost: Cost, keys: f64, messages: f64, given: &Calibration) -> Cost {
    let kademlia = &given.kademlia;
    let each = messages * (kademlia.request_bytes + kademlia.answer_bytes)
        + kademlia.k as f64 * kademlia.request_bytes;
    // What it asks of others, others ask of it.
    let announced = keys * each / kademlia.provide_every_s;
    Cost {
        lookups_bytes_per_s: cost.lookups_bytes_per_s + announced,
        bytes_per_s: cost.bytes_per_s + announced,
        ..cost
    }
}

/// What all nodes of a mesh together are to indexes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IndexLoad {
    /// Heartbeats, a second.
    pub heartbeats_per_s: f64,
    /// Cores that these take.
    pub cores: f64,
    /// Bytes of memory.
    pub memory_bytes: f64,
    /// Bytes received, a second.
    pub bytes_per_s: f64,
    /// Indexes that it takes, at the most nodes of each.
    pub indexes: f64,
}

/// What `nodes` nodes are to indexes.
#[must_use]
pub fn index_load(nodes: f64, given: &Calibration) -> IndexLoad {
    let index = &given.index;
    let heartbeats_per_s = nodes / index.heartbeat_s;
    IndexLoad {
        heartbeats_per_s,
        cores: heartbeats_per_s / index.heartbeats_per_cpu_s,
        memory_bytes: nodes * index.node_bytes,
        bytes_per_s: heartbeats_per_s * index.heartbeat_bytes,
        indexes: (nodes / index.nodes_most).ceil(),
    }
}

/// Requests a second at each of the few nodes that keep the record of one key, where
/// `providers` announce it.
#[must_use]
pub fn hot_key_per_s(providers: f64, given: &Calibration) -> f64 {
    // The lookup's last hop and the announcement itself.
    2.0 * providers / given.kademlia.provide_every_s
}
