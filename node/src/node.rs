//! Puts a node together and takes it apart: the data folder, the mesh, the
//! devices, the port, the lines to the indexes; each with an owner, stopped in
//! the order that loses nothing.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use embermesh_crypto::{ids::PeerId, keys::Keypair, time::UnixMillis};
use embermesh_job::event::{Event, EventKind};
use embermesh_mesh::{
    Mesh, MeshError,
    blob::{self, BlobService, BlobStore, Fetcher},
    road::{self, Identity, ListenConfig, Listener, RoadError, Serving},
};
use embermesh_storage::folder::FolderUnusable;
use thiserror::Error;
use tokio::{sync::watch, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    advert::Advertiser,
    config::{InvalidConfig, NodeConfig},
    folder::DataFolder,
    gate::Gate,
    probe::probe_all,
    service,
    site::Site,
    slots::{Slots, Workers},
    store::{Store, StoreError},
    task::Tasks,
    trust::Trust,
    uplink::{self, Uplink},
    worker::{Spawner, WorkerCommand},
};

/// How long the mesh has to say goodbye before the node stops without it.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long the last reports have to reach the indexes when the node drains.
const LAST_REPORTS: Duration = Duration::from_secs(3);
/// How long tasks that nobody waits for have to end.
const LOOSE_ENDS: Duration = Duration::from_secs(5);
/// How often what is old is forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// How long a report waits for an index that never comes back.
const REPORTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a node did not start, or did not stop well.
#[derive(Debug, Error)]
pub enum NodeError {
    /// A value of the configuration cannot work.
    #[error("invalid configuration: {0}")]
    Config(#[from] InvalidConfig),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderUnusable),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs cannot be kept.
    #[error(transparent)]
    Blobs(#[from] blob::StoreError),
    /// The port cannot be served.
    #[error(transparent)]
    Road(#[from] RoadError),
    /// The mesh cannot be joined.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// No thread could be had.
    #[error("the thread that starts workers cannot be started: {0}")]
    Spawner(io::Error),
    /// Not one device works.
    #[error("no device of this node works: {0}")]
    NoDevice(String),
}

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts a node that runs until `cancel` is cancelled. When this returns, it
    /// serves and its advert is signed.
    ///
    /// # Errors
    /// When its configuration, data folder, database, devices or a port cannot be
    /// used; nothing is left running then.
    pub async fn start(
        config: NodeConfig,
        keypair: Arc<Keypair>,
        cancel: CancellationToken,
    ) -> Result<RunningNode, NodeError> {
        config.validate()?;
        let targets = config.index_targets()?;
        let command = Arc::new(WorkerCommand::of(&config.worker_command)?);
        let cancel = cancel.child_token();
        // Whatever fails below, what was started before it is told to stop.
        let guard = cancel.clone().drop_guard();
        let folder = DataFolder::hold(&config.data_dir)?;
        let listener = Listener::bind(&ListenConfig {
            address: config.tls_listen,
            plaintext: None,
        })
        .await?;
        let address = listener.address();
        let store = Store::open(&folder.database(), keypair.peer_id()).await?;
        let blobs = BlobStore::open(folder.blobs(), config.blob_quota.0)?;
        let work = folder.fresh_work()?;
        let tracker = TaskTracker::new();
        let slots = devices(&config, &folder, &command, &tracker, &cancel).await?;
        let identity = Identity::new(Arc::clone(&keypair))?;
        let mesh = Mesh::start(Arc::clone(&keypair), config.mesh(), cancel.child_token()).await?;
        let tls = if config.advertise.is_empty() {
            vec![address.to_string()]
        } else {
            config.advertise.clone()
        };
        let site = Arc::new(Site {
            fetcher: Fetcher::new(identity.clone(), Some(mesh.clone())),
            identity,
            mesh,
            store: store.clone(),
            blobs: blobs.clone(),
            slots,
            work,
            tls,
            threads: config.threads,
            replicas: config.checkpoint_replicas as usize,
            posted: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            brought: watch::Sender::new(0),
            tracker,
            keypair,
        });
        let any = targets.iter().any(|target| target.peer.is_none());
        let pinned: Vec<PeerId> = targets.iter().filter_map(|target| target.peer).collect();
        let known = move |index: &PeerId| any || pinned.contains(index);
        let allow = config.allow.iter().copied();
        let trust = Trust::load(store, site.me(), allow, config.open, known).await?;
        let gate = Gate::new(site.me(), trust);
        let tasks = Tasks::new(Arc::clone(&site));
        tasks.report_interrupted().await?;
        let blobs = BlobService::new(blobs, Arc::new(blob::Open));
        let routes = service::routes(service::Parts {
            site: Arc::clone(&site),
            tasks: tasks.clone(),
            gate: gate.clone(),
            blobs: blobs.clone(),
            cancel: cancel.clone(),
        })
        .await;
        let serving = road::serve(
            listener,
            &site.identity,
            Some(&site.mesh),
            routes,
            Some(blobs),
            cancel.clone(),
        )?;
        let advertiser = Advertiser::new(Arc::clone(&site), &config);
        advertiser.say().await?;
        let lines = TaskTracker::new();
        lines.spawn(advertiser.run(cancel.clone()));
        lines.spawn(tidy(Arc::clone(&site), config.keep_ended.0, cancel.clone()));
        let parts = uplink::Parts {
            site: Arc::clone(&site),
            tasks: tasks.clone(),
            gate,
            cancel: cancel.clone(),
        };
        for target in targets {
            lines.spawn(Uplink::new(parts.clone(), target).run());
        }
        lines.close();
        Ok(RunningNode {
            _cancel_on_drop: guard,
            address,
            site,
            tasks,
            serving,
            lines,
            cancel,
            drain_time: config.drain_time(),
            _folder: folder,
        })
    }
}

/// Probes the devices and starts what keeps a worker ready on each.
async fn devices(
    config: &NodeConfig,
    folder: &DataFolder,
    command: &Arc<WorkerCommand>,
    tracker: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<Slots, NodeError> {
    let spawner = Spawner::start().map_err(NodeError::Spawner)?;
    let memory = folder.devices();
    let probed = Box::pin(probe_all(&config.devices, &spawner, command, &memory)).await;
    if probed.iter().all(|device| device.report.is_err()) {
        let faults = probed.iter().filter_map(|device| {
            let fault = device.report.as_ref().err()?;
            Some(format!("{}: {fault}", device.device))
        });
        return Err(NodeError::NoDevice(faults.collect::<Vec<_>>().join("; ")));
    }
    let memory = match config.memory.0 {
        0 => share_of_memory(config.slots),
        bytes => bytes,
    };
    let workers = Workers {
        spawner,
        command: Arc::clone(command),
        cancel: cancel.clone(),
    };
    let (slots, actors) = Slots::new(probed, config.slots, memory, &workers);
    for actor in actors {
        tracker.spawn(actor);
    }
    Ok(slots)
}

/// Three quarters of the machine's memory, shared by the slots of a device. Where
/// the system does not say how much it has, the worker's own limits must do.
fn share_of_memory(slots: u32) -> u64 {
    let total = sysinfo::System::new().ok().map_or(u64::MAX, |mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    total / 4 * 3 / u64::from(slots.max(1))
}

/// Forgets tasks that ended long ago, and reports whose index is gone for good.
async fn tidy(site: Arc<Site>, keep_ended_ms: u64, cancel: CancellationToken) {
    let keep = Duration::from_millis(keep_ended_ms);
    loop {
        let now = UnixMillis::now();
        match site.store.forget_ended(now.saturating_sub(keep)).await {
            Ok(naming) => naming.iter().for_each(|event| let_go(&site, event)),
            Err(error) => tracing::warn!(%error, "old tasks were not forgotten"),
        }
        if let Err(error) = site
            .store
            .forget_reports(now.saturating_sub(REPORTS_KEPT))
            .await
        {
            tracing::warn!(%error, "old reports were not forgotten");
        }
        let slept = cancel
            .run_until_cancelled(tokio::time::sleep(TIDY_EVERY))
            .await;
        if slept.is_none() {
            return;
        }
    }
}

/// Lets go of what a forgotten event names: the store may now make room of it.
fn let_go(site: &Site, event: &Event) {
    if let EventKind::Artifact(artifact) = &event.kind
        && let Err(error) = site.blobs.unpin(&artifact.digest)
    {
        tracing::debug!(digest = %artifact.digest, %error, "an artifact was not let go");
    }
}

/// A node that runs.
pub struct RunningNode {
    address: SocketAddr,
    site: Arc<Site>,
    tasks: Tasks,
    serving: Serving,
    lines: TaskTracker,
    cancel: CancellationToken,
    drain_time: Duration,
    /// A node that nobody holds any more stops, if not gracefully.
    _cancel_on_drop: DropGuard,
    _folder: DataFolder,
}

impl RunningNode {
    /// The node's key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.site.me()
    }

    /// Where gRPC is served over TLS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Multiaddrs by which others reach this node in the mesh.
    #[must_use]
    pub fn mesh_addresses(&self) -> Vec<String> {
        self.site.mesh.addresses()
    }

    /// The mesh that the node is part of.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.site.mesh
    }

    /// Takes no new task, lets each that runs come to its end or its next
    /// checkpoint within the drain time, tells the indexes, and stops.
    ///
    /// # Errors
    /// When the store had failed.
    pub async fn drain(self) -> Result<(), NodeError> {
        self.site.slots.drain();
        tracing::info!(within = ?self.drain_time, "draining");
        self.tasks.drain(self.drain_time).await;
        self.last_reports().await;
        self.stop().await
    }

    /// Stops every task now, and the node with them; their jobs move.
    ///
    /// # Errors
    /// When the store had failed.
    pub async fn stop(self) -> Result<(), NodeError> {
        let running = !self.tasks.all().is_empty();
        self.site.slots.drain();
        self.tasks.stop_all().await;
        if running {
            self.last_reports().await;
        }
        self.cancel.cancel();
        self.serving.ended().await;
        self.lines.wait().await;
        if timeout(GOODBYE, self.site.mesh.shutdown()).await.is_err() {
            tracing::warn!(grace = ?GOODBYE, "the mesh took too long to say goodbye");
        }
        self.site.tracker.close();
        if timeout(LOOSE_ENDS, self.site.tracker.wait()).await.is_err() {
            tracing::warn!(grace = ?LOOSE_ENDS, "some tasks overran the stop");
        }
        self.site.store.close().await;
        Ok(())
    }

    /// Gives the lines to the indexes a moment to deliver what waits.
    async fn last_reports(&self) {
        let store = &self.site.store;
        let delivered = async {
            // The outbox has no event for "empty"; it is looked at a few times.
            while store.any_report().await.unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(LAST_REPORTS, delivered).await.is_err() {
            tracing::info!("some reports wait until the node is started again");
        }
    }
}
