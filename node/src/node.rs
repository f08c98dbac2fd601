//! Puts a node together: the data folder, the mesh, the devices, the port, the
//! lines to the indexes; each with an owner.

use std::{io, sync::Arc, time::Duration};

use embermesh_crypto::{digest::Digest, ids::PeerId, keys::Keypair, time::UnixMillis};
use embermesh_dialects::Dialect;
use embermesh_job::event::{Event, EventKind};
use embermesh_mesh::{
    Mesh, MeshError,
    blob::{self, BlobService, BlobStore, Fetcher},
    road::{self, Identity, ListenConfig, Listener, RoadError},
};
use embermesh_storage::folder::FolderUnusable;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    advert::Advertiser,
    arriving::Arriving,
    config::{InvalidConfig, MAX_INDEXES, NodeConfig},
    door::Door,
    fences,
    folder::DataFolder,
    foreign::{self, Foreign, Owned},
    gate::Gate,
    logs::Logs,
    origins::Origins,
    probe::probe_all,
    resident::Residents,
    running::RunningNode,
    runtimes::RuntimeStandings,
    service,
    site::Site,
    slots::{Slots, Workers},
    store::{Store, StoreError},
    task::Tasks,
    trust::{Policy, Trust},
    uplink::{self, Links, Uplink},
    worker::{Spawner, WorkerCommand},
};

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
    /// The services could not describe themselves.
    #[error("the services cannot be described for reflection: {0}")]
    Reflection(tonic_reflection::server::Error),
    /// Not one device works.
    #[error("no device of this node works: {0}")]
    NoDevice(String),
}

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts a node. When this returns, it serves and its advert is signed.
    ///
    /// It is ended by [`RunningNode::stop`] or [`RunningNode::drain`]. Cancelling
    /// `cancel` is an abrupt stop: the port, every stream and the lines to the indexes
    /// end at once, whatever runs, so that nobody hears how a task ends; the indexes
    /// are told after the next start. The tasks themselves end only with `stop`, which
    /// is to be called then too. So give a token that nothing cancels in the ordinary
    /// course: not the one that a signal to the process cancels.
    ///
    /// # Errors
    /// When its configuration, data folder, database, devices or a port cannot be
    /// used; nothing is left running then.
    pub async fn start(
        config: NodeConfig,
        keypair: Arc<Keypair>,
        cancel: CancellationToken,
    ) -> Result<RunningNode, NodeError> {
        Box::pin(Self::start_logged(config, keypair, cancel, Logs::default())).await
    }

    /// The same, where the log of the process goes to `logs` for the owner to read.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_logged(
        config: NodeConfig,
        keypair: Arc<Keypair>,
        cancel: CancellationToken,
        logs: Logs,
    ) -> Result<RunningNode, NodeError> {
        config.validate()?;
        let targets = config.index_targets()?;
        let origins = Origins::new(config.origins.clone(), &config.shared)?;
        let command = Arc::new(WorkerCommand::of(&config.worker_command)?);
        let cancel = cancel.child_token();
        // Whatever fails below, what was started before it is told to stop.
        let guard = cancel.clone().drop_guard();
        let folder = DataFolder::hold(&config.data_dir)?;
        let listener = Listener::bind(&ListenConfig {
            address: config.tls_listen,
            plaintext: config.plaintext(),
            ..ListenConfig::default()
        })
        .await?;
        let address = listener.address();
        let store = Store::open(&folder.database(), keypair.peer_id()).await?;
        let blobs = BlobStore::open(folder.blobs(), config.blob_quota.0)?;
        let work = folder.fresh_work()?;
        let tracker = TaskTracker::new();
        let spawner = Spawner::start().map_err(NodeError::Spawner)?;
        let missing_fences = fences::look(&spawner, &command).await;
        let slots = devices(&config, &folder, &command, spawner, &tracker, &cancel).await?;
        let identity = Identity::member(Arc::clone(&keypair), config.membership.clone())?;
        // It ends when it is told to, after all that uses it, or with its last handle.
        let mesh = Mesh::start(
            Arc::clone(&keypair),
            config.mesh(),
            CancellationToken::new(),
        )
        .await?;
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
            door: Door::new(config.guests.rules(config.queue), config.guests.indexed),
            links: Links::default(),
            work,
            tls,
            threads: config.threads,
            replicas: config.checkpoint_replicas as usize,
            posted: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            brought: watch::Sender::new(0),
            arriving: Arriving::default(),
            origins,
            data_wait: Duration::from_millis(config.data_wait.0),
            residents: Residents::default(),
            receipts: Mutex::new(()),
            tracker,
            keypair,
        });
        let any = targets.iter().any(|target| target.peer.is_none());
        let pinned: Vec<PeerId> = targets.iter().filter_map(|target| target.peer).collect();
        let known = move |index: &PeerId| any || pinned.contains(index);
        let window = Duration::from_millis(config.guests.window.0);
        site.door.restore(&store, window).await?;
        let keys = store.owner_keys().await?;
        let policy = Policy {
            owners: config.owners.iter().copied().collect(),
            allow: config.allow.iter().copied().collect(),
            open: config.open,
            deny: config.deny.iter().copied().collect(),
            network: config.network.clone(),
        };
        let trust = Trust::load(store, site.me(), policy, known).await?;
        let gate = Gate::new(site.me(), trust);
        let tasks = Tasks::new(Arc::clone(&site));
        tasks.report_interrupted().await?;
        let blobs = BlobService::new(blobs, Arc::new(blob::Open));
        let shutdown = watch::Sender::new(None);
        let owner = Owned::new(
            &config,
            owner_word(&config, &folder)?,
            keys,
            foreign::Reins {
                logs,
                links: site.links.clone(),
                shutdown: shutdown.clone(),
            },
        );
        let foreign = Foreign::new(foreign::Parts {
            site: Arc::clone(&site),
            tasks: tasks.clone(),
            gate: gate.clone(),
            networks: config.foreign_networks()?,
            indexes: config.indexes.clone(),
            owner,
            cancel: cancel.clone(),
        });
        let routes = service::routes(service::Parts {
            site: Arc::clone(&site),
            tasks: tasks.clone(),
            gate: gate.clone(),
            blobs: blobs.clone(),
            beside: foreign.services(&config.dialects),
            cancel: cancel.clone(),
        })
        .await
        .map_err(NodeError::Reflection)?;
        let serving = road::serve(
            listener,
            &site.identity,
            Some(&site.mesh),
            routes,
            Some(blobs),
            cancel.clone(),
        )?;
        let advertiser = Advertiser::new(Arc::clone(&site), &config, missing_fences);
        advertiser.say().await?;
        let lines = TaskTracker::new();
        if config.dialects.contains(&Dialect::CyxWiz) {
            lines.spawn(foreign.measure(cancel.clone()));
        }
        lines.spawn(advertiser.run(cancel.clone()));
        lines.spawn(tidy(Arc::clone(&site), config.keep_ended.0, cancel.clone()));
        // Each line tells once.
        let (refused, refusals) = mpsc::channel(MAX_INDEXES);
        let parts = uplink::Parts {
            site: Arc::clone(&site),
            tasks: tasks.clone(),
            gate,
            refused,
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
            refusals: Some(refusals),
            shutdown,
            cancel,
            drain_time: config.drain_time(),
            _folder: folder,
        })
    }
}

