//! The main job, on this machine: an index and three nodes as processes of their
//! own, a training job, its weights and its receipt, and an evaluation on another
//! node.
//!
//! - [`cluster`]: the processes; none outlives the demo.
//! - [`work`]: the two job specs, from files that are compiled in.
//! - [`discovery`]: waits until the nodes have found each other.
//! - [`murder`]: kills a process in mid-job, when asked to.
//! - [`report`]: who ran what, by which road, how long.

mod cluster;
mod discovery;
mod murder;
mod report;
mod work;

use std::{path::PathBuf, sync::Arc, time::Instant};

use anyhow::Context as _;
use embermesh_client::{Client, Ended, IdempotencyKey, Options, Sources, Update};
use embermesh_crypto::Keypair;
use embermesh_job::{address::BlobRef, event::EventKind, spec::JobSpec};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::{cluster::Cluster, murder::Murder, report::Ran};
use crate::{
    cmd::{demo::Flags, party::Party},
    config::Road,
    exit::{Exit, Interrupted},
    output::Output,
    runtime,
    show::{self, amount, ended, progress::Progressing},
};

/// How many nodes there are.
const NODES: usize = 3;

/// Runs the demo. Whatever happens, every process it started is stopped and the
/// folder, unless it is to be kept, is removed.
pub(crate) async fn run(flags: Flags, output: Output, quiet: bool) -> anyhow::Result<Exit> {
    let cancel = runtime::stop_token()?;
    let folder = Folder::new(flags.dir.clone())?;
    let mut cluster = Cluster::new(folder.path(), &flags.device);
    let acted = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Interrupted(": everything that the demo started is stopped".to_owned()).into()),
        acted = Box::pin(act(&flags, output, quiet, &folder, &mut cluster, &cancel)) => acted,
    };
    if acted.is_err() && !cancel.is_cancelled() {
        cluster.show_logs();
    }
    cluster.stop().await;
    acted
}

/// The folder of the demo, removed at the end unless it was named.
enum Folder {
    Passing(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new(kept: Option<PathBuf>) -> anyhow::Result<Self> {
        match kept {
            Some(path) => {
                std::fs::create_dir_all(&path)
                    .with_context(|| format!("cannot make the folder {}", path.display()))?;
                Ok(Self::Kept(path.canonicalize()?))
            }
            None => {
                let folder = tempfile::Builder::new().prefix("embermesh-demo-").tempdir();
                Ok(Self::Passing(
                    folder.context("cannot make a temporary folder")?,
                ))
            }
        }
    }

    fn path(&self) -> &std::path::Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

async fn act(
    flags: &Flags,
    output: Output,
    quiet: bool,
    folder: &Folder,
    cluster: &mut Cluster,
    cancel: &CancellationToken,
) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let work = work::read(flags.idx.as_deref())?;
    let say = Progressing::new(output, quiet);
    say.aside("starting an index and three nodes, each a process with a key of its own");
    cluster.start(NODES).await?;
    let client = connect(flags, folder, cluster).await?;
    discovery::wait(&client, cluster, output, NODES).await?;
    say.aside(&format!("ready after {}", amount::span(began.elapsed())));

    let mut murder = Murder::plan(flags.kill);
    let out = folder.path().join("out");
    let train = Task {
        title: "training",
        spec: &work.train,
        sources: work.sources.clone(),
        holders: Vec::new(),
    };
    let (trained, ended) =
        do_task(train, &client, cluster, Some(&mut murder), output, quiet).await?;
    let party = Party::Index(client.clone());
    let kept = ended::keep(&party, &ended, &out, quiet || !output.is_table(), cancel).await?;
    let weights = kept.first().context("the training made no weights")?;
    say.aside(&format!(
        "weights: {} {}, each of them hashed as it arrived",
        amount::bytes(weights.fetched.size),
        weights.fetched.digest
    ));

    let node = ended
        .node
        .clone()
        .context("the node of the weights is not known")?;
    let spec = work.evaluation(weights.fetched.digest, weights.fetched.size, node.peer)?;
    let evaluate = Task {
        title: "evaluation",
        spec: &spec,
        // The data again, and not the weights: the other node has to fetch them.
        sources: work.sources.clone(),
        holders: vec![BlobRef {
            digest: weights.fetched.digest,
            size: weights.fetched.size,
            holders: vec![node.clone()],
        }],
    };
    let (judged, judgement) = do_task(evaluate, &client, cluster, None, output, quiet).await?;
    anyhow::ensure!(
        judgement
            .node
            .as_ref()
            .is_some_and(|other| other.peer != node.peer),
        "the evaluation ran on the node that it was to avoid"
    );
    murder.check(&client, &trained).await?;
    report::print(output, &[trained, judged], began.elapsed())?;
    if let Folder::Kept(path) = folder {
        say.aside(&format!("kept in {}", path.display()));
    }
    Ok(Exit::Ok)
}

async fn connect(flags: &Flags, folder: &Folder, cluster: &Cluster) -> anyhow::Result<Client> {
    let keypair = Keypair::generate()?;
    let path = folder.path().join("client.pem");
    if !path.exists() {
        keypair.save_new(&path)?;
    }
    let keypair = Arc::new(Keypair::load(&path)?);
    let target = cluster.index_target()?;
    let client = Box::pin(Client::connect(target, keypair.clone(), Options::default())).await?;
    if flags.road == Road::Tls {
        return Ok(client);
    }
    let mesh = crate::mesh::join(&client, keypair, embermesh_mesh::Membership::default()).await?;
    Ok(client.by(Options {
        road: flags.road.into(),
        mesh: Some(mesh),
        ..Options::default()
    }))
}

/// A job of the demo.
struct Task<'a> {
    title: &'static str,
    spec: &'a JobSpec,
    sources: Sources,
    holders: Vec<BlobRef>,
}

