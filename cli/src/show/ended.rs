//! What is done once a followed job is over: the receipt is verified, the artifacts
//! are fetched.

use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use embermesh_client::{Download, Ended, Ways, receipt};
use embermesh_crypto::{
    JobId,
    digest::Digest,
    statement::{Outcome, Receipt, Verified},
};
use embermesh_job::event::Artifact;
use embermesh_mesh::{
    blob::{Fetched, Progress},
    road::Target,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::progress::download_bar;
use crate::{cmd::party::Party, exit::Exit, runtime};

/// The file that a receipt is written to.
pub(crate) const RECEIPT_FILE: &str = "receipt.bin";

/// Verifies the receipt of a job of this client.
pub(crate) fn verify(
    ways: &Ways,
    job: JobId,
    spec: Digest,
    ended: &Ended,
) -> anyhow::Result<Option<Verified<Receipt>>> {
    if ended.receipt.is_empty() {
        return Ok(None);
    }
    let expect = receipt::Expect {
        job: Some(job),
        spec: Some(spec),
        client: Some(ways.peer_id()),
        node: ended.node.as_ref().map(|node| node.peer),
        artifact: None,
        ..receipt::Expect::default()
    };
    let verified = receipt::check(&ended.receipt, &expect).context("the receipt does not hold")?;
    for artifact in &ended.artifacts {
        let named = verified
            .outputs
            .iter()
            .any(|output| output.digest == artifact.digest);
        if !named {
            return Err(receipt::ReceiptError::NoSuchOutput(artifact.digest).into());
        }
    }
    Ok(Some(verified))
}

/// An artifact on this side.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// How it came.
    pub(crate) fetched: Fetched,
}

/// Writes the receipt and every artifact into a folder, verified as they arrive.
pub(crate) async fn keep(
    party: &Party,
    ended: &Ended,
    folder: &Path,
    quiet: bool,
    cancel: &CancellationToken,
) -> anyhow::Result<Vec<Kept>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    if !ended.receipt.is_empty() {
        let path = folder.join(RECEIPT_FILE);
        std::fs::write(&path, &ended.receipt)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut kept = Vec::new();
    let left = ": the artifacts are not here; `embermesh blob get` fetches them by hash";
    let holders = runtime::unless_stopped(cancel, left, holders(party, ended)).await?;
    for artifact in &ended.artifacts {
        kept.push(fetch(party.ways(), &holders, artifact, folder, quiet, cancel).await?);
    }
    Ok(kept)
}

/// Who has the artifacts: the node that was followed to the end, else every node
/// that is known, the one that ended the job first.
async fn holders(party: &Party, ended: &Ended) -> anyhow::Result<Vec<Target>> {
    if let Some(node) = &ended.node {
        return Ok(vec![Target::from(node)]);
    }
    if ended.artifacts.is_empty() {
        return Ok(Vec::new());
    }
    let last = ended.job.as_ref().and_then(|job| job.node);
    let mut nodes = party.nodes().await?;
    nodes.sort_by_key(|node| (Some(node.address.peer) != last, !node.live));
    Ok(nodes
        .iter()
        .map(|node| Target::from(&node.address))
        .collect())
}

async fn fetch(
    ways: &Ways,
    holders: &[Target],
    artifact: &Artifact,
    folder: &Path,
    quiet: bool,
    cancel: &CancellationToken,
) -> anyhow::Result<Kept> {
    let path = folder.join(file_name(artifact));
    let download = Download {
        digest: artifact.digest,
        size: Some(artifact.size),
        holders: holders.to_vec(),
    };
    let (sender, progress) = watch::channel(Progress::default());
    download_bar(&artifact.name, quiet, progress);
    let fetched = ways.fetch(&download, &path, Some(&sender), cancel).await?;
    Ok(Kept { path, fetched })
}

/// A name that stays in its folder, whatever the node called it.
fn file_name(artifact: &Artifact) -> PathBuf {
    let mut parts = Path::new(&artifact.name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if name != RECEIPT_FILE => PathBuf::from(name),
        _ => PathBuf::from(artifact.digest.to_string()),
    }
}

/// The word for an outcome.
pub(crate) const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

/// The exit code of an outcome.
pub(crate) fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Succeeded => Exit::Ok,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_stays_in_its_folder() {
        let artifact = |name: &str| Artifact {
            name: name.to_owned(),
            digest: Digest::of(b"x"),
            size: 1,
        };
        assert_eq!(
            file_name(&artifact("weights.safetensors")),
            Path::new("weights.safetensors")
        );
        let digest = Digest::of(b"x").to_string();
        for bad in ["../x", "/etc/passwd", "a/b", "..", "", ".", "receipt.bin"] {
            assert_eq!(file_name(&artifact(bad)), Path::new(&digest), "{bad}");
        }
    }
}
