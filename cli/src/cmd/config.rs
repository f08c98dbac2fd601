//! `embermesh config`: the settings.

use anyhow::Context as _;
use clap::Subcommand;
use figment::value::Dict;

use crate::{args::Global, config::EXAMPLE, exit::Exit};

/// Show the settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show the settings as they are, from defaults, file, environment and flags
    #[command(after_help = "Example:\n  EMBERMESH_NODE__SLOTS=2 embermesh config show")]
    Show,
    /// Print an example configuration file: every setting with its default
    #[command(
        after_help = "Example:\n  embermesh config example > ~/.config/embermesh/config.toml"
    )]
    Example,
}

impl Config {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        match self {
            Self::Show => {
                let settings = global.resolve(Dict::new())?;
                let output = global.output(&settings);
                if output.is_table() {
                    let text =
                        toml::to_string(&settings).context("cannot write the settings as TOML")?;
                    output.line(&text)?;
                } else {
                    output.one(&[], &serde_json::to_value(&settings)?)?;
                }
            }
            Self::Example => {
                let settings = global.resolve(Dict::new())?;
                global.output(&settings).line(EXAMPLE)?;
            }
        }
        Ok(Exit::Ok)
    }
}
