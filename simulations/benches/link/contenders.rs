//! Who moves bytes over the link. Each serves in one room and connects from another.

use std::sync::Arc;

use embermesh_crypto::{digest::Digest, keys::Keypair};
use embermesh_mesh::{
    Mesh, MeshConfig,
    blob::{BlobService, BlobStore, Open},
    road::{self, ListenConfig, Listener, Protocol, RoadChoice, RoadStream, Target},
};
use futures::future::BoxFuture;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint, Server},
};

use super::{
    made::{folder, identity, noise},
    sender::{Sender, Wish, receive},
};

/// The one that the others are measured against.
pub(crate) const STOCK: &str = "stock tonic, plaintext";

const ADDRESS: &str = "5.0.0.1";
const PORT: u16 = 4000;
/// Bytes written at once, and of a message of gRPC: whole groups of blobs.
pub(crate) const CHUNK_BYTES: u64 = 256 * 1024;

/// Receives so many bytes.
type Client = Box<dyn FnMut(u64) -> BoxFuture<'static, ()> + Send>;

/// What a client has to know of a server.
pub(crate) struct Served {
    target: Target,
    digest: Digest,
    certificate: Arc<ClientConfig>,
}

/// Somebody who moves bytes.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Serves transfers of that many bytes at most.
    pub(crate) serve: fn(u64) -> BoxFuture<'static, Served>,
    pub(crate) connect: fn(Served) -> BoxFuture<'static, Client>,
}

/// TCP alone.
pub(crate) const TCP: Contender = Contender {
    name: "raw TCP",
    serve: |_| Box::pin(serve_raw(false)),
    connect: |served| Box::pin(connect_raw(served, false)),
};

/// All of them.
pub(crate) const CONTENDERS: &[Contender] = &[
    Contender {
        name: STOCK,
        serve: |_| Box::pin(serve_stock()),
        connect: |_| Box::pin(connect_stock()),
    },
    TCP,
    Contender {
        name: "raw tokio-rustls",
        serve: |_| Box::pin(serve_raw(true)),
        connect: |served| Box::pin(connect_raw(served, true)),
    },
    Contender {
        name: "gRPC over our TLS road",
        serve: |_| Box::pin(serve_ours(None, None)),
        connect: |served| Box::pin(connect_grpc(served, None)),
    },
    Contender {
        name: "blobs by our bulk road",
        serve: |bytes| Box::pin(serve_ours(None, Some(bytes))),
        connect: |served| Box::pin(connect_bulk(served, None)),
    },
    Contender {
        name: "gRPC over our mesh road, TCP",
        serve: |_| Box::pin(serve_ours(Some(OVER_TCP), None)),
        connect: |served| Box::pin(connect_grpc(served, Some(OVER_TCP))),
    },
    Contender {
        name: "gRPC over our mesh road, QUIC",
        serve: |_| Box::pin(serve_ours(Some(OVER_QUIC), None)),
        connect: |served| Box::pin(connect_grpc(served, Some(OVER_QUIC))),
    },
    Contender {
        name: "blobs over our mesh road, TCP",
        serve: |bytes| Box::pin(serve_ours(Some(OVER_TCP), Some(bytes))),
        connect: |served| Box::pin(connect_bulk(served, Some(OVER_TCP))),
    },
];

const OVER_TCP: &str = "/ip4/0.0.0.0/tcp/4001";
const OVER_QUIC: &str = "/ip4/0.0.0.0/udp/4001/quic-v1";

fn served(target: Target) -> Served {
    Served {
        target,
        digest: Digest::of(b""),
        certificate: settings().1,
    }
}

/// Sends as many bytes as each request says.
async fn send_on_request(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let chunk = noise(CHUNK_BYTES);
    while let Ok(mut left) = io.read_u64().await {
        while left > 0 {
            let part = left.min(CHUNK_BYTES);
            let part = &chunk[..usize::try_from(part).unwrap()];
            io.write_all(part).await.unwrap();
            left -= part.len() as u64;
        }
        io.flush().await.unwrap();
    }
}

async fn read_all(io: &mut (impl AsyncRead + Unpin), mut left: u64) {
    let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap()];
    while left > 0 {
        let most = left.min(CHUNK_BYTES);
        let read = io.read(&mut buffer[..usize::try_from(most).unwrap()]).await;
        let read = read.unwrap();
        assert_ne!(read, 0, "it ended early");
        left -= read as u64;
    }
}

