//! A client without an index: it joins the mesh as a peer that is no node, through the
//! peers that it was told of and those that it has seen before.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use embermesh_client::{
    Client, Direct,
    bounds::MAX_SEEN,
    direct::{
        peers::{self, Seen},
        records::Records,
    },
};
use embermesh_crypto::{ids::NetworkName, time::UnixMillis};
use embermesh_mesh::{Mesh, MeshConfig};
use figment::value::Dict;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    args::put,
    cmd::{grant, index::some},
    config::{Settings, default_folder},
    exit::WrongInput,
    identity,
};

/// How long joining may take.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing new may be heard before what is known counts as all there is.
const QUIET: Duration = Duration::from_millis(300);
/// How long is waited for that at most.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// How long an index may take to tell of its nodes.
const REMEMBER_WITHIN: Duration = Duration::from_secs(5);
/// The file of peers that were seen, in the user's folder.
const SEEN_FILE: &str = "peers.json";
/// The folder of jobs without an index, in the user's folder.
const RECORDS_FOLDER: &str = "jobs";

/// How clients are part of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MeshSection {
    /// The network.
    pub(crate) network: NetworkName,
    /// Multiaddrs, each with `/p2p/…`, of peers to join through.
    pub(crate) peers: Vec<String>,
    /// Files of grants of owners of nodes to this user.
    pub(crate) grants: Vec<PathBuf>,
}

/// Flags of commands that can do without an index.
#[derive(Debug, Clone, Args)]
pub(crate) struct MeshFlags {
    /// Ask the nodes themselves, and no index
    #[arg(long, conflicts_with = "index", group = "without")]
    pub(crate) no_index: bool,
    /// Multiaddr, with /p2p/PEER, of a peer to join the mesh through without an index; may
    /// be repeated, and is remembered
    #[arg(long, value_name = "MULTIADDR")]
    peer: Vec<String>,
    /// File of a grant of an owner of nodes to you, as `embermesh grant new` makes it; may
    /// be repeated
    #[arg(long, value_name = "FILE", requires = "no_index")]
    grant: Vec<String>,
}

impl MeshFlags {
    /// Adds the same as settings.
    pub(crate) fn onto(&self, mut settings: Dict) -> Dict {
        let mut mesh = Dict::new();
        put(&mut mesh, "peers", some(&self.peer));
        put(&mut mesh, "grants", some(&self.grant));
        if !mesh.is_empty() {
            settings.insert("mesh".to_owned(), mesh.into());
        }
        settings
    }
}

/// The jobs of this user that no index knows.
pub(crate) fn records() -> anyhow::Result<Records> {
    Ok(Records::at(default_folder()?.join(RECORDS_FOLDER)))
}

/// Joins the mesh as a client.
pub(crate) async fn join(settings: &Settings) -> anyhow::Result<Direct> {
    let keypair = identity::user_key(settings)?;
    let grants = grant::load(&settings.mesh.grants, keypair.peer_id())?;
    let network = &settings.mesh.network;
    let seen_file = seen_file()?;
    let mut bootstrap = settings.mesh.peers.clone();
    let seen = peers::load(&seen_file, network);
    bootstrap.extend(seen.iter().flat_map(Seen::bootstrap));
    if bootstrap.is_empty() {
        return Err(WrongInput(
            "no peer of the mesh is known: give one with --peer MULTIADDR/p2p/PEER, as `embermesh node run` prints it, or write `peers = [\"…\"]` under `[mesh]` into the configuration file".to_owned(),
        )
        .into());
    }
    let config = MeshConfig {
        network: network.clone(),
        listen: Vec::new(),
        bootstrap,
        kad_server: false,
        membership: settings.private.membership()?,
        ..MeshConfig::default()
    };
    let mesh = Mesh::start(keypair.clone(), config, CancellationToken::new())
        .await
        .context("cannot join the mesh")?;
    crate::mesh::joined(&mesh);
    mesh.joined(JOIN_WITHIN)
        .await
        .context("no known peer of the mesh answers: give one that runs with --peer")?;
    settle(&mesh).await;
    remember(&mesh, &seen_file);
    let direct = Direct::new(keypair, mesh, settings.road.into(), records()?)?;
    Ok(direct.showing(grants))
}

/// Where the peers are remembered that were seen.
pub(crate) fn seen_file() -> anyhow::Result<PathBuf> {
    Ok(default_folder()?.join(SEEN_FILE))
}

/// Waits until the tables that were asked for have come.
async fn settle(mesh: &Mesh) {
    let mut changes = mesh.changes();
    let deadline = Instant::now() + SETTLED_WITHIN;
    while Instant::now() < deadline {
        if timeout(QUIET, changes.changed()).await.is_err() {
            return;
        }
    }
}

/// Writes down who was met, for the next time. That it cannot be written is no reason to
/// stop.
fn remember(mesh: &Mesh, file: &Path) {
    let at = UnixMillis::now();
    let network = mesh.network().clone();
    let heard_of = mesh.adverts().into_iter().map(|advert| advert.peer);
    let connected = mesh.peers().into_iter().map(|view| view.peer);
    let seen = connected.chain(heard_of).filter_map(|peer| {
        Some(Seen {
            peer,
            network: network.clone(),
            addresses: mesh.address_of(peer)?.mesh,
            at,
        })
    });
    keep(file, seen.collect());
}

/// Writes down the nodes that an index knows, for when no index answers.
pub(crate) async fn remember_nodes_of(client: &Client) {
    let (at, nodes) = (UnixMillis::now(), client.nodes());
    let nodes = match timeout(REMEMBER_WITHIN, nodes).await {
        Ok(Ok(nodes)) => nodes,
        Ok(Err(error)) => return tracing::warn!(%error, "the nodes are not remembered"),
        Err(_) => return tracing::warn!("the index took too long to tell of its nodes"),
    };
    let seen = nodes
        .into_iter()
        .filter(|node| node.live)
        .filter_map(|node| {
            Some(Seen {
                peer: node.address.peer,
                network: node.advert?.network.clone(),
                addresses: node.address.mesh,
                at,
            })
        });
    match seen_file() {
        Ok(file) => keep(&file, seen.take(MAX_SEEN).collect()),
        Err(error) => tracing::warn!(%error, "the nodes are not remembered"),
    }
}

fn keep(file: &Path, seen: Vec<Seen>) {
    if let Err(error) = peers::keep(file, seen) {
        tracing::warn!(%error, "the peers that were seen are not remembered");
    }
}
