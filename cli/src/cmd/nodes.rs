//! `embermesh nodes ls`: the nodes that an index knows, or that gossip tells of.

use clap::Subcommand;
use embermesh_crypto::time::UnixMillis;

use crate::{
    args::{ClientFlags, Global},
    cmd::connect,
    direct::{self, MeshFlags},
    exit::Exit,
    runtime,
    show::node,
};

/// Look at the nodes that an index or the mesh knows.
#[derive(Debug, Subcommand)]
pub(crate) enum Nodes {
    /// List the nodes
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  embermesh nodes ls\n  embermesh nodes ls --no-index --peer /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW...\n  embermesh nodes ls --index 127.0.0.1:7420 -o json"
    )]
    Ls {
        /// Only those heard of lately
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        mesh: MeshFlags,
        #[command(flatten)]
        client: ClientFlags,
    },
}

impl Nodes {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let Self::Ls { live, mesh, client } = self;
        let settings = global.resolve(mesh.onto(client.settings()))?;
        let output = global.output(&settings);
        runtime::run(async move {
            let mut nodes = if mesh.no_index {
                Box::pin(direct::join(&settings)).await?.nodes()
            } else {
                connect(&settings).await?.nodes().await?
            };
            nodes.retain(|node| node.live || !live);
            nodes.sort_by_key(|node| (!node.live, node.address.peer));
            let now = UnixMillis::now();
            let rows = nodes.iter().map(|shown| node::row(shown, now)).collect();
            output.list(
                &node::HEADERS,
                rows,
                nodes.iter().map(node::value).collect(),
            )?;
            Ok(Exit::Ok)
        })
    }
}
