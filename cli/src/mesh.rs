//! A client's own part of the mesh, for the mesh road: it listens to nobody and
//! holds nothing for others.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use embermesh_client::Client;
use embermesh_crypto::Keypair;
use embermesh_mesh::{Membership, Mesh, MeshConfig};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

/// What this process has joined, to be left in good order.
static JOINED: Mutex<Vec<Mesh>> = Mutex::new(Vec::new());

/// Has [`leave`] close what was joined.
pub(crate) fn joined(mesh: &Mesh) {
    let mut all = JOINED.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(mesh.clone());
}

/// Closes the connections of this process. A peer to which nobody says that one over QUIC is
/// closed holds it for 20 seconds, and lets a key have only a few: the next commands of this
/// user would not be let in.
pub(crate) async fn leave() {
    let all = std::mem::take(&mut *JOINED.lock().unwrap_or_else(PoisonError::into_inner));
    join_all(all.iter().map(Mesh::shutdown)).await;
}

/// How long joining may take.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// Joins the mesh through the nodes that the index knows.
pub(crate) async fn join(
    client: &Client,
    keypair: Arc<Keypair>,
    membership: Membership,
) -> anyhow::Result<Mesh> {
    let nodes = client.nodes().await?;
    let bootstrap: Vec<String> = nodes
        .iter()
        .filter(|node| node.live)
        .flat_map(|node| {
            let named = |address: &String| format!("{address}/p2p/{}", node.address.peer);
            node.address.mesh.iter().map(named)
        })
        .collect();
    let network = nodes
        .iter()
        .find_map(|node| node.advert.as_ref().map(|advert| advert.network.clone()))
        .unwrap_or_default();
    let config = MeshConfig {
        network,
        listen: Vec::new(),
        bootstrap,
        kad_server: false,
        membership,
        ..MeshConfig::default()
    };
    let mesh = Mesh::start(keypair, config, CancellationToken::new())
        .await
        .context("cannot join the mesh")?;
    joined(&mesh);
    mesh.joined(JOIN_WITHIN)
        .await
        .context("no node of the mesh answers; --road tls needs none")?;
    Ok(mesh)
}
