//! The subcommands, one file each.

pub(crate) mod account;
pub(crate) mod ask;
pub(crate) mod blob;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod grant;
pub(crate) mod index;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod measure;
pub(crate) mod models;
pub(crate) mod node;
pub(crate) mod nodes;
pub(crate) mod onnx;
pub(crate) mod party;
pub(crate) mod proof;
pub(crate) mod prove;
pub(crate) mod quote;
pub(crate) mod receipt;
pub(crate) mod stay;
pub(crate) mod submit;
pub(crate) mod token;

use std::io;

use clap::CommandFactory as _;
use embermesh_client::{Client, Options};

use crate::{
    args::{Cli, Command},
    config::{Road, Settings},
    exit::{Exit, WrongInput},
    identity, indexes,
};

/// Does what was typed.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let global = cli.global;
    match cli.command {
        Command::Demo(flags) => demo::run(&global, flags),
        Command::Keys(keys) => keys.run(&global),
        Command::Index(index) => index.run(&global),
        Command::Node(node) => node.run(&global),
        Command::Nodes(nodes) => nodes.run(&global),
        Command::Submit(flags) => flags.run(&global),
        Command::Quote(flags) => flags.run(&global),
        Command::Jobs(jobs) => jobs.run(&global),
        Command::Deploy(flags) => flags.run(&global),
        Command::Ask(flags) => flags.run(&global),
        Command::Models(models) => models.run(&global),
        Command::Undeploy(flags) => flags.run(&global),
        Command::Account(account) => account.run(&global),
        Command::Blob(blob) => blob.run(&global),
        Command::Token(token) => token.run(&global),
        Command::Grant(grant) => grant.run(&global),
        Command::Receipt(receipt) => receipt.run(&global),
        Command::Proof(proof) => proof.run(&global),
        Command::Config(config) => config.run(&global),
        Command::Doctor(flags) => flags.run(&global),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "embermesh", &mut io::stdout());
            Ok(Exit::Ok)
        }
        Command::Worker { words } => {
            // Only when something stands before the word: `main` takes the rest.
            Err(WrongInput(format!(
                "`worker` comes first and is started by a node: {words:?}"
            ))
            .into())
        }
    }
}

/// Connects to the first index of the settings that answers, as the user.
pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<Client> {
    let client = Box::pin(indexes::all(settings)?.connect()).await?;
    by_road(settings, client).await
}

/// The same client by the roads of the settings.
pub(crate) async fn by_road(settings: &Settings, client: Client) -> anyhow::Result<Client> {
    if settings.road == Road::Tls {
        return Ok(client.by(Options {
            road: settings.road.into(),
            ..Options::default()
        }));
    }
    if settings.road == Road::Auto {
        return Ok(client);
    }
    let membership = settings.private.membership()?;
    let mesh = crate::mesh::join(&client, identity::user_key(settings)?, membership).await?;
    Ok(client.by(Options {
        road: settings.road.into(),
        mesh: Some(mesh),
        ..Options::default()
    }))
}
