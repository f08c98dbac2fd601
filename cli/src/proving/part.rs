//! One job of a proof of several: submitted to its node, followed to its end, and what it
//! gave verified.

use embermesh_client::{Client, Download, Ended, IdempotencyKey, Source, Sources, Update, receipt};
use embermesh_compute::proven::offline::{verify_file, verify_member};
use embermesh_crypto::{Digest, JobId, PeerId, statement::Outcome};
use embermesh_job::{
    plan::proving::Phase,
    proof::{
        Attempt, Commitment, MAX_PROOF,
        form::{commitments, committed},
    },
    spec::{COMMITMENT, Input, JobSpec, PROOF, Part, Work as SpecWork},
};
use tokio_util::sync::CancellationToken;

use super::Work;

/// What a node is to do.
pub(super) struct Wanted {
    pub(super) phase: Phase,
    /// Its place in the gang; nothing for the one that aggregates.
    pub(super) rank: Option<u32>,
    pub(super) node: PeerId,
    /// By which the job is found again.
    pub(super) key: IdempotencyKey,
    /// What all have committed to, once they have.
    pub(super) contributed: Vec<Input>,
    /// What all have proven, once they have.
    pub(super) proven: Vec<Input>,
}

/// Has a node do its part, and gives what it made: a file in the folder of the work.
///
/// # Errors
/// Why it is none, for people.
pub(super) async fn run(
    client: &Client,
    work: &Work,
    wanted: &Wanted,
    cancel: &CancellationToken,
) -> anyhow::Result<Input> {
    let gang = gang(work, &wanted.contributed)?;
    let mut sources = work.sources.clone();
    let part = match (wanted.phase, wanted.rank) {
        (Phase::Contribute, _) => Part::Contribute,
        (Phase::Prove, rank) => Part::Prove {
            gang: sources.add_bytes(commitments(&gang)?),
            rank: rank.unwrap_or_default(),
        },
        (Phase::Aggregate, _) => {
            for proof in &wanted.proven {
                sources.add_file(&work.file(proof))?;
            }
            Part::Aggregate {
                proofs: wanted.proven.clone(),
            }
        }
    };
    let spec = of(work, part, wanted.node);
    let (submitted, mut follow) = client
        .run_for(&spec, sources, Vec::new(), wanted.key, work.budget)
        .await?;
    let job = submitted.job.id;
    let ended = loop {
        let update = tokio::select! {
            () = cancel.cancelled() => {
                // Nobody waits for it any more.
                let _ = client.cancel(job, follow.assignment()).await;
                anyhow::bail!("it was stopped");
            }
            update = follow.next() => update,
        };
        match update.transpose()? {
            Some(Update::Ended(ended)) => break *ended,
            Some(_) => {}
            None => anyhow::bail!("job {job} cannot be followed"),
        }
    };
    let made = taken(client, work, wanted, &spec, job, &ended, cancel).await?;
    let bytes = std::fs::read(work.file(&made))?;
    let input = |digest| bytes_of(&work.sources, digest);
    match wanted.phase {
        Phase::Contribute => {
            let attempt = Attempt {
                job,
                node: wanted.node,
                epoch: ended.epoch,
            };
            let mine = committed(&bytes)?;
            let is_own =
                |one: &Commitment| one.attempt == attempt && one.spec == work.spec.digest();
            anyhow::ensure!(
                mine.len() == 1 && mine.iter().all(is_own),
                "what it committed to is not its own execution"
            );
        }
        Phase::Prove => {
            let rank = wanted.rank.unwrap_or_default() as usize;
            verify_member(&bytes, &work.spec, &gang, rank, input)?;
        }
        Phase::Aggregate => drop(verify_file(&bytes, input)?),
    }
    Ok(made)
}

/// The spec of a part, for one node.
fn of(work: &Work, part: Part, node: PeerId) -> JobSpec {
    let mut spec = work.spec.clone();
    if let SpecWork::Compute(compute) = &mut spec.work
        && let Some(prove) = &mut compute.prove
    {
        prove.part = Some(part);
    }
    spec.requires.nodes = vec![node];
    spec
}

/// What all have committed to, by rank.
fn gang(work: &Work, contributed: &[Input]) -> anyhow::Result<Vec<Commitment>> {
    let mut gang = Vec::with_capacity(contributed.len());
    for input in contributed {
        gang.extend(committed(&std::fs::read(work.file(input))?)?);
    }
    Ok(gang)
}

/// Fetches what a job made, once its receipt holds.
async fn taken(
    client: &Client,
    work: &Work,
    wanted: &Wanted,
    spec: &JobSpec,
    job: JobId,
    ended: &Ended,
    cancel: &CancellationToken,
) -> anyhow::Result<Input> {
    anyhow::ensure!(ended.outcome == Outcome::Succeeded, "{}", ended.message);
    let name = match wanted.phase {
        Phase::Contribute => COMMITMENT,
        Phase::Prove | Phase::Aggregate => PROOF,
    };
    let made = ended.artifacts.iter().find(|made| made.name == name);
    let made = made.ok_or_else(|| anyhow::anyhow!("it made no {name}"))?;
    anyhow::ensure!(made.size <= MAX_PROOF as u64, "its {name} is too large");
    let expect = receipt::Expect {
        job: Some(job),
        spec: Some(spec.digest()),
        client: Some(client.peer_id()),
        node: Some(wanted.node),
        artifact: Some(made.digest),
        ..receipt::Expect::default()
    };
    receipt::check(&ended.receipt, &expect)?;
    if wanted.phase == Phase::Aggregate {
        let path = work.folder.join(crate::show::ended::RECEIPT_FILE);
        std::fs::write(path, &ended.receipt)?;
    }
    let node = ended.node.as_ref();
    let node = node.ok_or_else(|| anyhow::anyhow!("nobody says where its {name} is"))?;
    let input = Input {
        digest: made.digest,
        size: made.size,
    };
    let download = Download::artifact(made, node);
    client
        .fetch(&download, &work.file(&input), None, cancel)
        .await?;
    Ok(input)
}

/// The bytes of an input of the work.
fn bytes_of(sources: &Sources, digest: Digest) -> Option<Vec<u8>> {
    let (_, source) = sources.iter().find(|(input, _)| input.digest == digest)?;
    match source {
        Source::Memory(bytes) => Some(bytes.to_vec()),
        Source::File(path) => std::fs::read(path).ok(),
    }
}
