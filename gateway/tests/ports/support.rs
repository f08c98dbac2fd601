//! A gateway without an index, and ports of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::Keypair;
use embermesh_dialects::{
    Dialect::{self, CyxWiz, Dim, HiveMind, TitanCompute, Zisk},
    Profile,
};
use embermesh_gateway::{
    Gateway, GatewayConfig, ProvingSettings,
    users::policy::{Belief, Policies, Policy},
};
use embermesh_job::units::MicroUnits;
use embermesh_mesh::road::{Identity, ListenConfig, Listener};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use crate::raw::AsTheyAre;

/// The longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Every system.
pub(crate) const ALL: [Dialect; 5] = [TitanCompute, Dim, CyxWiz, HiveMind, Zisk];

pub(crate) struct Ports {
    gateway: Gateway,
    identity: Identity,
    _folder: TempDir,
}

impl Ports {
    /// A gateway that believes nobody.
    pub(crate) async fn start() -> Self {
        Self::start_with(Policies::new()).await
    }

    /// A gateway that believes whoever comes from this machine.
    pub(crate) async fn trusting() -> Self {
        let policy = Policy {
            belief: Belief::Legacy,
            networks: Vec::new(),
        };
        Self::start_with(ALL.map(|dialect| (dialect, policy.clone())).into()).await
    }

    async fn start_with(policies: Policies) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = GatewayConfig {
            folder: folder.path().to_owned(),
            // Nothing here asks the index.
            index: "127.0.0.1:1".parse().unwrap(),
            mesh: None,
            policies,
            endpoint: String::new(),
            open_jobs: 10,
            worker_price: MicroUnits(0),
            model_quota: 1 << 30,
            proving: ProvingSettings::default(),
        };
        let gateway = Gateway::start(config, CancellationToken::new());
        Self {
            gateway: gateway.await.unwrap(),
            identity: Identity::new(Arc::new(Keypair::from_seed(&[1; 32]))).unwrap(),
            _folder: folder,
        }
    }

    /// Opens a port.
    pub(crate) async fn open(
        &self,
        config: &ListenConfig,
        dialects: &[Dialect],
        profile: Profile,
    ) -> SocketAddr {
        let listener = Listener::bind(config).await.unwrap();
        let address = listener.address();
        let serving = self
            .gateway
            .serve_on(listener, &self.identity, dialects, profile);
        serving.await.unwrap();
        address
    }
}

/// A connection in plaintext to a port, by loopback.
pub(crate) async fn connect(address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    channel.connect().await
}

/// A call whose message never comes to its end.
pub(crate) async fn stalled(channel: Channel, rpc: &str) {
    let path = PathAndQuery::try_from(format!("/{rpc}")).unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let request = Request::new(tokio_stream::pending());
    let _ = client.client_streaming(request, path, AsTheyAre).await;
}

/// What a message of these bytes is answered with, which may be that all went well.
pub(crate) async fn answer(channel: &Channel, rpc: &str, message: Bytes) -> Status {
    let path = PathAndQuery::try_from(format!("/{rpc}")).unwrap();
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let called = client.unary(Request::new(message), path, AsTheyAre);
    match timeout(PATIENCE, called).await {
        Ok(answer) => answer.err().unwrap_or_else(|| Status::ok("")),
        Err(_) => panic!("{rpc} is not answered"),
    }
}
