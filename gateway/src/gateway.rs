//! Starts a gateway: its folder, its secret, its database, and the jobs that were open
//! when it stopped.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use embermesh_client::{IndexTarget, Options};
use embermesh_crypto::UnixMillis;
use embermesh_job::units::MicroUnits;
use embermesh_mesh::Mesh;
use embermesh_storage::database::NotOpened;
use thiserror::Error;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agents,
    clients::Clients,
    folder::Folders,
    jobs::Table,
    keys::Keyring,
    models::Loads,
    plans::Plans,
    provers::{Hall, ProvingSettings},
    registry::Models,
    servers::Rack,
    sessions::Signer,
    store::{Store, StoreError},
    users::{UserStore, policy::Policies},
    workers::Desk,
};

/// What a gateway needs to know.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Its folder: a secret, a database, and the files of jobs.
    pub folder: PathBuf,
    /// The index that it is a client of.
    pub index: IndexTarget,
    /// This process's part of the mesh, to reach nodes by the mesh road.
    pub mesh: Option<Mesh>,
    /// Whose word is taken, of the dialects that do not ask everybody for a token.
    pub policies: Policies,
    /// Where others reach the services of dialects: `host:port`.
    pub endpoint: String,
    /// The most jobs that are open at once.
    pub open_jobs: usize,
    /// What an hour of a foreign worker costs whoever has it work.
    pub worker_price: MicroUnits,
    /// The bytes that the models of one owner may have together, in the registry.
    pub model_quota: u64,
    /// The waits of provers that dial in, and of their proofs.
    pub proving: ProvingSettings,
}

/// Why a gateway did not start.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// A file or a folder of it cannot be used.
    #[error("cannot use {path} of the gateway: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Its database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database of users cannot be used.
    #[error(transparent)]
    Users(#[from] NotOpened),
}

/// The database of users, in the folder.
pub(crate) const USERS: &str = "users.sqlite";

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> GatewayError + use<> {
    let path = path.to_owned();
    move |source| GatewayError::Io { path, source }
}

/// Makes the folder of a gateway, for its owner alone.
pub(crate) fn make_folder(folder: &Path) -> Result<(), GatewayError> {
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    embermesh_storage::folder::make_private(folder).map_err(io(folder))
}

/// The keys of a gateway's clients.
pub(crate) fn keys(folder: &Path) -> Result<Keyring, GatewayError> {
    let secret = folder.join("secret");
    Keyring::load_or_create(&secret).map_err(io(&secret))
}

/// A gateway. Clones are the same one.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) clients: Clients,
    pub(crate) store: Store,
    pub(crate) folders: Folders,
    pub(crate) table: Table,
    pub(crate) open_jobs: usize,
    pub(crate) models: Models,
    pub(crate) users: UserStore,
    pub(crate) loads: Loads,
    pub(crate) plans: Plans,
    pub(crate) desk: Desk,
    pub(crate) hall: Hall,
    pub(crate) rack: Rack,
    pub(crate) signer: Signer,
    pub(crate) agents: agents::Table,
    pub(crate) endpoint: String,
    pub(crate) started_at: UnixMillis,
    pub(crate) tasks: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

impl Gateway {
    /// Opens what a gateway keeps and goes on with the jobs that were open.
    ///
    /// The index need not answer yet: it is asked when somebody asks the gateway.
    ///
    /// # Errors
    /// When its folder, secret or database cannot be used.
    pub async fn start(
        config: GatewayConfig,
        cancel: CancellationToken,
    ) -> Result<Self, GatewayError> {
        make_folder(&config.folder)?;
        let keys = keys(&config.folder)?;
        let key = config.folder.join("session.key");
        let signer = Signer::load_or_create(&key).map_err(io(&key))?;
        let jobs = config.folder.join("jobs");
        let folders = Folders::new(jobs.clone()).map_err(io(&jobs))?;
        let models = config.folder.join("models");
        let models = Models::new(models.clone(), config.model_quota).map_err(io(&models))?;
        let store = Store::open(&config.folder.join("gateway.sqlite")).await?;
        let users = config.folder.join(USERS);
        let users = UserStore::open(&users, config.policies, Arc::new(UnixMillis::now)).await?;
        let agents = agents::Table::load(&store, UnixMillis::now()).await?;
        let membership = config.mesh.as_ref().map(Mesh::membership).cloned();
        let options = Options {
            mesh: config.mesh,
            membership: membership.unwrap_or_default(),
            ..Options::default()
        };
        let gateway = Self {
            inner: Arc::new(Inner {
                clients: Clients::new(keys, config.index, options),
                store,
                folders,
                table: Table::default(),
                open_jobs: config.open_jobs,
                models,
                users,
                loads: Loads::default(),
                plans: Plans::default(),
                desk: Desk::new(config.worker_price),
                hall: Hall::new(config.proving),
                rack: Rack::new(config.worker_price),
                signer,
                agents,
                endpoint: config.endpoint,
                started_at: UnixMillis::now(),
                tasks: TaskTracker::new(),
                cancel,
            }),
        };
        gateway.go_on().await?;
        gateway.drive_workers();
        gateway.drive_servers();
        gateway.go_on_with_plans().await?;
        gateway.go_on_with_proofs().await?;
        gateway.sweep_provers();
        Ok(gateway)
    }

    /// Waits until everything of it has stopped, once its token was cancelled.
    pub async fn stopped(&self) {
        self.inner.cancel.cancelled().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}
