//! `embermesh doctor`: what is wrong here, and what to do about it.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use figment::value::{Dict, Value};
use tokio::time::timeout;

use super::index::some;
use crate::{
    args::{ClientFlags, Global, put},
    direct::MeshFlags,
    doctor::{self, Setup, WITHIN, report},
    exit::Exit,
    runtime,
};

/// Look at this machine's part of the mesh, and say for each trouble what to do
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embermesh doctor\n  embermesh doctor --config node.toml\n  embermesh doctor --index index.example.org:7420 --data-dir ./node\n  embermesh doctor --no-index --peer /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW...\n  embermesh doctor -o json | jq '.findings[] | select(.state == \"trouble\")'\n\nIt ends within 15 s and changes nothing. Exit codes: 0 no trouble, 5 troubles were found."
)]
pub(crate) struct Flags {
    /// Folder of the node
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Name of the network
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Device that the node is to offer: cpu, wgpu:0, cuda:0
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    #[command(flatten)]
    mesh: MeshFlags,
    #[command(flatten)]
    client: ClientFlags,
}

impl Flags {
    fn settings(&self) -> Dict {
        let mut settings = self.mesh.onto(self.client.settings());
        let mut node = Dict::new();
        put(
            &mut node,
            "data_dir",
            self.data_dir
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
        );
        put(&mut node, "network", self.network.clone());
        put(&mut node, "devices", some(&self.device));
        if !node.is_empty() {
            settings.insert("node".to_owned(), node.into());
        }
        if let Some(network) = &self.network {
            let mesh = settings.entry("mesh".to_owned());
            let mesh = mesh.or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, mesh) = mesh {
                put(mesh, "network", Some(network.clone()));
            }
        }
        settings
    }

    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let begun = Instant::now();
        let (output, setup) = match global.resolve_hushed(self.settings()) {
            Ok(settings) => {
                let output = global.output(&settings);
                let setup = Setup {
                    settings,
                    key: global.key.clone(),
                    no_index: self.mesh.no_index,
                };
                (output, Ok(setup))
            }
            Err(error) => (global.bare_output(), Err(error)),
        };
        let findings = runtime::run(async move {
            match setup {
                // Each part has a bound of its own; this one is for what has none.
                Ok(setup) => timeout(WITHIN, Box::pin(doctor::examine(setup))).await?,
                Err(error) => Ok(doctor::without_settings(&error).await),
            }
        })?;
        let took = begun.elapsed();
        if output.is_table() {
            output.line(&report::text(&findings, took, report::has_colours()))?;
        } else {
            output.one(&[], &report::value(&findings, took))?;
        }
        Ok(match report::troubles(&findings) {
            0 => Exit::Ok,
            _ => Exit::Troubles,
        })
    }
}
