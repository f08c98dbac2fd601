//! `embermesh grant`: an owner's word that a client may run jobs on the owner's nodes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use embermesh_crypto::{
    NetworkName, PeerId, UnixMillis,
    statement::{self, Grant as Content, Signed, Statement as _, Verified},
};
use figment::value::Dict;
use serde_json::{Value, json};

use crate::{
    args::Global,
    exit::{Exit, WrongInput},
    identity,
    show::amount,
};

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// Let a client run jobs on your nodes without an index.
#[derive(Debug, Subcommand)]
pub(crate) enum Grant {
    /// Sign a grant with your key, which your nodes name under `owners`
    #[command(
        after_help = "Examples:\n  embermesh grant new --to 12D3KooW... --out anna.grant\n  embermesh grant new --to 12D3KooW... --node 12D3KooX... --days 7 --out anna.grant\n\nThe client shows it with `embermesh submit JOB --no-index --grant anna.grant`. Only that\nclient can use it, so that it is no secret. What was granted ends by itself; a node takes it\nback at once with the client's peer id under `deny`."
    )]
    New(Flags),
    /// Show what a grant says, once its signature is checked
    #[command(after_help = "Example:\n  embermesh grant show anna.grant -o json")]
    Show {
        /// The grant
        file: PathBuf,
    },
}

/// What is granted.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The client, by its peer id (`embermesh keys show`)
    #[arg(long, value_name = "PEER")]
    to: PeerId,
    /// A node; may be repeated [default: every node of yours]
    #[arg(long, value_name = "PEER")]
    node: Vec<PeerId>,
    /// The network of the nodes [default: `mesh.network` of the settings]
    #[arg(long, value_name = "NAME")]
    network: Option<NetworkName>,
    /// For how many days
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
    days: u16,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Grant {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(Dict::new())?;
        let grant = match self {
            Self::Show { file } => read(&file)?,
            Self::New(flags) => {
                let owner = identity::user_key(&settings)?;
                let now = UnixMillis::now();
                let nodes: BTreeSet<PeerId> = flags.node.into_iter().collect();
                let content = Content {
                    owner: owner.peer_id(),
                    client: flags.to,
                    network: flags.network.unwrap_or(settings.mesh.network.clone()),
                    nodes: nodes.into_iter().collect(),
                    issued_at: now,
                    expires_at: now
                        .saturating_add(Duration::from_secs(u64::from(flags.days) * DAY)),
                };
                let signed = statement::sign(&content, &owner)
                    .map_err(|error| WrongInput(error.to_string()))?;
                std::fs::write(&flags.out, signed.bytes())
                    .with_context(|| format!("cannot write the grant {}", flags.out.display()))?;
                signed.open()?
            }
        };
        global
            .output(&settings)
            .one(&fields(&grant), &value(&grant))?;
        Ok(Exit::Ok)
    }
}

/// The grants to this client out of files.
pub(crate) fn load(files: &[PathBuf], client: PeerId) -> anyhow::Result<Vec<Verified<Content>>> {
    let mut grants = Vec::new();
    for file in files {
        let grant = read(file)?;
        if grant.client != client {
            return Err(WrongInput(format!(
                "{} is a grant to {}, and your key is {client}",
                file.display(),
                grant.client
            ))
            .into());
        }
        if grant.expires_at <= UnixMillis::now() {
            return Err(WrongInput(format!(
                "{} ended at {}: ask {} for another",
                file.display(),
                amount::instant(grant.expires_at),
                grant.owner
            ))
            .into());
        }
        grants.push(grant);
    }
    Ok(grants)
}

fn read(path: &Path) -> anyhow::Result<Verified<Content>> {
    let wrong = |reason: &dyn std::fmt::Display| {
        anyhow::Error::new(WrongInput(format!(
            "cannot read the grant {}: {reason}",
            path.display()
        )))
    };
    let size = std::fs::metadata(path)
        .map_err(|error| wrong(&error))?
        .len();
    if size > Content::MAX_LEN as u64 {
        return Err(wrong(&"it is too large to be one"));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    Signed::from_bytes(bytes)
        .and_then(|signed| signed.open())
        .map_err(|error| wrong(&error))
}

fn fields(grant: &Content) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("owner", grant.owner.to_string()),
        ("client", grant.client.to_string()),
        ("network", grant.network.to_string()),
        ("from", amount::instant(grant.issued_at)),
        ("until", amount::instant(grant.expires_at)),
    ];
    if grant.nodes.is_empty() {
        fields.push(("nodes", "every node of the owner".to_owned()));
    }
    fields.extend(grant.nodes.iter().map(|node| ("node", node.to_string())));
    fields
}

fn value(grant: &Content) -> Value {
    json!({
        "owner": grant.owner.to_string(),
        "client": grant.client.to_string(),
        "network": grant.network.to_string(),
        "nodes": grant.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "issued_at": grant.issued_at.0,
        "expires_at": grant.expires_at.0,
    })
}
