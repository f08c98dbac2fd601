//! `embermesh keys`: the user's key.

use std::path::PathBuf;

use clap::Subcommand;
use embermesh_crypto::Keypair;
use figment::value::Dict;
use serde_json::json;

use crate::{args::Global, exit::Exit, identity};

/// Make and show keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a new key, readable by you alone
    #[command(
        after_help = "Examples:\n  embermesh keys new\n  embermesh keys new --out ./alice.pem"
    )]
    New {
        /// Where to write it [default: the file that --key or the settings name]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show the peer id of your key
    #[command(
        after_help = "Examples:\n  embermesh keys show\n  embermesh keys show -o json --key ./alice.pem"
    )]
    Show,
}

impl Keys {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(Dict::new())?;
        let (path, keypair) = match self {
            Self::New { out } => {
                let path = out.map_or_else(|| identity::user_key_path(&settings), Ok)?;
                let keypair = identity::create(&path)?;
                (path, keypair)
            }
            Self::Show => {
                let path = identity::user_key_path(&settings)?;
                let keypair = Keypair::load(&path)?;
                (path, keypair)
            }
        };
        let peer = keypair.peer_id().to_string();
        let value = json!({ "peer": peer, "path": path });
        global.output(&settings).one(
            &[("peer", peer), ("file", path.display().to_string())],
            &value,
        )?;
        Ok(Exit::Ok)
    }
}
