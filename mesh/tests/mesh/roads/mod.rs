//! What the tests of roads and blobs share: peers that serve, proxies that cut.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use embermesh_crypto::{digest::Digest, ids::PeerId, keys::Keypair};
use embermesh_mesh::{
    Membership, Mesh, MeshConfig,
    blob::{BlobGate, BlobService, BlobStore, Open, Stored},
    road::{self, Caller, Identity, ListenConfig, Listener, Serving, Target},
};
use embermesh_proto::v1::{
    self, BlobChunk, StatusResponse,
    node_server::{Node, NodeServer},
};
use futures::{Stream, StreamExt as _};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

/// The end of every wait: far above what is measured, for a machine that is busy.
pub(crate) const WAIT: Duration = Duration::from_secs(40);

/// Waits, but not for ever.
pub(crate) async fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, future)
        .await
        .expect("it took too long")
}

/// An identity by number.
pub(crate) fn identity(number: u8) -> Identity {
    Identity::new(Arc::new(Keypair::from_seed(&[number; 32]))).unwrap()
}

/// An address at which nobody listens: a port below 1024, which the system gives to
/// nobody who asks for any.
pub(crate) const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A port that can be bound again and again while this lives. It is bound already and
/// not listened on, so that the system gives it to nobody else.
pub(crate) struct Reserved {
    _socket: TcpSocket,
    pub(crate) address: SocketAddr,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Without it nobody else could bind the port either.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self {
            _socket: socket,
            address,
        }
    }
}

/// Bytes that do not repeat within a group.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(&length.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A store in a folder of its own.
pub(crate) fn store(quota: u64) -> (TempDir, BlobStore) {
    let folder = TempDir::new().unwrap();
    let store = BlobStore::open(folder.path().join("store"), quota).unwrap();
    (folder, store)
}

/// Room for every test.
pub(crate) const QUOTA: u64 = 1 << 30;

