//! What there is without us: a socket, and TLS on it.

use std::{io::Read as _, sync::Arc};

use bytes::Bytes;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};

use super::{CHUNK_BYTES, Contender, folder, noise};

/// Sends all of it for each byte received.
pub(crate) async fn send_on_request(mut io: impl AsyncRead + AsyncWrite + Unpin, bytes: usize) {
    let chunk = noise(CHUNK_BYTES);
    while io.read_u8().await.is_ok() {
        for _ in 0..bytes / CHUNK_BYTES {
            io.write_all(&chunk).await.unwrap();
        }
        io.flush().await.unwrap();
    }
}

/// Asks, and reads all of it.
pub(crate) async fn request(io: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: usize) {
    io.write_u8(1).await.unwrap();
    io.flush().await.unwrap();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        left -= io.read(&mut buffer).await.unwrap();
    }
}

pub(crate) async fn tcp(bytes: usize) -> Contender {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(send_on_request(stream, bytes));
        }
    });
    Contender::new("raw TCP", move || async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        request(&mut stream, bytes).await;
    })
}

/// The same bytes again and again, which stay in the processor's cache.
pub(crate) async fn tls(bytes: usize) -> Contender {
    tls_of("raw tokio-rustls", bytes, move |stream| {
        send_on_request(stream, bytes)
    })
    .await
}

/// Bytes out of a file in memory, as a store has to read them.
pub(crate) async fn tls_from_file(bytes: usize) -> Contender {
    let folder = folder();
    let path = folder.path().join("file");
    std::fs::write(&path, noise(bytes)).unwrap();
    let folder = Arc::new(folder);
    tls_of(
        "raw tokio-rustls, out of a file",
        bytes,
        move |mut stream| {
            let (path, folder) = (path.clone(), Arc::clone(&folder));
            async move {
                let _folder = folder;
                while stream.read_u8().await.is_ok() {
                    let mut file = std::fs::File::open(&path).unwrap();
                    let mut chunk = vec![0; CHUNK_BYTES];
                    for _ in 0..bytes / CHUNK_BYTES {
                        file.read_exact(&mut chunk).unwrap();
                        stream.write_all(&chunk).await.unwrap();
                    }
                    stream.flush().await.unwrap();
                }
            }
        },
    )
    .await
}

async fn tls_of<F>(
    name: &'static str,
    bytes: usize,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
) -> Contender
where
    F: Future<Output = ()> + Send + 'static,
{
    let (server, client) = settings(b"raw");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(server);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    let connector = TlsConnector::from(client);
    Contender::new(name, move || {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = connector.connect(name, stream).await.unwrap();
            request(&mut stream, bytes).await;
        }
    })
}

/// TLS as anybody sets it up: a certificate for `localhost`, the default suites.
pub(crate) fn settings(alpn: &[u8]) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key_pair.serialize_der()));
    let certificate = made.cert.der().clone();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.alpn_protocols = vec![alpn.to_vec()];
    client.alpn_protocols = vec![alpn.to_vec()];
    (Arc::new(server), Arc::new(client))
}

/// The message that every gRPC contender sends again and again.
pub(crate) fn message() -> Bytes {
    noise(CHUNK_BYTES)
}
