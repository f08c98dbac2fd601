//! `embermesh proof`: what nodes proved of a computation. How several prove it together
//! is in [`super::prove`].

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use embermesh_client::receipt;
use embermesh_compute::proven::offline::{Verified, verify_file};
use embermesh_crypto::{
    JobId, PeerId,
    digest::Digest,
    statement::{Receipt, Verified as Signed},
};
use embermesh_job::proof::{Attempt, MAX_PROOF, caught};
use figment::value::Dict;
use serde_json::json;

use crate::{
    args::Global,
    cmd::{receipt as receipts, submit},
    exit::{Exit, WrongInput},
};

/// Bytes of the file of a proof: as text it is a third larger, and may end in a newline.
const MOST: u64 = (MAX_PROOF / 3 * 4 + 8) as u64;

/// Make and check proofs of computations.
#[derive(Debug, Subcommand)]
pub(crate) enum Proof {
    /// Verify a proof offline: execute the steps that it opens again, and check that it
    /// is of what it should be
    #[command(
        after_help = "Examples:\n  embermesh proof verify out/proof.bin\n  embermesh proof verify out/proof.bin --results out/results.safetensors --receipt out/receipt.bin\n  embermesh proof verify proof.txt --inputs weights.safetensors --job-file job.toml\n\nThe proof is a file of the job's, or the text that a foreign system has as\n`proof_of_compute`. A job that read files needs them as --inputs. That the node which\nit names made it is said by the receipt alone."
    )]
    Verify(Flags),
    /// Have several nodes prove one computation, each under the challenge of all
    #[command(
        after_help = "Example:\n  embermesh proof make examples/jobs/proven.toml --workers 3 --out ./out\n  embermesh proof verify out/proof.bin\n\nAll commit to what they executed; the commitments of all draw the steps that each\nopens; one verifies all of them and makes a single proof. A node that fails or cheats\nis replaced. A budget is that of each job: one a node for each of two phases, and one."
    )]
    Make(super::prove::Make),
}

/// What the proof must be of.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// The proof
    file: PathBuf,
    /// Files that the job read, known by their hash
    #[arg(long, value_name = "FILE", num_args = 1..)]
    inputs: Vec<PathBuf>,
    /// The file of results that must be what was proven
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// The receipt that must name the proof, the job and the node
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// The job file that must be what was executed
    #[arg(long, value_name = "FILE")]
    job_file: Option<PathBuf>,
    /// The job that it must be of
    #[arg(long, value_name = "ID")]
    job: Option<JobId>,
    /// The digest of the spec that it must be of
    #[arg(long, value_name = "DIGEST")]
    spec: Option<Digest>,
    /// The node that must have executed it
    #[arg(long, value_name = "PEER")]
    node: Option<PeerId>,
}

/// A proof that holds, of something else than was expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OtherProof {
    /// Of another job.
    #[error("the proof is of job {has}, not of {wants}")]
    Job {
        /// Which.
        has: JobId,
        /// What was expected.
        wants: JobId,
    },
    /// Of another spec.
    #[error("the proof is of spec {has}, not of {wants}")]
    Spec {
        /// Which.
        has: Digest,
        /// What was expected.
        wants: Digest,
    },
    /// Of another node.
    #[error("the proof is of node {has}, not of {wants}")]
    Node {
        /// Which.
        has: PeerId,
        /// What was expected.
        wants: PeerId,
    },
}

impl Proof {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let flags = match self {
            Self::Make(make) => return make.run(global),
            Self::Verify(flags) => flags,
        };
        let settings = global.resolve(Dict::new())?;
        let file = read(&flags.file, "the proof", MOST)?;
        let inputs = inputs(&flags.inputs)?;
        let verified = verify_file(&file, |wanted| {
            let (_, path) = inputs.iter().find(|(digest, _)| *digest == wanted)?;
            std::fs::read(path).ok()
        })?;
        flags.is_expected(&verified)?;
        if let Some(path) = &flags.results {
            let most = verified.spec.limits.output.0;
            verified.check_results(&read(path, "the results", most)?)?;
        }
        let receipt = match &flags.receipt {
            Some(path) => Some(of_receipt(path, &file, &verified)?),
            None => None,
        };
        let (fields, value) = told(&verified, receipt.as_ref(), flags.results.is_some());
        global.output(&settings).one(&fields, &value)?;
        Ok(Exit::Ok)
    }
}

