//! Puts an index together and takes it apart: the data folder, the actor, the
//! mesh, the gRPC port and the metrics port, each with an owner, stopped in the
//! order that loses nothing.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use embermesh_crypto::{ids::PeerId, keys::Keypair, statement::Role};
use embermesh_mesh::{
    AdvertDraft, Mesh, MeshConfig, MeshError,
    road::{self, Identity, ListenConfig, Listener, RoadError, Serving},
};
use embermesh_storage::folder::{DataFolder, FolderUnusable};
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::service::Routes;

use crate::{
    actor::{Actor, Handle},
    config::{IndexConfig, InvalidConfig},
    intake,
    metrics::{self, Metrics},
    service,
    state::Entropy,
    store::{Store, StoreError},
};

/// Who holds the data folder; names its lock and its database.
const DAEMON: &str = "index";

/// How long the mesh has to say goodbye before the index stops without it.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why an index did not start, or stopped by itself.
#[derive(Debug, Error)]
pub enum IndexError {
    /// A value of the configuration cannot work.
    #[error("invalid configuration: {0}")]
    Config(#[from] InvalidConfig),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderUnusable),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gRPC port cannot be served.
    #[error(transparent)]
    Road(#[from] RoadError),
    /// The mesh cannot be joined.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The metrics port cannot be bound.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another metrics.listen, or set metrics.enabled = false"
    )]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(getrandom::Error),
    /// The services could not describe themselves.
    #[error("the services cannot be described for reflection: {0}")]
    Reflection(tonic_reflection::server::Error),
}

/// What the port serves beside the index's own services.
#[derive(Default)]
pub struct Beside {
    /// Adds the services.
    pub mount: Option<Box<dyn FnOnce(Routes) -> Routes + Send>>,
    /// Their names, for reflection and health.
    pub names: Vec<&'static str>,
    /// Encoded `FileDescriptorSet`s that have them.
    pub descriptors: Vec<&'static [u8]>,
}

/// Starts indexes.
#[derive(Debug)]
pub struct Index;

impl Index {
    /// Starts an index that runs until `cancel` is cancelled. When this returns,
    /// it serves.
    ///
    /// # Errors
    /// When its configuration, data folder, database or a port cannot be used;
    /// nothing is left running then.
    pub async fn start(
        config: IndexConfig,
        keypair: Arc<Keypair>,
        cancel: CancellationToken,
    ) -> Result<RunningIndex, IndexError> {
        let bound = Self::bind(config, keypair, cancel).await?;
        bound.serve(Beside::default()).await
    }

    /// Makes an index ready that has its ports and its part of the mesh and serves
    /// nothing yet, so that what is served beside it can be told where it is.
    ///
    /// # Errors
    /// As [`Index::start`]; nothing is left running then, nor when what this gives is
    /// dropped.
    pub async fn bind(
        config: IndexConfig,
        keypair: Arc<Keypair>,
        cancel: CancellationToken,
    ) -> Result<BoundIndex, IndexError> {
        config.validate()?;
        let cancel = cancel.child_token();
        // Whatever fails below, what was started before it is told to stop.
        let guard = cancel.clone().drop_guard();
        let metrics = Metrics::new();
        let folder = DataFolder::hold(&config.data_dir, DAEMON)?;
        let listener = Listener::bind(&ListenConfig {
            address: config.listen,
            plain_connections: config.limits.plain_connections,
            peer_connections: config.limits.peer_connections,
            ..ListenConfig::default()
        })
        .await?;
        let metrics_listener = bind_metrics(&config).await?;
        let store = Store::open(&folder.database(), keypair.peer_id()).await?;
        let reader = store.reader();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(IndexError::Randomness)?;
        let (actor, store, handle) = Actor::start(
            config.settings(),
            Arc::clone(&keypair),
            store,
            Entropy::from_seed(seed),
            metrics.clone(),
        )
        .await?;
        // It ends when it is told to, after all that uses it, or with its last handle.
        let mesh = Mesh::start(
            Arc::clone(&keypair),
            mesh_config(&config),
            CancellationToken::new(),
        )
        .await?;
        let parts = service::Parts {
            handle: handle.clone(),
            reader,
            mesh: mesh.clone(),
            watches: config.limits.watches,
            writable: actor.writable(),
            cancel: cancel.clone(),
        };
        Ok(BoundIndex {
            address: listener.address(),
            config,
            keypair,
            listener,
            metrics_listener,
            metrics,
            actor,
            store,
            handle,
            mesh,
            parts,
            guard,
            cancel,
            folder,
        })
    }
}

/// An index that has its ports and serves nothing yet.
pub struct BoundIndex {
    address: SocketAddr,
    config: IndexConfig,
    keypair: Arc<Keypair>,
    listener: Listener,
    metrics_listener: Option<TcpListener>,
    metrics: Metrics,
    actor: Actor,
    store: Store,
    handle: Handle,
    mesh: Mesh,
    parts: service::Parts,
    guard: DropGuard,
    cancel: CancellationToken,
    folder: DataFolder,
}

