//! `embermesh blob`: bytes by their hash.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use embermesh_client::{Client, Download, IndexTarget, Options, Sources, put_blobs_at};
use embermesh_crypto::{JobId, digest::Digest};
use embermesh_mesh::{blob::Progress, road::Target};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    args::{ClientFlags, Global},
    cmd::connect,
    config::Settings,
    exit::{Exit, WrongInput},
    identity,
    output::Output,
    runtime,
    show::{amount, progress::download_bar},
};

/// Bring bytes to a node, and fetch them by hash.
#[derive(Debug, Subcommand)]
pub(crate) enum Blob {
    /// Bring a file to a node: as an input of a job of yours, or to a node that
    /// allows your key
    #[command(
        after_help = "Examples:\n  embermesh blob put digits.csv --job 0197a3c2-...\n  embermesh blob put digits.csv --node 192.0.2.7:7421"
    )]
    Put {
        /// The file
        file: PathBuf,
        /// The job whose node is to have it
        #[arg(long, value_name = "ID", required_unless_present = "node")]
        job: Option<JobId>,
        /// The node, as HOST:PORT or HOST:PORT/p2p/PEER
        #[arg(long, value_name = "ADDRESS", conflicts_with = "job")]
        node: Option<String>,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Fetch a blob from whoever has it, verified as it arrives
    #[command(
        after_help = "Examples:\n  embermesh blob get 3f1a... --out weights.safetensors\n  embermesh blob get 3f1a... --node 192.0.2.7:7421\n\nA download that was broken off goes on where it was."
    )]
    Get {
        /// Its BLAKE3 hash
        digest: Digest,
        /// The file to write [default: the hash, in this folder]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// A node that has it; may be repeated [default: the nodes that the index knows]
        #[arg(long, value_name = "ADDRESS")]
        node: Vec<String>,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Show the hash of a file
    Hash {
        /// The file
        file: PathBuf,
    },
}

impl Blob {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let flags = match &self {
            Self::Put { client, .. } | Self::Get { client, .. } => client.settings(),
            Self::Hash { .. } => figment::value::Dict::new(),
        };
        let settings = global.resolve(flags)?;
        let output = global.output(&settings);
        match self {
            Self::Hash { file } => {
                let input = Sources::default().add_file(&file)?;
                say(output, &input.digest, input.size, None)
            }
            Self::Put {
                file, job, node, ..
            } => runtime::run(put(settings, output, file, job, node)),
            Self::Get {
                digest, out, node, ..
            } => {
                let quiet = global.quiet || !output.is_table();
                runtime::run(get(settings, output, quiet, digest, out, node))
            }
        }
    }
}

async fn put(
    settings: Settings,
    output: Output,
    file: PathBuf,
    job: Option<JobId>,
    node: Option<String>,
) -> anyhow::Result<Exit> {
    let mut sources = Sources::default();
    let input = sources.add_file(&file)?;
    match (job, node) {
        (_, Some(node)) => {
            let identity = identity::of_user(&settings)?;
            put_blobs_at(&identity, &target(&node)?, &Options::default(), &sources).await?;
        }
        (Some(job), None) => {
            let client = connect(&settings).await?;
            let assignment = client.assignment(job).await?;
            client.put_blobs(&assignment, &sources).await?;
        }
        (None, None) => return Err(WrongInput("give --job or --node".to_owned()).into()),
    }
    say(output, &input.digest, input.size, None)
}

async fn get(
    settings: Settings,
    output: Output,
    quiet: bool,
    digest: Digest,
    out: Option<PathBuf>,
    nodes: Vec<String>,
) -> anyhow::Result<Exit> {
    let cancel = runtime::stop_token()?;
    let out = out.unwrap_or_else(|| PathBuf::from(digest.to_string()));
    let (sender, progress) = watch::channel(Progress::default());
    download_bar(&digest.short(), quiet, progress);
    let fetched = if nodes.is_empty() {
        let asking = Box::pin(known_nodes(&settings));
        let (client, holders) = runtime::unless_stopped(&cancel, "", asking).await?;
        let download = Download {
            digest,
            size: None,
            holders,
        };
        client
            .fetch(&download, &out, Some(&sender), &cancel)
            .await?
    } else {
        let identity = identity::of_user(&settings)?;
        let want = embermesh_mesh::blob::Want {
            digest,
            size: None,
            holders: nodes
                .iter()
                .map(|node| target(node))
                .collect::<Result<_, _>>()?,
        };
        let fetcher = embermesh_mesh::blob::Fetcher::new(identity, None);
        fetcher
            .download(&want, &out, Some(&sender), &cancel)
            .await
            .context("the blob was not fetched")?
    };
    say(output, &fetched.digest, fetched.size, Some(&out))
}

/// The nodes that the index knows, those that live first.
async fn known_nodes(settings: &Settings) -> anyhow::Result<(Client, Vec<Target>)> {
    let client = connect(settings).await?;
    let mut known = client.nodes().await?;
    known.sort_by_key(|node| !node.live);
    let holders = known
        .iter()
        .map(|node| Target::from(&node.address))
        .collect();
    Ok((client, holders))
}

/// A node's address, which is written as an index's is.
pub(crate) fn target(text: &str) -> anyhow::Result<Target> {
    let parsed: IndexTarget = text.parse().map_err(|error| {
        let text = format!("{error}").replace("an index address", "a node's address");
        WrongInput(text)
    })?;
    Ok(Target {
        peer: parsed.peer,
        tls: vec![parsed.address],
        mesh: Vec::new(),
    })
}

fn say(
    output: Output,
    digest: &Digest,
    size: u64,
    path: Option<&std::path::Path>,
) -> anyhow::Result<Exit> {
    let mut fields = vec![
        ("digest", digest.to_string()),
        ("size", amount::bytes(size)),
    ];
    if let Some(path) = path {
        fields.push(("file", path.display().to_string()));
    }
    let value = json!({ "digest": digest, "size": size, "path": path });
    output.one(&fields, &value)?;
    Ok(Exit::Ok)
}
