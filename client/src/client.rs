//! The handle that everything starts from: an identity, an index, and the ways to
//! the nodes.

use std::{fmt, path::Path, sync::Arc};

use bytes::Bytes;
use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    keys::Keypair,
};
use embermesh_job::{
    address::{BlobRef, PeerAddress},
    assignment::NodeAssignment,
    lifecycle::JobState,
    spec::JobSpec,
    units::MicroUnits,
    wire::Quoted,
};
use embermesh_mesh::{
    Membership, Mesh,
    blob::{Fetched, Progress},
    road::{Identity, RoadChoice, Target},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    ClientError, IndexTarget, JobView, NodeView, Sources, Ways,
    bounds::CANCEL_WAIT,
    fetch::Download,
    follow::{Follow, Start},
    index::{IndexLink, Watched},
    node::{Control, NodeLink, NodeStatus},
    permits::Permits,
    upload,
};

/// How a client reaches nodes.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The roads that may be taken to nodes.
    pub road: RoadChoice,
    /// This process's part of the mesh, for the mesh road.
    pub mesh: Option<Mesh>,
    /// Who may take part, where the mesh is not for everybody. It is settled when a client
    /// is made: [`Client::by`] keeps what there is.
    pub membership: Membership,
}

/// Names one submit, so that sending it again makes no second job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey([u8; 16]);

impl IdempotencyKey {
    /// A new one from the system's randomness.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn fresh() -> Result<Self, ClientError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(ClientError::Randomness)?;
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub(crate) const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// One that the caller keeps, to be sure of one job across restarts.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// What became of a submit.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The job.
    pub job: JobView,
    /// The permission to run it, unless it waits.
    pub assignment: Option<NodeAssignment>,
}

/// A client of one index and of every node that it names. Clones are the same
/// client.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    ways: Ways,
}

struct Inner {
    index_peer: PeerId,
    target: IndexTarget,
    index: IndexLink,
    permits: Permits,
    /// What is remembered of a job, for when the index is away.
    remembered: Option<NodeAssignment>,
}

impl Client {
    /// Connects to an index and makes sure that it is one.
    ///
    /// # Errors
    /// When nobody answers, or who answers is no index or not the pinned one.
    pub async fn connect(
        target: IndexTarget,
        keypair: Arc<Keypair>,
        options: Options,
    ) -> Result<Self, ClientError> {
        let identity =
            Identity::member(keypair, options.membership.clone()).map_err(ClientError::Identity)?;
        let index = IndexLink::new(identity.clone(), target.clone());
        let index_peer = index.greet().await?;
        let ways = Ways::new(identity, options);
        Ok(Self::of(index, index_peer, target, None, ways))
    }

    /// A client of an index that may be away: of whom it has a job, and that job's newest
    /// assignment as far as it was known. With that the job is followed and steered at its
    /// node until the index is back.
    ///
    /// # Errors
    /// When the key cannot be used for a connection.
    pub fn of_job(
        (index_peer, address): (PeerId, String),
        remembered: Option<NodeAssignment>,
        keypair: Arc<Keypair>,
        options: Options,
    ) -> Result<Self, ClientError> {
        let identity =
            Identity::member(keypair, options.membership.clone()).map_err(ClientError::Identity)?;
        let target = IndexTarget {
            address,
            peer: Some(index_peer),
        };
        let index = IndexLink::new(identity.clone(), target.clone());
        let ways = Ways::new(identity, options);
        Ok(Self::of(index, index_peer, target, remembered, ways))
    }

    fn of(
        index: IndexLink,
        index_peer: PeerId,
        target: IndexTarget,
        remembered: Option<NodeAssignment>,
        ways: Ways,
    ) -> Self {
        let target = IndexTarget {
            peer: Some(index_peer),
            ..target
        };
        let permits = Permits::default();
        let inner = Arc::new(Inner {
            index_peer,
            target,
            index,
            permits,
            remembered,
        });
        Self { inner, ways }
    }

    /// The same client with other ways to the nodes.
    #[must_use]
    pub fn by(self, options: Options) -> Self {
        Self {
            ways: self.ways.by(options),
            ..self
        }
    }

