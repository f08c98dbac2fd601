//! A client without an index: it is a peer of the mesh, knows the nodes by their signed
//! adverts, asks them itself, and remembers its own jobs.
//!
//! - `candidates`: which nodes are asked. `asking`: one round of it.
//! - `placing`: places a job, and again where its node is lost; waits meanwhile.
//! - `resuming`: from which checkpoint another node can go on, and who has it.
//! - [`records`]: the jobs of this user. [`peers`]: peers that were seen before.
//!
//! The rest (the stream, uploads, receipts) is as with an index: see
//! [`follow`](mod@crate::follow).

mod asking;
mod candidates;
pub mod peers;
pub(crate) mod placing;
pub mod records;
mod resuming;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    keys::Keypair,
    statement::{Grant, Role, Verified},
    time::UnixMillis,
};
use embermesh_job::{
    address::BlobRef, assignment::NodeAssignment, event::Outcome, lifecycle::JobState,
    spec::JobSpec,
};
use embermesh_mesh::{
    Mesh,
    road::{Identity, RoadChoice},
};

use self::{
    asking::permit_at,
    placing::Task,
    records::{Record, Records},
};
use crate::{
    ClientError, Follow, NodeView, Options, Sources, Ways,
    bounds::{FIND_TIMEOUT, MAX_FOUND, MAX_GRANTS_SHOWN},
    node::Control,
};

/// A node that does not take a job: who, a stable word, and why.
pub type PassedOver = (PeerId, String, String);

/// How a job is followed without an index.
#[derive(Debug, Clone, Default)]
pub struct Errand {
    /// The last event that the caller has; 0 for all.
    pub after: u64,
    /// Inputs that nodes may lack.
    pub sources: Sources,
    /// Who holds inputs that are not among the sources.
    pub holders: Vec<BlobRef>,
    /// How long the job may wait for a node, each time; without it, as long as it takes.
    pub wait: Option<Duration>,
}

/// A client of the mesh, without an index. Clones are the same client.
#[derive(Clone)]
pub struct Direct {
    inner: Arc<Inner>,
}

struct Inner {
    ways: Ways,
    mesh: Mesh,
    records: Records,
    grants: Vec<Verified<Grant>>,
}

