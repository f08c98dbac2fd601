//! `embermesh node run`: a node, until a signal stops it.

use std::{future, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use embermesh_client::ClientError;
use embermesh_mesh::{Mesh, MeshError};
use embermesh_node::{Logs, Node as Daemon, Shutdown};
use figment::value::Dict;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::index::some;
use crate::{
    args::{Global, put},
    config::Settings,
    exit::Exit,
    identity,
    runtime::{self, Asked, Stopping},
    show,
};

/// How long joining the mesh may take before a warning says so.
const JOIN_WITHIN: Duration = Duration::from_secs(20);

/// Run a node.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Run a node until SIGINT, or SIGTERM, which lets running jobs come to a point
    /// from which another node can go on
    #[command(
        after_help = "Examples:\n  embermesh node run --data-dir ./node --index 127.0.0.1:7420\n  embermesh node run --index index.example.org:7420 --device cpu --device wgpu:0\n\nWith -o json, one line on stdout says when it serves, and where."
    )]
    Run(Box<Flags>),
}

/// Flags of `node run`; the rest is in the configuration file.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Folder of its database, its blobs and its key
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Index to register with, as HOST:PORT or HOST:PORT/p2p/PEER; what it issues is
    /// trusted
    #[arg(long, value_name = "ADDRESS")]
    index: Vec<String>,
    /// Address to serve gRPC over TLS on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    tls_listen: Option<String>,
    /// HOST:PORT as others reach it
    #[arg(long, value_name = "ADDRESS")]
    advertise: Vec<String>,
    /// Name of the network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Multiaddr of the mesh to listen on
    #[arg(long, value_name = "MULTIADDR")]
    mesh_listen: Vec<String>,
    /// Multiaddr, with /p2p/PEER, of a peer to join the mesh through
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
    /// Device to offer: cpu, wgpu:0, cuda:0
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Jobs at once on one device
    #[arg(long, value_name = "NUMBER")]
    slots: Option<u32>,
    /// Client key that may use this node without an index
    #[arg(long, value_name = "PEER")]
    allow: Vec<String>,
    /// Client key of this node's owner, whose jobs go first
    #[arg(long, value_name = "PEER")]
    owner: Vec<String>,
    /// Let every client use this node without an index, within [node.guests]
    #[arg(long)]
    open: bool,
    /// Programs of clients that may run here: wasm, python
    #[arg(long, value_name = "RUNTIME", value_parser = ["wasm", "python"])]
    runtime: Vec<String>,
    /// Where the node is
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

impl Flags {
    fn settings(&self) -> Dict {
        let mut node = Dict::new();
        put(
            &mut node,
            "data_dir",
            self.data_dir
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
        );
        put(&mut node, "indexes", some(&self.index));
        put(&mut node, "tls_listen", self.tls_listen.clone());
        put(&mut node, "advertise", some(&self.advertise));
        put(&mut node, "network", self.network.clone());
        put(&mut node, "listen", some(&self.mesh_listen));
        put(&mut node, "bootstrap", some(&self.bootstrap));
        put(&mut node, "devices", some(&self.device));
        put(&mut node, "slots", self.slots);
        put(&mut node, "allow", some(&self.allow));
        put(&mut node, "owners", some(&self.owner));
        put(&mut node, "open", self.open.then_some(true));
        put(&mut node, "region", self.region.clone());
        if !self.runtime.is_empty() {
            let allowed = self.runtime.iter().map(|name| (name.clone(), true.into()));
            node.insert("runtimes".to_owned(), allowed.collect::<Dict>().into());
        }
        Dict::from([("node".to_owned(), node.into())])
    }
}

impl Node {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let Self::Run(flags) = self;
        let logs = Logs::default();
        let settings = global.resolve_logged(flags.settings(), Some(&logs))?;
        runtime::run(serve(global, settings, flags.die_with_parent, logs))
    }
}

async fn serve(
    global: &Global,
    settings: Settings,
    with_parent: bool,
    logs: Logs,
) -> anyhow::Result<Exit> {
    let output = global.output(&settings);
    // Heard from before it starts, so that none is lost.
    let mut stopping = Stopping::listen()?;
    if with_parent {
        stopping = stopping.or_orphaned()?;
    }
    let mut config = settings.node;
    config.membership = settings.private.membership()?;
    if !config.origins.s3.buckets.is_empty() {
        config.origins.s3 = super::measure::with_environment(config.origins.s3);
    }
    let keypair = identity::daemon_key(global.key.as_deref(), &config.data_dir)?;
    let network = config.network.to_string();
    let indexes = config.indexes.clone();
    let bootstrapped = !config.bootstrap.is_empty();
    // A token that only the node itself cancels: what it serves and the lines to its
    // indexes must stand until its tasks have ended and their reports are delivered.
    let own = CancellationToken::new();
    let starting = Box::pin(Daemon::start_logged(config, keypair, own, logs));
    let mut running = tokio::select! {
        biased;
        _ = stopping.asked() => return Ok(Exit::Ok),
        started = starting => started?,
    };
    let ready = show::Ready {
        what: "node",
        peer: running.peer_id(),
        network,
        address: running.address(),
        mesh: running.mesh_addresses(),
        metrics: None,
        more: json!({ "indexes": indexes }),
    };
    let indexes = indexes.len();
    ready.print(output)?;
    let whole = running.mesh().clone();
    let mesh = bootstrapped.then(|| whole.clone());
    let refusals = running.refusals();
    let mut shutdowns = running.shutdowns();
    tokio::select! {
        asked = stopping.asked() => match asked {
            Asked::Interrupt | Asked::Orphaned => running.stop().await?,
            Asked::Terminate => running.drain().await?,
        },
        how = shutdowns.asked() => match how {
            Shutdown::Now => running.stop().await?,
            Shutdown::Drain => running.drain().await?,
        },
        error = unwelcome(mesh, refusals, indexes) => {
            running.stop().await?;
            return Err(error);
        }
        () = whole.ended() => {
            running.drain().await?;
            anyhow::bail!(
                "the mesh of this node has ended by an error of its own, which the log names: start the node again, and tell of it"
            );
        }
    }
    Ok(Exit::Ok)
}

/// Waits until it is certain that the node will never be part of what it was told
/// to join: its bootstrap peers are of another network, or all of its indexes have
/// refused it for good. Whoever is merely away is no reason to end.
async fn unwelcome(
    mesh: Option<Mesh>,
    refusals: Option<mpsc::Receiver<ClientError>>,
    mut indexes: usize,
) -> anyhow::Error {
    let foreign = async {
        if let Some(mesh) = mesh {
            match mesh.joined(JOIN_WITHIN).await {
                Err(error @ MeshError::OtherNetwork { .. }) => return error,
                Err(error) => tracing::warn!(%error, "the mesh is not joined yet"),
                Ok(()) => {}
            }
        }
        future::pending().await
    };
    let refused = async {
        if let Some(mut refusals) = refusals {
            while let Some(error) = refusals.recv().await {
                indexes = indexes.saturating_sub(1);
                if indexes == 0 {
                    return error;
                }
                tracing::warn!(%error, "an index will not have this node, which goes on with the others");
            }
        }
        future::pending().await
    };
    tokio::select! {
        error = foreign => error.into(),
        error = refused => error.into(),
    }
}