async fn serve_raw(tls: bool) -> Served {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.unwrap();
    let (server, client) = settings();
    let acceptor = TlsAcceptor::from(server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            if tls {
                let stream = acceptor.accept(stream).await.unwrap();
                tokio::spawn(send_on_request(stream));
            } else {
                tokio::spawn(send_on_request(stream));
            }
        }
    });
    Served {
        certificate: client,
        ..served(Target::default())
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn connect_raw(served: Served, tls: bool) -> Client {
    let stream = TcpStream::connect((ADDRESS, PORT)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let stream: Box<dyn Io> = if tls {
        let connector = TlsConnector::from(served.certificate);
        let name = ServerName::try_from("localhost").unwrap();
        Box::new(connector.connect(name, stream).await.unwrap())
    } else {
        Box::new(stream)
    };
    let stream = Arc::new(tokio::sync::Mutex::new(stream));
    Box::new(move |bytes| {
        let stream = Arc::clone(&stream);
        Box::pin(async move {
            let mut stream = stream.lock().await;
            stream.write_u64(bytes).await.unwrap();
            stream.flush().await.unwrap();
            read_all(&mut *stream, bytes).await;
        })
    })
}

async fn serve_stock() -> Served {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.unwrap();
    let serving = Server::builder()
        .add_routes(Sender::of(noise(CHUNK_BYTES)).routes())
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    served(Target::default())
}

async fn connect_stock() -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{ADDRESS}:{PORT}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    grpc(channel)
}

fn grpc(channel: Channel) -> Client {
    Box::new(move |bytes| {
        let wish = Wish {
            messages: bytes.div_ceil(CHUNK_BYTES),
            bytes: bytes.min(CHUNK_BYTES),
        };
        Box::pin(receive(channel.clone(), wish))
    })
}

async fn mesh(number: u8, listen: &str) -> Mesh {
    let config = MeshConfig {
        // One transport, so that it is known which is measured.
        listen: vec![listen.to_owned()],
        ..MeshConfig::default()
    };
    let keypair = Arc::new(Keypair::from_seed(&[number; 32]));
    let starting = Mesh::start(keypair, config, CancellationToken::new());
    starting.await.unwrap()
}

/// The TLS road, or the mesh road by one transport; a blob, or gRPC.
async fn serve_ours(transport: Option<&str>, blob: Option<u64>) -> Served {
    let identity = identity(1);
    let mesh = match transport {
        Some(listen) => Some(mesh(1, listen).await),
        None => None,
    };
    let config = ListenConfig {
        address: ([0, 0, 0, 0], PORT).into(),
        ..ListenConfig::default()
    };
    let listener = Listener::bind(&config).await.unwrap();
    let target = match &mesh {
        Some(mesh) => Target {
            mesh: vec![format!(
                "{}/p2p/{}",
                transport.unwrap().replace("0.0.0.0", ADDRESS),
                mesh.peer_id()
            )],
            ..Target::peer(identity.peer_id())
        },
        None => Target {
            tls: vec![format!("{ADDRESS}:{PORT}")],
            ..Target::peer(identity.peer_id())
        },
    };
    let mut served = served(target);
    let folder = folder();
    let blobs = match blob {
        Some(bytes) => {
            let data = noise(bytes);
            served.digest = Digest::of(&data);
            let path = folder.path().join("store");
            let store = BlobStore::open(path, 4 * bytes + (1 << 20)).unwrap();
            store.import_bytes(data).await.unwrap();
            Some(BlobService::new(store, Arc::new(Open)))
        }
        None => None,
    };
    let routes = match blob {
        Some(_) => Routes::default(),
        None => Sender::of(noise(CHUNK_BYTES)).routes(),
    };
    let cancel = CancellationToken::new();
    let serving = road::serve(listener, &identity, mesh.as_ref(), routes, blobs, cancel);
    let serving = serving.unwrap();
    // As long as the room.
    tokio::spawn(async move {
        let _kept = (mesh, folder);
        serving.ended().await;
    });
    served
}

/// The road of a client, with its part of the mesh where it needs one.
async fn way(transport: Option<&str>) -> (RoadChoice, Option<Mesh>) {
    match transport {
        Some(listen) => (RoadChoice::Mesh, Some(mesh(2, listen).await)),
        None => (RoadChoice::Tls, None),
    }
}

async fn connect_grpc(served: Served, transport: Option<&str>) -> Client {
    let (choice, mesh) = way(transport).await;
    let found = road::connect(&identity(2), &served.target, mesh.as_ref(), choice).await;
    let mut client = grpc(found.unwrap().channel);
    Box::new(move |bytes| {
        let _kept = &mesh;
        client(bytes)
    })
}

async fn connect_bulk(served: Served, transport: Option<&str>) -> Client {
    let (choice, mesh) = way(transport).await;
    let protocol = Protocol::Blob;
    let opened = road::open(
        &identity(2),
        &served.target,
        mesh.as_ref(),
        choice,
        protocol,
    )
    .await;
    let stream = Arc::new(tokio::sync::Mutex::new(opened.unwrap().stream));
    Box::new(move |bytes| {
        let (stream, mesh, digest) = (Arc::clone(&stream), mesh.clone(), served.digest);
        Box::pin(async move {
            let _kept = mesh;
            take_blob(&mut *stream.lock().await, &digest, bytes).await;
        })
    })
}

/// Asks for the beginning of a blob, and reads its encoding.
async fn take_blob(stream: &mut RoadStream, digest: &Digest, bytes: u64) {
    let mut request = vec![1];
    request.extend_from_slice(digest.as_bytes());
    request.push(1);
    request.extend_from_slice(&0_u64.to_le_bytes());
    request.extend_from_slice(&bytes.to_le_bytes());
    stream.write_all(&request).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 0);
    let size = stream.read_u64_le().await.unwrap();
    read_all(stream, encoded_bytes(bytes, size)).await;
}

/// The data, and 64 bytes for each pair of hashes above its groups.
fn encoded_bytes(bytes: u64, size: u64) -> u64 {
    let (mut nodes, mut all) = (bytes.div_ceil(16 * 1024), size.div_ceil(16 * 1024));
    let mut pairs = 0;
    while all > 1 {
        // A node without a sibling has no pair.
        let whole = if nodes == all {
            all / 2
        } else {
            nodes.div_ceil(2)
        };
        pairs += whole;
        (nodes, all) = (nodes.div_ceil(2), all.div_ceil(2));
    }
    bytes + pairs * 64
}

/// TLS as anybody sets it up: a certificate for `localhost`, the default suites.
fn settings() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key_pair.serialize_der()));
    let certificate = made.cert.der().clone();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}
