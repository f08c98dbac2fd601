//! Kills a process in mid-job, and sees that it did no harm.

use std::time::{Duration, Instant};

use embermesh_client::Client;
use embermesh_crypto::PeerId;
use embermesh_job::{
    event::{Event, EventKind},
    lifecycle::JobState,
};

use super::{cluster::Cluster, report::Ran};
use crate::cmd::demo::Victim;

/// How long the index stays dead.
const INDEX_AWAY: Duration = Duration::from_secs(2);
/// How long the index may take to hear of the end once it is back.
const KNOWS_WITHIN: Duration = Duration::from_secs(15);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Who is killed, and how far that is.
pub(crate) struct Murder {
    victim: Option<Victim>,
    stage: Stage,
}

enum Stage {
    /// Waits for a checkpoint, and some work after it.
    Waiting { checkpoint: Option<u64> },
    /// The index is dead, since then, and was there.
    IndexAway(Instant, String),
    /// It is done.
    Done,
}

impl Murder {
    /// Nobody is killed yet.
    pub(crate) const fn plan(victim: Option<Victim>) -> Self {
        Self {
            victim,
            stage: Stage::Waiting { checkpoint: None },
        }
    }

    /// Strikes when the time has come. What was done, for people.
    pub(crate) async fn strike(
        &mut self,
        event: &Event,
        at: Option<PeerId>,
        cluster: &mut Cluster,
    ) -> anyhow::Result<Option<String>> {
        let Some(victim) = self.victim else {
            return Ok(None);
        };
        match &mut self.stage {
            Stage::Waiting { checkpoint } => {
                if let EventKind::Checkpoint { .. } = event.kind {
                    checkpoint.get_or_insert(event.seq);
                }
                // A few events later, so that the work after the checkpoint is lost.
                let due = checkpoint.is_some_and(|seq| event.seq >= seq + 3);
                if due {
                    self.kill(victim, at, cluster).await
                } else {
                    Ok(None)
                }
            }
            Stage::IndexAway(since, address) if since.elapsed() >= INDEX_AWAY => {
                let address = address.clone();
                cluster.restart_index(&address).await?;
                self.stage = Stage::Done;
                Ok(Some("the index is started again".to_owned()))
            }
            _ => Ok(None),
        }
    }

    async fn kill(
        &mut self,
        victim: Victim,
        at: Option<PeerId>,
        cluster: &mut Cluster,
    ) -> anyhow::Result<Option<String>> {
        match (victim, at) {
            (Victim::Index, _) => {
                let address = cluster.kill_index().await?;
                self.stage = Stage::IndexAway(Instant::now(), address);
                Ok(Some("*** the index is killed with SIGKILL".to_owned()))
            }
            (Victim::Node, Some(peer)) => {
                let killed = cluster.kill_node(peer).await?;
                self.stage = Stage::Done;
                Ok(killed
                    .map(|name| format!("*** {name}, which runs the job, is killed with SIGKILL")))
            }
            (Victim::Node, None) => Ok(None),
        }
    }

    /// Starts the index again, if the job was over before that was due.
    pub(crate) async fn finish(&mut self, cluster: &mut Cluster) -> anyhow::Result<Option<String>> {
        if let Stage::IndexAway(_, address) = &self.stage {
            let address = address.clone();
            cluster.restart_index(&address).await?;
            self.stage = Stage::Done;
            return Ok(Some(
                "the index is started again, after the end of the job".to_owned(),
            ));
        }
        Ok(None)
    }

    /// Sees that the index knows the job, its result and its receipt.
    pub(crate) async fn check(&self, client: &Client, ran: &Ran) -> anyhow::Result<()> {
        if self.victim.is_none() {
            return Ok(());
        }
        anyhow::ensure!(
            matches!(self.stage, Stage::Done),
            "the job was over before anything could be killed"
        );
        let deadline = Instant::now() + KNOWS_WITHIN;
        loop {
            let job = client.job(ran.job).await?;
            if job.state == JobState::Succeeded && job.finished.is_some() {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the index does not know how job {} ended: it says {}",
                ran.job,
                job.state
            );
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}