/// Submits a job, streams it from its node, and verifies its receipt.
async fn do_task(
    task: Task<'_>,
    client: &Client,
    cluster: &mut Cluster,
    mut murder: Option<&mut Murder>,
    output: Output,
    quiet: bool,
) -> anyhow::Result<(Ran, Ended)> {
    let began = Instant::now();
    let key = IdempotencyKey::fresh()?;
    let (submitted, mut follow) = client
        .run(task.spec, task.sources, task.holders, key)
        .await?;
    let job = submitted.job.id;
    let mut shown = Progressing::new(output, quiet);
    shown.aside(&format!(
        "{}: job {job}, submitted to the index",
        task.title
    ));
    let mut ran = Ran::new(task.title, job);
    loop {
        let update = follow
            .next()
            .await
            .context("the stream of the job broke off")??;
        shown.show(&update)?;
        ran.hear(&update, began.elapsed());
        if let (Some(murder), Update::Event(event)) = (&mut murder, &update) {
            let at = follow.assignment().map(|held| held.node.peer);
            let due = matches!(
                event.kind,
                EventKind::Progress(_) | EventKind::Checkpoint { .. }
            );
            if due && let Some(told) = murder.strike(event, at, cluster).await? {
                shown.aside(&told);
            }
        }
        let Update::Ended(ended) = update else {
            continue;
        };
        if let Some(murder) = &mut murder
            && let Some(told) = murder.finish(cluster).await?
        {
            shown.aside(&told);
        }
        if show::ended::exit(ended.outcome) != Exit::Ok {
            anyhow::bail!(
                "the {} {}: {}",
                task.title,
                ended::word(ended.outcome),
                ended.message
            );
        }
        let receipt = ended::verify(client.ways(), job, task.spec.digest(), &ended)?
            .context("the job ended without a receipt")?;
        shown.aside(&format!(
            "receipt: signed by node {}, and it holds",
            receipt.node.short()
        ));
        ran.signed(&receipt, began.elapsed());
        return Ok((ran, *ended));
    }
}