/// A service that says who calls, and gives blobs.
pub(crate) struct TestNode {
    blobs: Option<BlobService>,
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Node for TestNode {
    type RunStream = Boxed<v1::RunUpdate>;
    type AttachStream = Boxed<v1::RunUpdate>;
    type FetchBlobStream = Boxed<BlobChunk>;
    type FeedStream = Boxed<v1::FeedWant>;
    type InferStream = Boxed<v1::InferUpdate>;

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(StatusResponse {
            node_id: caller.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            version: caller.road.to_string(),
            ..StatusResponse::default()
        }))
    }

    async fn fetch_blob(
        &self,
        request: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<Self::FetchBlobStream>, Status> {
        let peer = Caller::peer_of(&request)?;
        let asked = request.into_inner();
        let digest = Digest::from_slice(&asked.digest)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let blobs = self
            .blobs
            .as_ref()
            .ok_or_else(|| Status::unimplemented(""))?;
        let encoded = blobs
            .encode(peer, &digest, asked.offset, asked.length)
            .map_err(|refused| Status::not_found(refused.to_string()))?;
        let mut size = encoded.size();
        let chunks = encoded.map(move |chunk| {
            let data = chunk.map_err(|error| Status::internal(error.to_string()))?;
            Ok(BlobChunk {
                size: std::mem::take(&mut size),
                data,
            })
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    /// Says nothing, for ever.
    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Caller::peer_of(&request)?;
        Ok(Response::new(Box::pin(futures::stream::pending())))
    }

    async fn run(&self, _: Request<v1::RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn permit(
        &self,
        _: Request<v1::PermitRequest>,
    ) -> Result<Response<v1::PermitResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn cancel(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn adjust(
        &self,
        _: Request<v1::AdjustRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn finish(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn pause(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn resume(
        &self,
        _: Request<v1::ControlRequest>,
    ) -> Result<Response<v1::ControlResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn put_blob(
        &self,
        _: Request<tonic::Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<v1::PutBlobResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn has_blobs(
        &self,
        _: Request<v1::HasBlobsRequest>,
    ) -> Result<Response<v1::HasBlobsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn feed(
        &self,
        _: Request<tonic::Streaming<v1::FeedRequest>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn keep_blobs(
        &self,
        _: Request<v1::KeepBlobsRequest>,
    ) -> Result<Response<v1::KeepBlobsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_models(
        &self,
        _: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn infer(
        &self,
        _: Request<v1::InferRequest>,
    ) -> Result<Response<Self::InferStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A peer that serves on loopback.
pub(crate) struct Peer {
    pub(crate) identity: Identity,
    pub(crate) serving: Serving,
    pub(crate) mesh: Option<Mesh>,
    pub(crate) store: BlobStore,
    _folder: TempDir,
}

/// How a peer is to be.
#[derive(Default)]
pub(crate) struct Make {
    pub(crate) listen: ListenConfig,
    pub(crate) bootstrap: Option<Vec<String>>,
    pub(crate) no_blobs: bool,
    pub(crate) membership: Membership,
    pub(crate) gate: Option<Arc<dyn BlobGate>>,
    /// How long a reader of a blob may take nothing.
    pub(crate) patience: Option<Duration>,
}

impl Peer {
    /// A peer on the TLS road only.
    pub(crate) async fn new(number: u8) -> Self {
        Self::made(number, Make::default()).await
    }

    /// A peer on both roads.
    pub(crate) async fn with_mesh(number: u8, bootstrap: &[String]) -> Self {
        let make = Make {
            bootstrap: Some(bootstrap.to_vec()),
            ..Make::default()
        };
        Self::made(number, make).await
    }

    pub(crate) async fn made(number: u8, make: Make) -> Self {
        let key = Arc::new(Keypair::from_seed(&[number; 32]));
        let identity = Identity::member(key, make.membership).unwrap();
        let (folder, store) = store(QUOTA);
        let gate = make.gate.unwrap_or_else(|| Arc::new(Open));
        let blobs = (!make.no_blobs).then(|| {
            let service = BlobService::new(store.clone(), gate);
            match make.patience {
                Some(patience) => service.with_patience(patience),
                None => service,
            }
        });
        let mesh = match make.bootstrap {
            Some(bootstrap) => Some(mesh(number, &bootstrap).await),
            None => None,
        };
        let listener = Listener::bind(&make.listen).await.unwrap();
        let node = NodeServer::new(TestNode {
            blobs: blobs.clone(),
        })
        .max_decoding_message_size(road::bounds::MAX_MESSAGE_BYTES);
        let serving = road::serve(
            listener,
            &identity,
            mesh.as_ref(),
            Routes::new(node),
            blobs,
            CancellationToken::new(),
        )
        .unwrap();
        Self {
            identity,
            serving,
            mesh,
            store,
            _folder: folder,
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.identity.peer_id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Where it is by TLS.
    pub(crate) fn by_tls(&self) -> Target {
        Target {
            peer: Some(self.id()),
            tls: vec![self.address().to_string()],
            mesh: Vec::new(),
        }
    }

    /// Where it is by the mesh.
    pub(crate) fn by_mesh(&self) -> Target {
        Target {
            peer: Some(self.id()),
            tls: Vec::new(),
            mesh: self.mesh.as_ref().unwrap().addresses(),
        }
    }

    /// Where it is behind a proxy.
    pub(crate) fn behind(&self, proxy: &Proxy) -> Target {
        Target {
            peer: Some(self.id()),
            tls: vec![proxy.address.to_string()],
            mesh: Vec::new(),
        }
    }

    pub(crate) async fn put(&self, bytes: &[u8]) -> Stored {
        self.store.import_bytes(bytes.to_vec()).await.unwrap()
    }
}

/// A mesh of a peer.
pub(crate) async fn mesh(number: u8, bootstrap: &[String]) -> Mesh {
    let config = MeshConfig {
        bootstrap: bootstrap.to_vec(),
        ..MeshConfig::default()
    };
    let keypair = Arc::new(Keypair::from_seed(&[number; 32]));
    Mesh::start(keypair, config, CancellationToken::new())
        .await
        .unwrap()
}

/// A TCP proxy in front of a peer that cuts its first connections after as many bytes
/// towards the client as it was told, and lets later ones pass.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
}

impl Proxy {
    pub(crate) async fn before(peer: SocketAddr, cuts: &[u64]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut cuts = VecDeque::from(cuts.to_vec());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let limit = cuts.pop_front().unwrap_or(u64::MAX);
                tokio::spawn(async move {
                    let server = TcpStream::connect(peer).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (from_server, mut to_server) = server.into_split();
                    let mut limited = from_server.take(limit);
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                        _ = tokio::io::copy(&mut limited, &mut to_client) => {}
                    }
                    let _ = to_client.shutdown().await;
                });
            }
        });
        Self { address }
    }
}

/// A server that answers every connection with the same bytes and closes, or holds
/// it open and silent.
pub(crate) async fn babbler(answer: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).await;
                match answer {
                    Some(answer) => {
                        let _ = stream.write_all(answer).await;
                        let _ = stream.shutdown().await;
                    }
                    None => std::future::pending().await,
                }
            });
        }
    });
    address
}