impl Direct {
    /// A client with its own part of the mesh, which is of the same key, and its records.
    ///
    /// # Errors
    /// When the key cannot be used for a connection.
    pub fn new(
        keypair: Arc<Keypair>,
        mesh: Mesh,
        road: RoadChoice,
        records: Records,
    ) -> Result<Self, ClientError> {
        let membership = mesh.membership().clone();
        let identity =
            Identity::member(keypair, membership.clone()).map_err(ClientError::Identity)?;
        let options = Options {
            road,
            mesh: Some(mesh.clone()),
            membership,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                ways: Ways::new(identity, options),
                mesh,
                records,
                grants: Vec::new(),
            }),
        })
    }

    /// The same client, which shows these grants to the nodes that they are about.
    #[must_use]
    pub fn showing(&self, grants: Vec<Verified<Grant>>) -> Self {
        let inner = &self.inner;
        Self {
            inner: Arc::new(Inner {
                ways: inner.ways.clone(),
                mesh: inner.mesh.clone(),
                records: inner.records.clone(),
                grants,
            }),
        }
    }

    /// The grants to show to a node: those that hold for the longest.
    pub(crate) fn grants_for(&self, node: &PeerId, now: UnixMillis) -> Vec<Bytes> {
        let grants = self.inner.grants.iter();
        let mut fit: Vec<_> = grants
            .filter(|grant| grant.names(node) && now < grant.expires_at)
            .collect();
        fit.sort_by_key(|grant| std::cmp::Reverse(grant.expires_at));
        fit.truncate(MAX_GRANTS_SHOWN);
        fit.into_iter()
            .map(|grant| Bytes::copy_from_slice(grant.bytes()))
            .collect()
    }

    /// How this client reaches nodes.
    #[must_use]
    pub fn ways(&self) -> &Ways {
        &self.inner.ways
    }

    /// The jobs that it remembers.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.inner.records
    }

    pub(crate) fn mesh(&self) -> &Mesh {
        &self.inner.mesh
    }

    /// The nodes whose adverts this client has heard, each verified.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeView> {
        let adverts = self.mesh().adverts().into_iter();
        let nodes = adverts.filter(|advert| advert.role == Role::Node);
        nodes
            .filter_map(|advert| {
                Some(NodeView {
                    address: self.mesh().address_of(advert.peer)?,
                    live: true,
                    last_seen: advert.issued_at,
                    running: advert.slots.saturating_sub(advert.free_slots),
                    source: "advert".to_owned(),
                    advert: advert.to_signed().open().ok(),
                })
            })
            .collect()
    }

    /// Finds more nodes than gossip has told of: asks the DHT for those with a device,
    /// and connects with some that are new.
    pub async fn find_nodes(&self, device: &str) {
        let mesh = self.mesh();
        let class = format!("device/{device}");
        let finding = async {
            let found = mesh.providers_of_class(&class).await.unwrap_or_default();
            let new = found
                .into_iter()
                .filter(|peer| mesh.advert_of(peer).is_none());
            let connecting = new.take(MAX_FOUND).map(|peer| async move {
                if let Err(error) = mesh.connect(peer, &[]).await {
                    tracing::debug!(%peer, %error, "a node of the DHT was not reached");
                }
            });
            futures::future::join_all(connecting).await;
        };
        if tokio::time::timeout(FIND_TIMEOUT, Box::pin(finding))
            .await
            .is_err()
        {
            tracing::debug!(%class, "the DHT took too long");
        }
    }

    /// Submits a job to the mesh and follows it: finds a node that takes it, brings the
    /// inputs there, starts it and streams what it says; where the node is lost, goes on
    /// with another.
    ///
    /// # Errors
    /// When the spec is not valid, or the job cannot be written down.
    pub fn run(&self, spec: &JobSpec, errand: Errand) -> Result<(JobId, Follow), ClientError> {
        spec.validate()?;
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(ClientError::Randomness)?;
        let now = UnixMillis::now();
        let record = Record::new(JobId::v7(now, random), spec, now);
        let canonical = Bytes::from(spec.canonical());
        self.records().begin(&record, &canonical)?;
        let job = record.job;
        let task = Task::new(self.clone(), spec.clone(), canonical, record);
        Ok((job, Follow::of_task(task, errand)))
    }

    /// Follows a job that was submitted before.
    ///
    /// # Errors
    /// When its spec is not there any more.
    pub fn watch(&self, record: Record, errand: Errand) -> Result<Follow, ClientError> {
        let canonical = self.records().spec(record.job)?;
        let spec = JobSpec::from_canonical(&canonical)?;
        let task = Task::new(self.clone(), spec, canonical.into(), record);
        Ok(Follow::of_task(task, errand))
    }

    /// Ends a job at its node.
    ///
    /// # Errors
    /// When no node has it, or the node cannot be reached.
    pub async fn cancel(&self, record: &Record) -> Result<JobState, ClientError> {
        self.control(record, Control::Cancel).await
    }

    /// Lets a job stand still, or go on, at its node.
    ///
    /// # Errors
    /// When no node has it, or the node cannot be reached.
    pub async fn set_paused(&self, record: &Record, paused: bool) -> Result<JobState, ClientError> {
        let what = if paused {
            Control::Pause
        } else {
            Control::Resume
        };
        self.control(record, what).await
    }

    /// Ends a training after the step it is in, with the weights it has.
    ///
    /// # Errors
    /// When no node has it, the node cannot be reached, or it is no training.
    pub async fn finish(&self, record: &Record) -> Result<JobState, ClientError> {
        self.control(record, Control::Finish).await
    }

    /// Gives a running training other hyperparameters; what is `None` stays.
    ///
    /// # Errors
    /// When no node has it, the node cannot be reached, or it refuses them.
    pub async fn adjust(
        &self,
        record: &Record,
        learning_rate: Option<f64>,
        weight_decay: Option<f64>,
    ) -> Result<JobState, ClientError> {
        let held = self.fresh(record).await?;
        let link = self.ways().node(&held.node).await?;
        link.adjust(&held, learning_rate, weight_decay).await
    }

    async fn control(&self, record: &Record, what: Control) -> Result<JobState, ClientError> {
        let held = self.fresh(record).await?;
        let link = self.ways().node(&held.node).await?;
        let state = link.control(&held, what).await?;
        if state == JobState::Cancelled {
            self.records().keep(&Record {
                ended: Some(Outcome::Cancelled),
                ..record.clone()
            })?;
        }
        Ok(state)
    }

    /// The permit of the newest attempt, renewed where it is old.
    async fn fresh(&self, record: &Record) -> Result<NodeAssignment, ClientError> {
        let held = record.assignment().ok_or(ClientError::NoNode {
            job: record.job,
            state: JobState::Queued.as_str(),
        })?;
        if UnixMillis::now() < held.expires_at {
            return Ok(held);
        }
        let spec = self.records().spec(record.job)?;
        self.renew(&held, spec.into()).await
    }

    /// A fresh permit for an attempt that has begun.
    pub(crate) async fn renew(
        &self,
        held: &NodeAssignment,
        spec: Bytes,
    ) -> Result<NodeAssignment, ClientError> {
        permit_at(self, &held.node, held.job, held.epoch, spec).await
    }

    /// The epoch after the newest of a job.
    pub(crate) fn next_epoch(record: &Record) -> Epoch {
        record.epoch.next()
    }
}

/// Whether a fresh token may be taken where this one was not.
pub(crate) fn is_renewable(error: &ClientError) -> bool {
    matches!(
        error.refusal(),
        Some("expired" | "revoked" | "not_yet_valid")
    )
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct")
            .field("ways", &self.inner.ways)
            .finish_non_exhaustive()
    }
}
