//! `embermesh index`: runs an index until a signal stops it, and gives passes to those
//! whose systems have no way to log in.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use embermesh_dialects::Dialect;
use embermesh_gateway::{NoPass, Pass};
use embermesh_index_server::Index as Server;
use figment::value::Dict;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Global, put, serialized},
    config::Settings,
    exit::{Exit, WrongInput},
    gateway, identity,
    runtime::{self, Stopping},
    show::{self, amount},
};

/// Run an index and say who may call it.
#[derive(Debug, Subcommand)]
pub(crate) enum Index {
    /// Run an index until SIGINT or SIGTERM
    #[command(
        after_help = "Examples:\n  embermesh index run --data-dir ./index\n  embermesh index run --listen 0.0.0.0:7420 --advertise index.example.org:7420\n\nWith -o json, one line on stdout says when it serves, and where."
    )]
    Run(Box<Flags>),
    /// Give somebody of a foreign system a token, where that has no way to log in
    #[command(
        after_help = "Examples:\n  embermesh index pass cyxwiz alice --data-dir ./index\n  embermesh index pass cyxwiz alice -o json\n  embermesh index pass cyxwiz bob --server node-1\n\nThe index may be running. The token goes with each call as `authorization: Bearer <token>`;\nthe account is where deposits for its bearer go."
    )]
    Pass {
        /// The system: cyxwiz, dim, hivemind, titancompute or zisk
        #[arg(value_parser = dialect)]
        system: Dialect,
        /// What its bearer is called there
        name: String,
        /// Show the key too by which the bearer's server node of CyxWiz verifies its clients
        #[arg(long, value_name = "ID")]
        server: Option<String>,
        /// Folder of the index
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

/// A foreign system by its word.
fn dialect(word: &str) -> Result<Dialect, String> {
    let known = Dialect::ALL
        .into_iter()
        .find(|known| known.as_str() == word);
    known.ok_or_else(|| {
        let all = Dialect::ALL.map(Dialect::as_str).join(", ");
        format!("there is no system {word:?}: write one of {all}")
    })
}

/// Flags of `index run`; the rest is in the configuration file.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Folder of its database and its key
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to serve gRPC on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
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
    /// Address of /metrics; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<String>,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

impl Flags {
    fn settings(&self) -> Dict {
        let mut server = Dict::new();
        put(
            &mut server,
            "data_dir",
            self.data_dir
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
        );
        put(&mut server, "listen", self.listen.clone());
        put(&mut server, "network", self.network.clone());
        put(&mut server, "advertise", some(&self.advertise));
        let mut mesh = Dict::new();
        put(&mut mesh, "listen", some(&self.mesh_listen));
        put(&mut mesh, "bootstrap", some(&self.bootstrap));
        put(&mut server, "mesh", (!mesh.is_empty()).then_some(mesh));
        let mut metrics = Dict::new();
        put(&mut metrics, "listen", self.metrics_listen.clone());
        put(
            &mut server,
            "metrics",
            (!metrics.is_empty()).then_some(metrics),
        );
        Dict::from([("index_server".to_owned(), server.into())])
    }
}

/// A list, if anything was given.
pub(crate) fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

impl Index {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        match self {
            Self::Run(flags) => {
                let settings = global.resolve(flags.settings())?;
                runtime::run(serve(global, settings, flags.die_with_parent))
            }
            Self::Pass {
                system,
                name,
                server,
                data_dir,
            } => {
                let mut index = Dict::new();
                put(
                    &mut index,
                    "data_dir",
                    data_dir.as_ref().and_then(serialized),
                );
                let settings = Dict::from([("index_server".to_owned(), index.into())]);
                let settings = global.resolve(settings)?;
                runtime::run(pass(global, settings, system, name, server))
            }
        }
    }
}

/// Makes a pass in the folder of an index.
async fn pass(
    global: &Global,
    settings: Settings,
    system: Dialect,
    name: String,
    server: Option<String>,
) -> anyhow::Result<Exit> {
    let folder = gateway::folder(&settings.index_server);
    if server.is_some() && system != Dialect::CyxWiz {
        let message = "--server: the server nodes of cyxwiz alone verify with a key of theirs";
        return Err(WrongInput(message.to_owned()).into());
    }
    let pass = Pass::make(&folder, system, &name).await.map_err(wrong)?;
    let key = server.map(|id| Pass::server_key(&folder, &id));
    let key = key.transpose().map_err(wrong)?;
    let mut rows = vec![
        ("system", system.to_string()),
        ("name", name.clone()),
        ("account", pass.account.to_string()),
        ("expires", amount::instant(pass.expires)),
        ("token", pass.token.clone()),
    ];
    rows.extend(key.clone().map(|key| ("server_key", key)));
    let mut value = json!({
        "system": system,
        "name": name,
        "account": pass.account,
        "expires_at_ms": pass.expires.0,
        "token": pass.token,
    });
    if let Some(key) = key {
        value["server_key"] = key.into();
    }
    global.output(&settings).one(&rows, &value)?;
    Ok(Exit::Ok)
}

/// A name that cannot be had is the operator's to change.
fn wrong(error: NoPass) -> anyhow::Error {
    match error {
        NoPass::Refused(failure) => WrongInput(failure.message).into(),
        error => error.into(),
    }
}

async fn serve(global: &Global, settings: Settings, with_parent: bool) -> anyhow::Result<Exit> {
    let output = global.output(&settings);
    runtime::allow_many_connections();
    // Heard from before it starts, so that none is lost.
    let mut stopping = Stopping::listen()?;
    if with_parent {
        stopping = stopping.or_orphaned()?;
    }
    let mut config = settings.index_server;
    config.membership = settings.private.membership()?;
    let keypair = identity::daemon_key(global.key.as_deref(), &config.data_dir)?;
    let network = config.network.to_string();
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let starting = Box::pin(async move {
        let bound = Server::bind(config.clone(), keypair, token).await?;
        let (beside, foreign) = gateway::start(&settings.gateway, &config, &bound).await?;
        anyhow::Ok((bound.serve(beside).await?, foreign))
    });
    let (running, foreign) = tokio::select! {
        biased;
        _ = stopping.asked() => return Ok(Exit::Ok),
        started = starting => started?,
    };
    let ready = show::Ready {
        what: "index",
        peer: running.peer_id(),
        network,
        address: running.address(),
        mesh: running.mesh_addresses(),
        metrics: running.metrics_address(),
        more: json!({
            "rest": foreign.as_ref().and_then(|foreign| foreign.rest),
            "listeners": foreign.as_ref().map_or(&[][..], |foreign| &foreign.listeners),
        }),
    };
    ready.print(output)?;
    let ended = running.wait();
    tokio::pin!(ended);
    tokio::select! {
        _ = stopping.asked() => {
            cancel.cancel();
            ended.await?;
        }
        ended = &mut ended => ended?,
    }
    if let Some(foreign) = foreign {
        foreign.stopped().await;
    }
    Ok(Exit::Ok)
}
