//! `embermesh models ls`: the models that the caller may ask, and where they are.

use std::collections::BTreeMap;

use clap::Subcommand;
use embermesh_client::{
    Client, Options,
    ask::{Deployment, ResidentModel},
    models_at,
};
use embermesh_crypto::{JobId, PeerId, time::UnixMillis};
use futures::future::join_all;

use crate::{
    args::{ClientFlags, Global},
    cmd::{blob::target, connect},
    exit::Exit,
    identity, runtime,
    show::model,
};

/// Look at resident models.
#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// List the models that you may ask
    #[command(
        after_help = "Examples:\n  embermesh models ls\n  embermesh models ls -o json\n  embermesh models ls --node 192.0.2.7:7421"
    )]
    Ls {
        /// Only those of this node, as HOST:PORT or HOST:PORT/p2p/PEER, without asking
        /// an index
        #[arg(long, value_name = "ADDRESS")]
        node: Option<String>,
        #[command(flatten)]
        client: ClientFlags,
    },
}

impl Models {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let Self::Ls { node, client } = self;
        let settings = global.resolve(client.settings())?;
        let output = global.output(&settings);
        runtime::run(async move {
            let shown = match node {
                Some(node) => {
                    let identity = identity::of_user(&settings)?;
                    let models = models_at(&identity, &target(&node)?, &Options::default()).await?;
                    models.into_iter().map(model::Shown::resident).collect()
                }
                None => all(&connect(&settings).await?).await?,
            };
            let now = UnixMillis::now();
            output.list(
                &model::HEADERS,
                shown.iter().map(|shown| model::row(shown, now)).collect(),
                shown.iter().map(model::value).collect(),
            )?;
            Ok(Exit::Ok)
        })
    }
}

/// The deployments of the index, with what their nodes say of them. A node that does
/// not answer takes nothing away from the list.
async fn all(client: &Client) -> anyhow::Result<Vec<model::Shown>> {
    let deployments = client.deployments().await?;
    let nodes: BTreeMap<PeerId, _> = deployments
        .iter()
        .filter_map(|deployment| deployment.node.clone())
        .map(|node| (node.peer, node))
        .collect();
    let asked = nodes.values().map(|node| client.models(node));
    let mut said: BTreeMap<JobId, ResidentModel> = join_all(asked)
        .await
        .into_iter()
        .flatten()
        .flatten()
        .map(|model| (model.job, model))
        .collect();
    let shown = |deployment: Deployment| {
        let resident = said.remove(&deployment.job);
        model::Shown::deployed(deployment, resident)
    };
    Ok(deployments.into_iter().map(shown).collect())
}
