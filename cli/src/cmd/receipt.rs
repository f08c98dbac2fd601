//! `embermesh receipt verify`: what a node signed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use embermesh_client::{Sources, receipt};
use embermesh_crypto::{
    JobId, PeerId,
    digest::Digest,
    statement::{Account, Receipt as Content},
};
use figment::value::Dict;

use crate::{
    args::Global,
    exit::{Exit, WrongInput},
    show::{amount, ended},
};

/// Check receipts.
#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// Verify a receipt's signature, and that it says what it should
    #[command(
        after_help = "Examples:\n  embermesh receipt verify out/receipt.bin\n  embermesh receipt verify out/receipt.bin --artifact out/weights.safetensors --node 12D3KooW..."
    )]
    Verify(Flags),
}

/// What the receipt must say.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The receipt
    file: PathBuf,
    /// The job that it must be for
    #[arg(long, value_name = "ID")]
    job: Option<JobId>,
    /// The digest of the spec that it must be for
    #[arg(long, value_name = "DIGEST")]
    spec: Option<Digest>,
    /// The client that it must be for
    #[arg(long, value_name = "PEER")]
    client: Option<PeerId>,
    /// The node that must have signed it
    #[arg(long, value_name = "PEER")]
    node: Option<PeerId>,
    /// The digest of the model that it must be for
    #[arg(long, value_name = "DIGEST")]
    model: Option<Digest>,
    /// The digest of an input that it must name
    #[arg(long, value_name = "DIGEST")]
    input: Option<Digest>,
    /// A file that it must name as an output, by its hash
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
}

impl Receipt {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let Self::Verify(flags) = self;
        let settings = global.resolve(Dict::new())?;
        let bytes = read(&flags.file)?;
        let artifact = match &flags.artifact {
            Some(path) => Some(Sources::default().add_file(path)?.digest),
            None => None,
        };
        let expect = receipt::Expect {
            job: flags.job,
            spec: flags.spec,
            client: flags.client,
            node: flags.node,
            artifact,
            model: flags.model,
            input: flags.input,
        };
        let verified = receipt::check(&bytes, &expect)?;
        let mut fields = fields(&verified);
        fields.push(("verdict", "valid: signed by the node".to_owned()));
        let content: &Content = &verified;
        let mut value = serde_json::to_value(content)?;
        if let Some(value) = value.as_object_mut() {
            value.insert("verdict".to_owned(), "valid".into());
        }
        global.output(&settings).one(&fields, &value)?;
        Ok(Exit::Ok)
    }
}

/// The bytes of a receipt.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    /// No receipt is larger, in bytes.
    const MOST: u64 = 64 * 1024;
    let size = std::fs::metadata(path)
        .map_err(|error| {
            WrongInput(format!(
                "cannot read the receipt {}: {error}",
                path.display()
            ))
        })?
        .len();
    if size > MOST {
        return Err(WrongInput(format!("{} is too large to be a receipt", path.display())).into());
    }
    std::fs::read(path).with_context(|| format!("cannot read the receipt {}", path.display()))
}

/// A receipt's fields for people.
pub(crate) fn fields(receipt: &Content) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("node", receipt.node.to_string()),
        ("client", receipt.client.to_string()),
        ("issuer", receipt.issuer.to_string()),
        ("job", receipt.job.to_string()),
        ("epoch", receipt.epoch.to_string()),
        ("spec", receipt.spec.to_string()),
        ("outcome", ended::word(receipt.outcome).to_owned()),
        (
            "device",
            format!("{} ({})", receipt.device, receipt.device_kind.as_str()),
        ),
        ("steps", receipt.steps.to_string()),
        ("samples", receipt.samples.to_string()),
        (
            "loss",
            receipt
                .loss
                .map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}")),
        ),
        ("accuracy", amount::maybe_share(receipt.accuracy)),
        ("started", amount::instant(receipt.started_at)),
        (
            "took",
            amount::span(receipt.ended_at.since(receipt.started_at)),
        ),
    ];
    if let Some(account) = &receipt.account {
        fields.extend(account_fields(account));
    }
    for input in &receipt.inputs {
        fields.push(("input", input.to_string()));
    }
    for output in &receipt.outputs {
        let text = format!(
            "{} {} {}",
            output.name,
            output.digest,
            amount::bytes(output.size)
        );
        fields.push(("output", text));
    }
    if !receipt.message.is_empty() {
        fields.push(("message", receipt.message.clone()));
    }
    fields
}

/// How it was done, with what it might have used.
fn account_fields(account: &Account) -> Vec<(&'static str, String)> {
    let millis = |millis: u64| amount::span(Duration::from_millis(millis));
    let digest = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
    let cpu = account.cpu_ms.map(|cpu| match account.cpu_ceiling_ms {
        Some(most) => format!("{} of {}", millis(cpu), millis(most)),
        None => millis(cpu),
    });
    let memory = account.peak_memory_bytes.map(amount::bytes);
    let most = amount::bytes(account.memory_ceiling_bytes);
    let all = [
        ("kind", Some(account.kind.clone())),
        ("model", digest(account.model)),
        ("program", Some(account.program.clone())),
        ("backend", Some(account.backend.clone())),
        ("driver", Some(account.driver.clone())),
        (
            "wall time",
            Some(format!(
                "{} of {}",
                millis(account.wall_ms),
                millis(account.wall_ceiling_ms)
            )),
        ),
        ("processor", cpu),
        (
            "memory",
            memory.map(|peak| format!("{peak} at most; {most} allowed beside an idle worker")),
        ),
        (
            "may make",
            Some(amount::bytes(account.output_ceiling_bytes)),
        ),
        ("resumed from", digest(account.resumed_from)),
        ("previous receipt", digest(account.previous)),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}
