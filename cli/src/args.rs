//! What can be typed. The flags of a subcommand stand in its file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use embermesh_node::Logs;
use figment::value::{Dict, Value};

use crate::{
    cmd,
    config::{Road, Settings, resolve},
    output::{Format, Output},
};

/// A compute mesh for burn: join with a keypair, submit a job, stream it straight
/// from the peer that runs it.
#[derive(Debug, Parser)]
#[command(
    name = "embermesh",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  embermesh demo                                     the whole mesh on this machine, in a minute\n  embermesh keys new                                 make your key\n  embermesh submit job.toml --follow --out ./out     run a job and fetch what it made\n\nExit codes: 0 done, 1 the job or the command failed, 2 wrong input,\n            3 nobody could be reached, 4 refused, 5 the doctor found troubles,\n            130 interrupted"
)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Form of results
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORM",
        help_heading = "Global options"
    )]
    pub(crate) output: Option<Format>,
    /// Configuration file [default: config.toml in the user's folder]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Key file [default: key.pem in the user's folder; an index or a node keeps its own]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) key: Option<PathBuf>,
    /// Say less on stderr
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Say more on stderr; repeat for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start an index and three nodes here, and run the main job on them
    Demo(cmd::demo::Flags),
    /// Make and show keys
    #[command(subcommand)]
    Keys(cmd::keys::Keys),
    /// Run an index and give passes to clients of foreign systems
    #[command(subcommand)]
    Index(cmd::index::Index),
    /// Run a node
    #[command(subcommand)]
    Node(cmd::node::Node),
    /// Look at the nodes that an index knows
    #[command(subcommand)]
    Nodes(cmd::nodes::Nodes),
    /// Submit a job
    Submit(cmd::submit::Flags),
    /// Ask what a job may cost
    Quote(cmd::quote::Flags),
    /// Look at jobs and steer them
    #[command(subcommand)]
    Jobs(cmd::jobs::Jobs),
    /// Load a model on a node, where it stays and can be asked
    Deploy(cmd::deploy::Flags),
    /// Ask a deployed model
    Ask(cmd::ask::Flags),
    /// Look at deployed models
    #[command(subcommand)]
    Models(cmd::models::Models),
    /// Unload a deployed model
    Undeploy(cmd::deploy::Undeploy),
    /// Look at accounts and move what is in them
    #[command(subcommand)]
    Account(cmd::account::Account),
    /// Bring bytes to a node, and fetch them by hash
    #[command(subcommand)]
    Blob(cmd::blob::Blob),
    /// Look into assignment tokens
    #[command(subcommand)]
    Token(cmd::token::Token),
    /// Let a client run jobs on your nodes without an index
    #[command(subcommand)]
    Grant(cmd::grant::Grant),
    /// Check receipts
    #[command(subcommand)]
    Receipt(cmd::receipt::Receipt),
    /// Make and check proofs of computations
    #[command(subcommand)]
    Proof(cmd::proof::Proof),
    /// Show the settings
    #[command(subcommand)]
    Config(cmd::config::Config),
    /// Look at this machine's part of the mesh, and say for each trouble what to do
    Doctor(cmd::doctor::Flags),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  embermesh completions bash > ~/.local/share/bash-completion/completions/embermesh"
    )]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// The part of a node that runs one job; a node starts it
    #[command(hide = true, disable_help_flag = true)]
    Worker {
        /// What the node says.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Where the index is, and how nodes are reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientFlags {
    /// The index, as HOST:PORT, with /p2p/PEER behind it to take no other; may be repeated:
    /// the first that answers takes a job
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) index: Vec<String>,
    /// Roads to take to nodes
    #[arg(long, value_name = "ROAD")]
    pub(crate) road: Option<Road>,
}

impl ClientFlags {
    /// The same as settings.
    pub(crate) fn settings(&self) -> Dict {
        let mut dict = Dict::new();
        put(&mut dict, "index", cmd::index::some(&self.index));
        put(
            &mut dict,
            "road",
            self.road.and_then(|road| serialized(&road)),
        );
        dict
    }
}

impl Global {
    /// Resolves the settings, with the flags of the command on top.
    pub(crate) fn resolve(&self, command: Dict) -> anyhow::Result<Settings> {
        self.resolve_logged(command, None)
    }

    /// The same, with the log going to `kept` too.
    pub(crate) fn resolve_logged(
        &self,
        command: Dict,
        kept: Option<&Logs>,
    ) -> anyhow::Result<Settings> {
        let mut flags = command;
        put(
            &mut flags,
            "output",
            self.output.and_then(|output| serialized(&output)),
        );
        put(&mut flags, "key", self.key.as_ref().and_then(serialized));
        let settings = resolve(self.config.as_deref(), flags)?;
        crate::runtime::log(self.verbose, self.quiet, settings.log.as_deref(), kept)?;
        Ok(settings)
    }

    /// The same, with warnings left out of the log unless more was asked for: for a command
    /// that tells itself what they are about.
    pub(crate) fn resolve_hushed(&self, command: Dict) -> anyhow::Result<Settings> {
        let hushed = Self {
            output: self.output,
            config: self.config.clone(),
            key: self.key.clone(),
            quiet: self.quiet || self.verbose == 0,
            verbose: self.verbose,
        };
        hushed.resolve(command)
    }

    /// Where results go of a command whose settings cannot be read.
    pub(crate) fn bare_output(&self) -> Output {
        Output {
            format: self.output.unwrap_or_default(),
        }
    }

    /// Where results go.
    pub(crate) fn output(&self, settings: &Settings) -> Output {
        Output {
            format: settings.output,
        }
    }
}

/// Sets a key, if there is something to set it to.
pub(crate) fn put(dict: &mut Dict, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        dict.insert(key.to_owned(), value.into());
    }
}

/// Any value as a setting.
pub(crate) fn serialized(value: &impl serde::Serialize) -> Option<Value> {
    Value::serialize(value).ok()
}