impl Flags {
    /// Whether a proof is of what it must be of.
    fn is_expected(&self, verified: &Verified) -> anyhow::Result<()> {
        let has = verified.spec.digest();
        let of_file = match &self.job_file {
            Some(path) => Some(submit::read(path)?.spec.digest()),
            None => None,
        };
        for wants in [self.spec, of_file].into_iter().flatten() {
            if has != wants {
                return Err(OtherProof::Spec { has, wants }.into());
            }
        }
        for Attempt { job, node, .. } in &verified.members {
            let (job, node) = (*job, *node);
            if let Some(wants) = self.job.filter(|wants| *wants != job) {
                return Err(OtherProof::Job { has: job, wants }.into());
            }
            if let Some(wants) = self.node.filter(|wants| *wants != node) {
                return Err(OtherProof::Node { has: node, wants }.into());
            }
        }
        Ok(())
    }
}

/// The digests of the inputs, each read once.
fn inputs(paths: &[PathBuf]) -> anyhow::Result<Vec<(Digest, &Path)>> {
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        let input = embermesh_client::Sources::default().add_file(path)?;
        inputs.push((input.digest, path.as_path()));
    }
    Ok(inputs)
}

fn read(path: &Path, what: &str, most: u64) -> anyhow::Result<Vec<u8>> {
    let wrong = |reason: String| WrongInput(format!("{}: {reason}", path.display()));
    let size = std::fs::metadata(path)
        .map_err(|error| wrong(format!("cannot read {what}: {error}")))?
        .len();
    if size > most {
        return Err(wrong(format!("it is too large to be {what}")).into());
    }
    std::fs::read(path).with_context(|| format!("cannot read {what} {}", path.display()))
}

/// The receipt that names a proof: its signature holds, and it is of the same attempt.
fn of_receipt(path: &Path, file: &[u8], verified: &Verified) -> anyhow::Result<Signed<Receipt>> {
    let bytes = receipts::read(path)?;
    let attempt = match verified.members.as_slice() {
        [alone] => Some(*alone),
        // Of several, the one that made one proof of all signs.
        _ => None,
    };
    let expect = receipt::Expect {
        job: attempt.map(|attempt| attempt.job),
        node: attempt.map(|attempt| attempt.node),
        spec: attempt.map(|_| verified.spec.digest()),
        artifact: Some(Digest::of(&embermesh_job::proof::Proven::as_bytes(file)?)),
        ..receipt::Expect::default()
    };
    let receipt = receipt::check(&bytes, &expect).context("the receipt is not of this proof")?;
    Ok(receipt)
}

/// What is known of a proof that holds.
fn told(
    verified: &Verified,
    receipt: Option<&Signed<Receipt>>,
    with_results: bool,
) -> (Vec<(&'static str, String)>, serde_json::Value) {
    let Verified {
        spec,
        members,
        steps,
        opened,
        results,
    } = verified;
    let chance = caught(*steps, 1, *opened);
    let mut fields = vec![
        ("name", spec.name.clone()),
        ("spec", spec.digest().to_string()),
    ];
    for Attempt { job, node, epoch } in members {
        fields.push(("job", job.to_string()));
        fields.push(("node", node.to_string()));
        fields.push(("epoch", epoch.to_string()));
    }
    fields.push(("steps", steps.to_string()));
    fields.push(("executed again", opened.to_string()));
    let percent = format!("{:.1} %", 100.0 * chance);
    fields.push(("one false step is found", percent));
    for (name, digest) in results {
        fields.push(("result", format!("{name} {digest}")));
    }
    if with_results {
        fields.push(("results", "those of the file".to_owned()));
    }
    if let Some(receipt) = receipt {
        fields.push(("receipt", format!("signed by {}", receipt.node)));
    }
    fields.push(("verdict", "valid: what it opens follows".to_owned()));
    let results: Vec<_> = results
        .iter()
        .map(|(name, digest)| json!({ "name": name, "digest": digest }))
        .collect();
    let value = json!({
        "name": spec.name,
        "spec": spec.digest(),
        "members": members,
        "steps": steps,
        "opened": opened,
        "one_false_step_is_found": chance,
        "results": results,
        "results_checked": with_results,
        "receipt_node": receipt.map(|receipt| receipt.node),
        "verdict": "valid",
    });
    (fields, value)
}
