//! A client's own part of the mesh, for the mesh road: it listens to nobody and
//! holds nothing for others.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use embermesh_client::Client;
use embermesh_crypto::Keypair;
use embermesh_mesh::{Membership, Mesh, MeshConfig};
use tokio_util::sync::CancellationToken;

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
    mesh.joined(JOIN_WITHIN)
        .await
        .context("no node of the mesh answers; --road tls needs none")?;
    Ok(mesh)
}
