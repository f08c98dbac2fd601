//! gRPC: stock tonic, and tonic over our roads. All serve the same handler, which
//! sends messages out of memory.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use embermesh_crypto::keys::Keypair;
use embermesh_mesh::{
    Mesh, MeshConfig,
    road::{self, ListenConfig, Listener, RoadChoice, Target, connect},
};
use embermesh_proto::v1::{BlobChunk, FetchBlobRequest, node_client::NodeClient};
use futures::StreamExt as _;
use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    server::{NamedService, ServerStreamingService},
    service::Routes,
    transport::{Channel, Endpoint, Server},
};
use tower::service_fn;

use super::{CHUNK_BYTES, Contender, identity, raw};

/// The one method that is measured, under the name of the node's service.
#[derive(Clone)]
struct Sender {
    message: Bytes,
    bytes: usize,
}

impl NamedService for Sender {
    const NAME: &'static str = "embermesh.v1.Node";
}

impl ServerStreamingService<FetchBlobRequest> for Sender {
    type Response = BlobChunk;
    type ResponseStream = futures::stream::BoxStream<'static, Result<BlobChunk, Status>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<FetchBlobRequest>) -> Self::Future {
        let message = self.message.clone();
        let messages = futures::stream::iter(0..self.bytes / CHUNK_BYTES).map(move |_| {
            Ok(BlobChunk {
                size: 0,
                data: message.clone(),
            })
        });
        std::future::ready(Ok(tonic::Response::new(messages.boxed())))
    }
}

impl tower::Service<Request<Body>> for Sender {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response<Body>, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default());
            Ok(grpc.server_streaming(method, request).await)
        })
    }
}

fn routes(bytes: usize) -> Routes {
    Routes::new(Sender {
        message: raw::message(),
        bytes,
    })
}

fn contender(name: &'static str, channel: Channel, bytes: usize) -> Contender {
    Contender::new(name, move || {
        let mut node = NodeClient::new(channel.clone());
        async move {
            let answer = node.fetch_blob(FetchBlobRequest::default()).await.unwrap();
            let mut messages = answer.into_inner();
            let mut left = bytes;
            while let Some(message) = messages.message().await.unwrap() {
                left -= message.data.len();
            }
            assert_eq!(left, 0);
        }
    })
}

pub(crate) async fn all(bytes: usize) -> Vec<Contender> {
    let (tls, mesh) = ours(bytes).await;
    vec![
        contender("stock tonic, plaintext", stock_plain(bytes).await, bytes),
        contender("stock tonic, TLS", stock_tls(bytes).await, bytes),
        contender("gRPC over our TLS road", tls, bytes),
        contender("gRPC over our mesh road", mesh, bytes),
    ]
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn stock_plain(bytes: usize) -> Channel {
    let (listener, address) = listen().await;
    let serving = Server::builder()
        .add_routes(routes(bytes))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// tonic's `tls` feature puts tokio-rustls under its server and its connector, with
/// HTTP/2 as it comes. This does the same from outside, so that the workspace needs
/// no second build of tonic.
async fn stock_tls(bytes: usize) -> Channel {
    let (server, client) = raw::settings(b"h2");
    let (listener, address) = listen().await;
    let acceptor = TlsAcceptor::from(server);
    let incoming = TcpListenerStream::new(listener).then(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = stream?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(Tls(acceptor.accept(stream).await?))
        }
    });
    let serving = Server::builder()
        .add_routes(routes(bytes))
        .serve_with_incoming(Box::pin(incoming));
    tokio::spawn(serving);
    let connector = TlsConnector::from(client);
    Endpoint::from_static("http://localhost")
        .connect_with_connector(service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").unwrap();
                let stream = connector.connect(name, stream).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        }))
        .await
        .unwrap()
}

/// A server's TLS stream, for tonic.
struct Tls(tokio_rustls::server::TlsStream<TcpStream>);

impl tonic::transport::server::Connected for Tls {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Tls {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl tokio::io::AsyncWrite for Tls {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn mesh(number: u8) -> Mesh {
    let config = MeshConfig {
        // One transport, so that it is known which is measured.
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        ..MeshConfig::default()
    };
    let keypair = Arc::new(Keypair::from_seed(&[number; 32]));
    Mesh::start(keypair, config, CancellationToken::new())
        .await
        .unwrap()
}

/// Both of our roads to one server.
async fn ours(bytes: usize) -> (Channel, Channel) {
    let (server, client) = (identity(1), identity(2));
    let (server_mesh, client_mesh) = (mesh(1).await, mesh(2).await);
    let listener = Listener::bind(&ListenConfig::default()).await.unwrap();
    let target = Target {
        peer: Some(server.peer_id()),
        tls: vec![listener.address().to_string()],
        mesh: server_mesh.addresses(),
    };
    let serving = road::serve(
        listener,
        &server,
        Some(&server_mesh),
        routes(bytes),
        None,
        CancellationToken::new(),
    )
    .unwrap();
    // As long as the process.
    tokio::spawn(async move {
        let _mesh = server_mesh;
        serving.ended().await;
    });
    let mut channels = Vec::new();
    for choice in [RoadChoice::Tls, RoadChoice::Mesh] {
        let found = connect(&client, &target, Some(&client_mesh), choice).await;
        channels.push(found.unwrap().channel);
    }
    tokio::spawn(async move {
        let _mesh = client_mesh;
        std::future::pending::<()>().await;
    });
    (channels.remove(0), channels.remove(0))
}