impl BoundIndex {
    /// The index's key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.keypair.peer_id()
    }

    /// The key that the index runs under.
    #[must_use]
    pub const fn keypair(&self) -> &Arc<Keypair> {
        &self.keypair
    }

    /// Where gRPC will be served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The mesh that the index is part of.
    #[must_use]
    pub const fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Cancelled when the index stops.
    #[must_use]
    pub const fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Serves. When this returns, it does.
    ///
    /// # Errors
    /// As [`Index::start`].
    pub async fn serve(self, beside: Beside) -> Result<RunningIndex, IndexError> {
        let Self {
            address,
            config,
            keypair,
            listener,
            metrics_listener,
            metrics,
            actor,
            store,
            handle,
            mesh,
            parts,
            guard,
            cancel,
            folder,
        } = self;
        let serving = road::serve(
            listener,
            &Identity::member(Arc::clone(&keypair), config.membership.clone())?,
            Some(&mesh),
            service::routes(parts, beside).map_err(IndexError::Reflection)?,
            None,
            cancel.clone(),
        )?;
        mesh.advertise(draft(&config, address)).await?;
        let tasks = TaskTracker::new();
        let metrics_address = metrics_listener.as_ref().and_then(metrics::local_address);
        if let Some(listener) = metrics_listener {
            tasks.spawn(metrics::serve(listener, metrics, cancel.clone()));
        }
        tasks.spawn(intake::run(mesh.clone(), handle.clone(), cancel.clone()));
        tasks.close();
        // The actor outlives the services that call it.
        let stop_actor = CancellationToken::new();
        let actor = tokio::spawn(actor.run(store, stop_actor.clone()));
        let _ = guard.disarm();
        Ok(RunningIndex {
            peer_id: keypair.peer_id(),
            address,
            metrics_address,
            mesh,
            handle,
            cancel,
            stop_actor,
            serving,
            tasks,
            actor,
            _folder: folder,
        })
    }
}

/// An index that runs.
pub struct RunningIndex {
    peer_id: PeerId,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    mesh: Mesh,
    handle: Handle,
    cancel: CancellationToken,
    stop_actor: CancellationToken,
    serving: Serving,
    tasks: TaskTracker,
    actor: JoinHandle<Result<(), StoreError>>,
    _folder: DataFolder,
}

impl RunningIndex {
    /// The index's key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Where gRPC is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is served, if it is.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Multiaddrs by which others join the mesh through this index.
    #[must_use]
    pub fn mesh_addresses(&self) -> Vec<String> {
        self.mesh.addresses()
    }

    /// The mesh that the index is part of.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Stops the index and waits until everything of it has stopped.
    ///
    /// # Errors
    /// When the store had failed.
    pub async fn stop(self) -> Result<(), IndexError> {
        self.cancel.cancel();
        self.wait().await
    }

    /// Waits until the index has stopped: because its token was cancelled, or
    /// because its store can no longer be used.
    ///
    /// # Errors
    /// When the store had failed.
    pub async fn wait(mut self) -> Result<(), IndexError> {
        let early = tokio::select! {
            () = self.cancel.cancelled() => None,
            ended = &mut self.actor => Some(ended),
        };
        // First nobody new is let in, then the calls under way are answered,
        // then the database is closed.
        self.cancel.cancel();
        self.serving.ended().await;
        self.tasks.wait().await;
        if tokio::time::timeout(GOODBYE, self.mesh.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(grace = ?GOODBYE, "the mesh took too long to say goodbye");
        }
        drop(self.handle);
        self.stop_actor.cancel();
        let ended = match early {
            Some(ended) => ended,
            None => self.actor.await,
        };
        match ended {
            Ok(result) => Ok(result?),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

async fn bind_metrics(config: &IndexConfig) -> Result<Option<TcpListener>, IndexError> {
    if !config.metrics.enabled {
        return Ok(None);
    }
    let address = config.metrics.listen;
    TcpListener::bind(address)
        .await
        .map(Some)
        .map_err(|source| IndexError::Metrics { address, source })
}

fn mesh_config(config: &IndexConfig) -> MeshConfig {
    MeshConfig {
        network: config.network.clone(),
        listen: config.mesh.listen.clone(),
        external: config.mesh.external.clone(),
        bootstrap: config.mesh.bootstrap.clone(),
        mdns: config.mesh.mdns,
        upnp: config.mesh.upnp,
        kad_server: true,
        membership: config.membership.clone(),
        limits: config.mesh.limits.clone(),
    }
}

fn draft(config: &IndexConfig, bound: SocketAddr) -> AdvertDraft {
    let tls_addresses = if config.advertise.is_empty() {
        vec![bound.to_string()]
    } else {
        config.advertise.clone()
    };
    AdvertDraft {
        role: Role::Index,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tls_addresses,
        region: config.region.clone(),
        price_micros_per_hour: 0,
        devices: Vec::new(),
        slots: 0,
        free_slots: 0,
        queued: 0,
        draining: false,
        runtimes: embermesh_crypto::statement::Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    }
}
