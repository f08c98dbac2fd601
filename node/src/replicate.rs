//! Copies of checkpoints and inputs on other nodes, so that a job outlives the node
//! that runs it.
//!
//! Who keeps a copy is decided by rendezvous hashing over the advert table: every
//! node would choose the same few for the same blob, and the loss of one moves no
//! other. Nothing here needs an index; it only hears who the holders are.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use embermesh_crypto::{digest::Digest, ids::PeerId, time::UnixMillis};
use embermesh_job::{
    address::{BlobRef, Checkpoint, PeerAddress},
    assignment::TaskKey,
    copies::rank,
    order::Report,
};
use embermesh_mesh::{
    blob::Held,
    road::{self, RoadChoice, Target},
};
use embermesh_proto::v1::{self, node_client::NodeClient};
use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{site::Site, store::ReportKind};

/// Nodes that are asked beyond those that are wanted, where some say no.
const SPARE_CANDIDATES: usize = 3;

/// How long one node may take to keep one set of blobs.
const KEEP_WAIT: Duration = Duration::from_secs(60);

/// What is to be copied.
#[derive(Clone, Default)]
struct Wanted {
    inputs: Vec<BlobRef>,
    checkpoint: Option<Checkpoint>,
}

/// The copies of one attempt. Dropped with it; what is under way is given up.
pub(crate) struct Copies {
    wanted: watch::Sender<Wanted>,
    /// The number of the newest checkpoint that was seen to.
    done: watch::Receiver<u64>,
    _actor: AbortOnDropHandle<()>,
}

impl Copies {
    pub(crate) fn start(site: Arc<Site>, key: TaskKey, reports_to: Option<PeerId>) -> Self {
        let (wanted, wishes) = watch::channel(Wanted::default());
        let (tell_done, done) = watch::channel(0);
        let actor = Actor {
            site,
            key,
            reports_to,
            warned: AtomicBool::new(false),
        };
        Self {
            wanted,
            done,
            _actor: AbortOnDropHandle::new(tokio::spawn(actor.run(wishes, tell_done))),
        }
    }

    /// The inputs are here: others may have them too.
    pub(crate) fn inputs(&self, inputs: &[Held]) {
        let inputs = inputs
            .iter()
            .map(|held| BlobRef {
                digest: held.digest(),
                size: held.size(),
                holders: Vec::new(),
            })
            .collect();
        self.wanted.send_modify(|wanted| wanted.inputs = inputs);
    }

    /// There is a new checkpoint. Of those that wait only the newest is copied.
    pub(crate) fn checkpoint(&self, checkpoint: Checkpoint) {
        self.wanted
            .send_modify(|wanted| wanted.checkpoint = Some(checkpoint));
    }

    /// Waits until the newest checkpoint has been seen to.
    pub(crate) async fn settle(&self, within: Duration) {
        let newest = self
            .wanted
            .borrow()
            .checkpoint
            .as_ref()
            .map_or(0, |c| c.seq);
        let mut done = self.done.clone();
        if timeout(within, done.wait_for(|done| *done >= newest))
            .await
            .is_err()
        {
            tracing::warn!(?within, "the last checkpoint was not copied in time");
        }
    }
}

struct Actor {
    site: Arc<Site>,
    key: TaskKey,
    reports_to: Option<PeerId>,
    /// Said once a task, not once a checkpoint.
    warned: AtomicBool,
}

impl Actor {
    async fn run(self, mut wishes: watch::Receiver<Wanted>, done: watch::Sender<u64>) {
        let (mut inputs_done, mut checkpoint_done) = (false, 0);
        while wishes.changed().await.is_ok() {
            loop {
                let wanted = wishes.borrow_and_update().clone();
                if let Some(checkpoint) = wanted.checkpoint.filter(|c| c.seq > checkpoint_done) {
                    checkpoint_done = checkpoint.seq;
                    Box::pin(self.copy_checkpoint(checkpoint)).await;
                    done.send_replace(checkpoint_done);
                } else if !wanted.inputs.is_empty() && !inputs_done {
                    inputs_done = true;
                    Box::pin(self.copy_inputs(wanted.inputs)).await;
                } else {
                    break;
                }
            }
        }
    }

    async fn copy_checkpoint(&self, mut checkpoint: Checkpoint) {
        let holders = self
            .keep(
                checkpoint.blob.digest,
                std::slice::from_ref(&checkpoint.blob),
            )
            .await;
        checkpoint.blob.holders = holders;
        self.post(ReportKind::Checkpoint, Report::Checkpoint(checkpoint))
            .await;
    }

    async fn copy_inputs(&self, mut inputs: Vec<BlobRef>) {
        let Some(first) = inputs.first().map(|blob| blob.digest) else {
            return;
        };
        let holders = self.keep(first, &inputs).await;
        for input in &mut inputs {
            input.holders.clone_from(&holders);
        }
        self.post(ReportKind::Inputs, Report::Inputs(inputs)).await;
    }

    /// Has blobs kept by as many others as are wanted. Returns who holds them: this
    /// node last, because it is the one that may be lost.
    async fn keep(&self, by: Digest, blobs: &[BlobRef]) -> Vec<PeerAddress> {
        let site = &self.site;
        let mut holders = Vec::new();
        if site.replicas > 0 {
            let adverts = site.mesh.adverts();
            let mut candidates: VecDeque<PeerId> =
                rank(&by, adverts.iter().map(|known| &***known), site.me()).into();
            candidates.truncate(site.replicas + SPARE_CANDIDATES);
            while holders.len() < site.replicas
                && let Some(peer) = candidates.pop_front()
            {
                match timeout(KEEP_WAIT, Box::pin(self.ask(peer, blobs))).await {
                    Ok(Ok(address)) => holders.push(address),
                    Ok(Err(reason)) => tracing::debug!(%peer, reason, "a node keeps no copy"),
                    Err(_) => tracing::debug!(%peer, "a node took too long to keep a copy"),
                }
            }
            if holders.is_empty() && !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    job = %self.key.job,
                    "no other node keeps copies: the job starts over if this node is lost"
                );
            }
        }
        holders.push(site.address());
        holders
    }

    async fn ask(&self, peer: PeerId, blobs: &[BlobRef]) -> Result<PeerAddress, String> {
        let site = &self.site;
        let address = site
            .mesh
            .address_of(peer)
            .ok_or_else(|| "nothing says where it is".to_owned())?;
        let target = Target::from(&address);
        let connection = road::connect(&site.identity, &target, Some(&site.mesh), RoadChoice::Auto)
            .await
            .map_err(|error| error.to_string())?;
        let here = site.address();
        let request = v1::KeepBlobsRequest {
            job_id: self.key.job.to_string(),
            blobs: blobs
                .iter()
                .map(|blob| {
                    BlobRef {
                        holders: vec![here.clone()],
                        ..blob.clone()
                    }
                    .into()
                })
                .collect(),
        };
        let answer = NodeClient::new(connection.channel)
            .keep_blobs(request)
            .await
            .map_err(|status| status.message().to_owned())?;
        let kept = answer.into_inner().kept;
        if kept.len() == blobs.len() && kept.into_iter().all(|kept| kept) {
            Ok(address)
        } else {
            Err("it does not keep all of them".to_owned())
        }
    }

    async fn post(&self, kind: ReportKind, report: Report) {
        let Some(index) = self.reports_to else { return };
        let store = &self.site.store;
        match store
            .post(index, self.key, kind, report, UnixMillis::now())
            .await
        {
            Ok(()) => self.site.report_posted(),
            Err(error) => tracing::error!(%error, "a report was not kept"),
        }
    }
}

#[cfg(test)]
mod tests;
