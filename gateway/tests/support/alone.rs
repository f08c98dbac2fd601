//! A gateway whose index is not there, with one system on a port of its own.

use std::{net::SocketAddr, time::Duration};

use embermesh_dialects::{Dialect, Profile};
use embermesh_gateway::{Gateway, GatewayConfig, ProvingSettings, users::policy::Policies};
use embermesh_job::units::MicroUnits;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Server},
};

/// How long its end may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Alone {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    cancel: CancellationToken,
    serving: JoinHandle<()>,
}

impl Alone {
    /// Starts in a folder, which may have been another's before.
    pub(crate) async fn start_in(
        folder: TempDir,
        system: Dialect,
        policies: Policies,
        proving: ProvingSettings,
    ) -> Self {
        let cancel = CancellationToken::new();
        let config = GatewayConfig {
            folder: folder.path().to_owned(),
            // Nobody is there: no node of the mesh takes anything.
            index: "127.0.0.1:1".parse().unwrap(),
            mesh: None,
            policies,
            endpoint: String::new(),
            open_jobs: 10,
            worker_price: MicroUnits(0),
            model_quota: 1 << 30,
            proving,
        };
        let gateway = Gateway::start(config, cancel.clone()).await.unwrap();
        let services = gateway.services(&[system], Profile::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = (services.mount)(Routes::default());
        let stop = cancel.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            let server = Server::builder().add_routes(routes);
            let incoming = TcpListenerStream::new(listener);
            server
                .serve_with_incoming_shutdown(incoming, stop)
                .await
                .unwrap();
        });
        Self {
            gateway,
            address,
            folder,
            cancel,
            serving,
        }
    }

    /// Stops it, with every stream and connection, and leaves its folder.
    pub(crate) async fn stop(self) -> TempDir {
        self.cancel.cancel();
        self.gateway.stopped().await;
        timeout(PATIENCE, self.serving).await.unwrap().unwrap();
        self.folder
    }

    pub(crate) async fn channel(&self) -> Channel {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        channel.connect().await.unwrap()
    }
}