    /// Who this client is.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.ways.peer_id()
    }

    /// How this client reaches nodes.
    #[must_use]
    pub const fn ways(&self) -> &Ways {
        &self.ways
    }

    /// Who the index is.
    #[must_use]
    pub fn index_peer(&self) -> PeerId {
        self.inner.index_peer
    }

    /// Where the index is, with its key.
    #[must_use]
    pub fn target(&self) -> &IndexTarget {
        &self.inner.target
    }

    pub(crate) fn permits(&self) -> &Permits {
        &self.inner.permits
    }

    pub(crate) fn index(&self) -> &IndexLink {
        &self.inner.index
    }

    /// Submits a job. Sent again with the same key, it names the same job; so it is
    /// sent again by itself while the index cannot be reached.
    ///
    /// # Errors
    /// When it is not valid, or the index refuses it or cannot be reached for a while.
    pub async fn submit(
        &self,
        spec: &JobSpec,
        key: IdempotencyKey,
    ) -> Result<Submitted, ClientError> {
        self.submit_for(spec, key, None).await
    }

    /// The same with a budget, which is set aside in this client's account until the
    /// job has ended. Without one only nodes that ask nothing take the job, and those
    /// that this client has reserved.
    ///
    /// # Errors
    /// As [`Client::submit`], and when the account has less than the budget.
    pub async fn submit_for(
        &self,
        spec: &JobSpec,
        key: IdempotencyKey,
        budget: Option<MicroUnits>,
    ) -> Result<Submitted, ClientError> {
        spec.validate()?;
        let Watched { job, assignment } = self
            .index()
            .submit(Bytes::from(spec.canonical()), key.0, budget)
            .await?;
        Ok(Submitted { job, assignment })
    }

    /// Submits a job that this client has another index do if this one does not answer:
    /// where it was committed all the same, it is not run, and ends by itself. Once there
    /// is an answer, watch the job: that makes it one like every other.
    ///
    /// # Errors
    /// As [`Client::submit_for`]; it is sent once.
    pub async fn submit_tentatively(
        &self,
        spec: &JobSpec,
        key: IdempotencyKey,
        budget: Option<MicroUnits>,
    ) -> Result<Submitted, ClientError> {
        let spec = Bytes::from(spec.canonical());
        let sent = self.index().submit_tentatively(spec, key.0, budget);
        let Watched { job, assignment } = sent.await?;
        Ok(Submitted { job, assignment })
    }

    /// What a job may cost at most, by the prices of the nodes that could run it.
    ///
    /// # Errors
    /// When the spec is not valid, or the index cannot be reached for a while.
    pub async fn quote(&self, spec: &JobSpec) -> Result<Quoted, ClientError> {
        spec.validate()?;
        self.index().quote(Bytes::from(spec.canonical())).await
    }

    /// Submits a job and follows it: brings `sources` to its node, tells it who
    /// holds the other inputs, starts it there and streams what it says.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn run(
        &self,
        spec: &JobSpec,
        sources: Sources,
        holders: Vec<BlobRef>,
        key: IdempotencyKey,
    ) -> Result<(Submitted, Follow), ClientError> {
        self.run_for(spec, sources, holders, key, None).await
    }

    /// The same with a budget: see [`Client::submit_for`].
    ///
    /// # Errors
    /// As [`Client::submit_for`].
    pub async fn run_for(
        &self,
        spec: &JobSpec,
        sources: Sources,
        holders: Vec<BlobRef>,
        key: IdempotencyKey,
        budget: Option<MicroUnits>,
    ) -> Result<(Submitted, Follow), ClientError> {
        let submitted = self.submit_for(spec, key, budget).await?;
        let follow = self.follow_new(spec, &submitted, sources, holders);
        Ok((submitted, follow))
    }

    /// Follows a job that was submitted just now, brings its inputs to its node, and starts
    /// it there.
    #[must_use]
    pub fn follow_new(
        &self,
        spec: &JobSpec,
        submitted: &Submitted,
        sources: Sources,
        holders: Vec<BlobRef>,
    ) -> Follow {
        let start = Start {
            after: 0,
            spec: Some(Bytes::from(spec.canonical())),
            sources,
            holders,
            assignment: submitted.assignment.clone(),
        };
        self.follow(submitted.job.id, start)
    }

    /// One stream of a job's updates: across lost connections, restarts of the index
    /// and changes of node, without a gap or a repeat in the numbers.
    #[must_use]
    pub fn follow(&self, job: JobId, start: Start) -> Follow {
        Follow::start(self.clone(), job, start)
    }

    /// A job as the index knows it, with its journal and its spec.
    ///
    /// # Errors
    /// When there is none, or the index cannot be reached.
    pub async fn job(&self, job: JobId) -> Result<JobView, ClientError> {
        self.index().job(job).await
    }

    /// A job as the index knows it, from one that answers at once.
    ///
    /// # Errors
    /// When there is none, or the index cannot be reached now.
    pub async fn job_now(&self, job: JobId) -> Result<JobView, ClientError> {
        self.index().job_now(job).await
    }

    /// The newest jobs, at most `most`, in any of `states` (none means all).
    ///
    /// # Errors
    /// When the index cannot be reached.
    pub async fn jobs(
        &self,
        states: &[JobState],
        most: usize,
    ) -> Result<Vec<JobView>, ClientError> {
        self.index().jobs(states, most).await
    }

    /// The nodes that the index knows.
    ///
    /// # Errors
    /// When the index cannot be reached.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        self.index().nodes().await
    }

    /// A fresh assignment for the attempt that runs now; while the index is away, the one
    /// that is remembered.
    ///
    /// # Errors
    /// When none runs, or the job is another's.
    pub async fn assignment(&self, job: JobId) -> Result<NodeAssignment, ClientError> {
        let remembered = self.inner.remembered.clone();
        match self.index().renew(job, Epoch(0)).await {
            Err(error @ (ClientError::Unreachable { .. } | ClientError::Timeout { .. })) => {
                remembered.filter(|held| held.job == job).ok_or(error)
            }
            answer => answer,
        }
    }

    /// Ends a job: directly at its node, and at the index, whichever can be reached.
    /// `held` is an assignment that the caller has already.
    ///
    /// # Errors
    /// When neither takes it.
    pub async fn cancel(
        &self,
        job: JobId,
        held: Option<NodeAssignment>,
    ) -> Result<JobState, ClientError> {
        let direct = async {
            let held = match held {
                Some(held) => held,
                None => self.assignment(job).await?,
            };
            self.node(&held.node)
                .await?
                .control(&held, Control::Cancel)
                .await
        };
        // Both at once: the node frees its device now, and the index does not start
        // another attempt even if the node is gone.
        let (mut direct, mut at_index) = (Box::pin(direct), Box::pin(self.index().cancel(job)));
        tokio::select! {
            at_index = &mut at_index => match at_index {
                Ok(job) => {
                    let _ = direct.await;
                    Ok(job.state)
                }
                Err(error) => direct.await.map_err(|_| error),
            },
            direct = &mut direct => match direct {
                // An index that is away hears of it from the node, once it is back.
                Ok(state) => Ok(timeout(CANCEL_WAIT, at_index)
                    .await
                    .ok()
                    .and_then(Result::ok)
                    .map_or(state, |job| job.state)),
                Err(_) => at_index.await.map(|job| job.state),
            },
        }
    }

    /// Lets a job stand still, or go on, at its node.
    ///
    /// # Errors
    /// When no attempt runs, or its node cannot be reached.
    pub async fn set_paused(
        &self,
        job: JobId,
        paused: bool,
        held: Option<NodeAssignment>,
    ) -> Result<JobState, ClientError> {
        let what = if paused {
            Control::Pause
        } else {
            Control::Resume
        };
        if let Some(held) = held
            && let Ok(link) = self.node(&held.node).await
            && let Ok(state) = link.control(&held, what).await
        {
            return Ok(state);
        }
        // The assignment was old, or there was none: the index has the newest.
        let fresh = self.assignment(job).await?;
        self.node(&fresh.node).await?.control(&fresh, what).await
    }

    /// Gives a running training other hyperparameters; what is `None` stays. An
    /// event says from which step on they hold.
    ///
    /// # Errors
    /// When no attempt runs, its node cannot be reached, or it refuses them.
    pub async fn adjust(
        &self,
        job: JobId,
        learning_rate: Option<f64>,
        weight_decay: Option<f64>,
    ) -> Result<JobState, ClientError> {
        let held = self.assignment(job).await?;
        self.node(&held.node)
            .await?
            .adjust(&held, learning_rate, weight_decay)
            .await
    }

    /// Ends a running training after the step it is in, with the weights it has:
    /// it succeeds, and says that it was stopped.
    ///
    /// # Errors
    /// When no attempt runs, its node cannot be reached, or it is no training.
    pub async fn finish(&self, job: JobId) -> Result<JobState, ClientError> {
        let held = self.assignment(job).await?;
        self.node(&held.node)
            .await?
            .control(&held, Control::Finish)
            .await
    }

    /// Brings blobs to the node of an assignment; those that it has are skipped.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses one.
    pub async fn put_blobs(
        &self,
        assignment: &NodeAssignment,
        sources: &Sources,
    ) -> Result<(), ClientError> {
        let link = self.node(&assignment.node).await?;
        upload::upload(&link, &assignment.token, sources, None).await
    }

    /// Downloads a blob to a file, verified as it arrives. What had come of an
    /// earlier try is not asked for again; the file appears only when it is whole.
    ///
    /// # Errors
    /// When no holder could give it, or it cannot be written.
    pub async fn fetch(
        &self,
        download: &Download,
        destination: &Path,
        progress: Option<&watch::Sender<Progress>>,
        cancel: &CancellationToken,
    ) -> Result<Fetched, ClientError> {
        self.ways
            .fetch(download, destination, progress, cancel)
            .await
    }

    /// What a node says of itself now.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn node_status(&self, node: &PeerAddress) -> Result<NodeStatus, ClientError> {
        self.node(node).await?.status().await
    }

    pub(crate) async fn node(&self, address: &PeerAddress) -> Result<NodeLink, ClientError> {
        self.ways.node(address).await
    }
}

/// Brings blobs to a node whose owner has allowed this key, without an index.
///
/// # Errors
/// When the node cannot be reached or refuses one.
pub async fn put_blobs_at(
    identity: &Identity,
    node: &Target,
    options: &Options,
    sources: &Sources,
) -> Result<(), ClientError> {
    let link = NodeLink::connect(identity, node, options.mesh.as_ref(), options.road).await?;
    upload::upload(&link, "", sources, None).await
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("peer", &self.peer_id())
            .field("index", &self.inner.index_peer)
            .finish_non_exhaustive()
    }
}
