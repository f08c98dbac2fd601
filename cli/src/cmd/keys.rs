//! `embermesh keys`: the user's key, and the key of a private mesh.

use std::path::PathBuf;

use clap::Subcommand;
use embermesh_crypto::Keypair;
use figment::value::Dict;
use serde_json::json;

use crate::{args::Global, exit::Exit, identity, private};

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
    /// Make a key for a private mesh, which all of its members share
    #[command(
        after_help = "Examples:\n  embermesh keys network --out ./network.key\n\nEvery member needs the file, and this in its configuration file:\n  [private]\n  key_file = \"network.key\"\n\nWhoever has it can take part. Its form is that of libp2p's private networks."
    )]
    Network {
        /// Where to write it
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
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
            Self::Network { out } => {
                let key = private::create(&out)?;
                let fingerprint = key.fingerprint();
                let value = json!({ "fingerprint": fingerprint, "path": out });
                global.output(&settings).one(
                    &[
                        ("fingerprint", fingerprint),
                        ("file", out.display().to_string()),
                    ],
                    &value,
                )?;
                return Ok(Exit::Ok);
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