/// Writes the owner's word down where a system is served that has him come by it.
fn owner_word(config: &NodeConfig, folder: &DataFolder) -> Result<Option<Digest>, NodeError> {
    if !config.dialects.contains(&Dialect::CyxWiz) {
        return Ok(None);
    }
    Ok(Some(foreign::write_word(&folder.owner_token())?))
}

/// Probes the devices and starts what keeps a worker ready on each.
async fn devices(
    config: &NodeConfig,
    folder: &DataFolder,
    command: &Arc<WorkerCommand>,
    spawner: Spawner,
    tracker: &TaskTracker,
    cancel: &CancellationToken,
) -> Result<Slots, NodeError> {
    let memory = folder.devices();
    let probed = Box::pin(probe_all(&config.devices, &spawner, command, &memory)).await;
    if probed.iter().all(|device| device.report.is_err()) {
        let faults = probed.iter().filter_map(|device| {
            let fault = device.report.as_ref().err()?;
            Some(format!("{}: {fault}", device.device))
        });
        return Err(NodeError::NoDevice(faults.collect::<Vec<_>>().join("; ")));
    }
    let runtimes = Box::pin(RuntimeStandings::probe(config.runtimes, &spawner, command)).await;
    let memory = match config.memory.0 {
        0 => share_of_memory(config.slots),
        bytes => bytes,
    };
    let workers = Workers {
        spawner,
        command: Arc::clone(command),
        cancel: cancel.clone(),
    };
    let (slots, actors) = Slots::new(
        probed,
        config.slots,
        config.residents,
        memory,
        runtimes,
        &workers,
    );
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
