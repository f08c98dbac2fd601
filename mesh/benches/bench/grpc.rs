//! gRPC: stock tonic, and tonic over our roads. All serve the same method.

use std::{io, net::SocketAddr, sync::Arc};

use embermesh_crypto::keys::Keypair;
use embermesh_mesh::{
    Mesh, MeshConfig,
    road::{self, ListenConfig, Listener, RoadChoice, Target, connect},
};
use futures::StreamExt as _;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint, Server},
};
use tower::service_fn;

use super::{
    CHUNK_BYTES, Contender, identity, raw,
    sender::{Sender, Wish, receive},
};

fn routes() -> Routes {
    Sender::of(raw::message()).routes()
}

pub(crate) async fn all(bytes: usize) -> Vec<Contender> {
    let wish = Wish {
        messages: (bytes / CHUNK_BYTES) as u64,
        bytes: CHUNK_BYTES as u64,
    };
    asking(wish).await
}

/// The same wish by every way.
pub(crate) async fn asking(wish: Wish) -> Vec<Contender> {
    let (tls, mesh) = ours().await;
    let ways = [
        ("stock tonic, plaintext", stock_plain().await),
        ("stock tonic, TLS", stock_tls().await),
        ("gRPC over our TLS road", tls),
        ("gRPC over our mesh road", mesh),
    ];
    let ways = ways.into_iter();
    ways.map(|(name, channel)| Contender::new(name, move || receive(channel.clone(), wish)))
        .collect()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn stock_plain() -> Channel {
    let (listener, address) = listen().await;
    let serving = Server::builder()
        .add_routes(routes())
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

/// tonic's `tls` feature puts tokio-rustls under its server and its connector, with
/// HTTP/2 as it comes. This does the same from outside, so that the workspace needs
/// no second build of tonic.
async fn stock_tls() -> Channel {
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
        .add_routes(routes())
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
async fn ours() -> (Channel, Channel) {
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
        routes(),
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
