//! Waits until the nodes have found each other, and shows it.

use std::{collections::BTreeMap, time::Duration};

use embermesh_client::{Client, NodeView};
use embermesh_crypto::{PeerId, time::UnixMillis};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use crate::{
    output::{Output, table},
    show::node,
};

/// How long the nodes may take to find each other.
const FOUND_WITHIN: Duration = Duration::from_secs(20);
/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// Waits until the index has every node's advert, and every node knows all others.
pub(crate) async fn wait(
    client: &Client,
    cluster: &Cluster,
    output: Output,
    nodes: usize,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + FOUND_WITHIN;
    // Each knows the index and every other node.
    let others = nodes as u64;
    loop {
        let mut known = client.nodes().await?;
        known.retain(|node| node.live && node.advert.is_some());
        let peers = peers(client, &known).await;
        let found = known.len() >= nodes
            && peers.values().filter(|peers| **peers >= others).count() >= nodes;
        if found {
            return show(cluster, output, &known, &peers);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the nodes did not find each other within {FOUND_WITHIN:?}: the index knows {}, and they know {:?} peers",
            known.len(),
            peers.values().collect::<Vec<_>>()
        );
        sleep(ASK_EVERY).await;
    }
}

/// How many peers each node knows, as it says itself.
async fn peers(client: &Client, known: &[NodeView]) -> BTreeMap<PeerId, u64> {
    let mut peers = BTreeMap::new();
    for node in known {
        if let Ok(status) = client.node_status(&node.address).await {
            peers.insert(node.address.peer, status.peers);
        }
    }
    peers
}

fn show(
    cluster: &Cluster,
    output: Output,
    known: &[NodeView],
    peers: &BTreeMap<PeerId, u64>,
) -> anyhow::Result<()> {
    let name = |peer: PeerId| {
        let named = cluster.nodes().find(|(_, other)| *other == peer);
        named.map_or_else(|| "-".to_owned(), |(name, _)| name.to_owned())
    };
    let now = UnixMillis::now();
    if !output.is_table() {
        for node in known {
            let peer = node.address.peer;
            let value = json!({ "update": "found", "name": name(peer), "peers": peers.get(&peer), "node": node::value(node) });
            output.item("", &value)?;
        }
        return Ok(());
    }
    let mut heads = vec!["name", "peers"];
    heads.extend(node::HEADERS);
    let mut rows: Vec<Vec<String>> = known
        .iter()
        .map(|node| {
            let peer = node.address.peer;
            let mut row = vec![
                name(peer),
                peers
                    .get(&peer)
                    .map_or_else(|| "-".to_owned(), u64::to_string),
            ];
            row.extend(node::row(node, now));
            row
        })
        .collect();
    rows.sort();
    output.line(&table(&heads, rows))?;
    Ok(())
}
