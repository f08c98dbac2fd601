//! gRPC over both roads: who is proven to whom, and what is refused in which words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{net::SocketAddr, sync::Arc};

use crate::roads::{Make, NOBODY, Peer, Reserved, babbler, bytes, identity, mesh, wait};
use embermesh_crypto::digest::Digest;
use embermesh_mesh::road::{
    self, Identity, ListenConfig, Listener, RoadChoice, RoadError, RoadKind, RoadStream, Target,
    connect,
};
use embermesh_proto::v1::{
    AttachRequest, ControlRequest, StatusRequest, StatusResponse, node_client::NodeClient,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::{Code, transport::Channel};

async fn status(channel: Channel) -> StatusResponse {
    let mut node = NodeClient::new(channel);
    wait(node.status(StatusRequest {}))
        .await
        .unwrap()
        .into_inner()
}

async fn fails(caller: &Identity, target: &Target) -> RoadError {
    wait(connect(caller, target, None, RoadChoice::Auto))
        .await
        .unwrap_err()
}

fn at(address: SocketAddr) -> Target {
    Target {
        peer: Some(identity(1).peer_id()),
        ..Target::address(address.to_string())
    }
}

#[tokio::test]
async fn tls_proves_both_ends() {
    let (server, caller) = (Peer::new(1).await, identity(2));
    for target in [
        server.by_tls(),
        Target::address(server.address().to_string()),
    ] {
        let found = wait(connect(&caller, &target, None, RoadChoice::Auto))
            .await
            .unwrap();
        assert_eq!((found.peer, found.road), (server.id(), RoadKind::Tls));
        let said = status(found.channel).await;
        assert_eq!(said.node_id, caller.peer_id().to_string());
        assert_eq!(said.version, "tls");
    }
}

#[tokio::test]
async fn the_mesh_proves_both_ends() {
    let server = Peer::with_mesh(1, &[]).await;
    let (caller, own) = (identity(2), mesh(2, &[]).await);
    for choice in [RoadChoice::Mesh, RoadChoice::Auto] {
        let found = wait(connect(&caller, &server.by_mesh(), Some(&own), choice))
            .await
            .unwrap();
        assert_eq!((found.peer, found.road), (server.id(), RoadKind::Mesh));
        let said = status(found.channel).await;
        assert_eq!(said.node_id, caller.peer_id().to_string());
        assert_eq!(said.version, "mesh");
    }
}

#[tokio::test]
async fn tls_is_preferred_and_the_mesh_takes_over() {
    let server = Peer::with_mesh(1, &[]).await;
    let (caller, own) = (identity(2), mesh(2, &[]).await);
    let mut target = server.by_mesh();
    target.tls = server.by_tls().tls;
    let found = wait(connect(&caller, &target, Some(&own), RoadChoice::Auto)).await;
    assert_eq!(found.unwrap().road, RoadKind::Tls);
    // Nothing listens there, somebody silent does, or somebody else.
    let stranger = Peer::new(3).await;
    for tls in [NOBODY, babbler(None).await, stranger.address()] {
        target.tls = vec![tls.to_string()];
        let found = wait(connect(&caller, &target, Some(&own), RoadChoice::Auto)).await;
        assert_eq!(found.unwrap().road, RoadKind::Mesh);
    }
}

#[tokio::test]
async fn both_failures_are_told() {
    let (caller, own) = (identity(2), mesh(2, &[]).await);
    let mut target = at(NOBODY);
    target.mesh = vec!["/ip4/127.0.0.1/tcp/1".to_owned()];
    let error = wait(connect(&caller, &target, Some(&own), RoadChoice::Auto))
        .await
        .unwrap_err();
    assert!(matches!(&error, RoadError::NoRoad { .. }), "{error}");
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(text.contains("refused") && text.contains("mesh"), "{text}");
    target.tls.clear();
    let error = wait(connect(&caller, &target, None, RoadChoice::Mesh)).await;
    assert!(matches!(error, Err(RoadError::NoMeshRoad { .. })));
    let error = fails(&caller, &target).await;
    assert!(matches!(error, RoadError::NoAddress { .. }), "{error}");
}

#[tokio::test]
async fn another_peer_is_named() {
    let (server, caller) = (Peer::new(3).await, identity(2));
    let error = fails(&caller, &at(server.address())).await;
    let RoadError::WrongPeer {
        expected, found, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((*expected, *found), (identity(1).peer_id(), server.id()));
    let text = error.to_string();
    assert!(text.contains(&expected.to_string()) && text.contains(&found.to_string()));
    assert!(!error.is_transient());
}

#[tokio::test]
async fn what_is_no_endpoint_is_told_apart() {
    let caller = identity(2);
    let error = fails(&caller, &at(NOBODY)).await;
    assert!(matches!(error, RoadError::Refused { .. }), "{error}");
    for (answer, word) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "TLS"),
        (b"\x00\xff\x13\x37 random bytes that mean nothing", "TLS"),
        (b"", "closed"),
    ] {
        let error = fails(&caller, &at(babbler(Some(answer)).await)).await;
        assert!(matches!(error, RoadError::NotEmbermesh { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = fails(&caller, &at(babbler(None).await)).await;
    assert!(matches!(error, RoadError::Timeout { .. }), "{error}");
    for text in [
        "127.0.0.1",
        "127.0.0.1:http",
        ":7000",
        "127.0.0.1:70000",
        "http://a:1",
    ] {
        let error = fails(&caller, &Target::address(text)).await;
        assert!(matches!(error, RoadError::InvalidAddress { .. }), "{error}");
        assert!(error.to_string().contains("192.0.2.1:7000"), "{error}");
    }
}

#[tokio::test]
async fn an_ordinary_https_server_is_no_endpoint() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key_pair.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        }
    });
    let error = fails(&identity(2), &at(address)).await;
    assert!(matches!(error, RoadError::NotEmbermesh { .. }), "{error}");
    assert!(error.to_string().contains("proves no peer id"), "{error}");
}

/// Takes any server, as a careless client would.
#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// What a server says to a client that shows `chain`, or nothing.
async fn hears(
    server: &Peer,
    alpn: &[u8],
    chain: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> std::io::Result<usize> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless));
    let mut config = match chain {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    wait(tls.read(&mut [0; 64])).await
}

#[tokio::test]
async fn a_client_without_a_peers_certificate_is_refused() {
    let server = Peer::new(1).await;
    assert!(hears(&server, b"h2", None).await.is_err());
    let made = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key_pair.serialize_der()));
    let chain = vec![made.cert.der().clone()];
    assert!(hears(&server, b"h2", Some((chain, key))).await.is_err());
    assert!(hears(&server, b"http/1.1", None).await.is_err());
}

#[tokio::test]
async fn blobs_are_offered_only_where_they_are_served() {
    let make = Make {
        no_blobs: true,
        ..Make::default()
    };
    let server = Peer::made(1, make).await;
    let (caller, target) = (identity(2), server.by_tls());
    let opening = road::open(
        &caller,
        &target,
        None,
        RoadChoice::Tls,
        road::Protocol::Blob,
    );
    let error = wait(opening).await.unwrap_err();
    assert!(matches!(error, RoadError::NotEmbermesh { .. }), "{error}");
}

#[tokio::test]
async fn plaintext_has_no_identity() {
    let server = Peer::new(1).await;
    let plain = format!("http://{}", server.address());
    let channel = Channel::from_shared(plain)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let said = status(channel.clone()).await;
    assert_eq!(
        (said.node_id.as_str(), said.version.as_str()),
        ("", "plain")
    );
    let refused = NodeClient::new(channel)
        .attach(AttachRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn plaintext_can_be_turned_off() {
    let listen = ListenConfig {
        plaintext: Some(false),
        ..ListenConfig::default()
    };
    let make = Make {
        listen,
        ..Make::default()
    };
    let server = Peer::made(1, make).await;
    let mut tcp = TcpStream::connect(server.address()).await.unwrap();
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let heard = wait(tcp.read(&mut [0; 64])).await;
    assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
    wait(connect(
        &identity(2),
        &server.by_tls(),
        None,
        RoadChoice::Tls,
    ))
    .await
    .unwrap();
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let server = Peer::new(1).await;
    let mut silent = Vec::new();
    // More than there are places: the last of them all have one.
    for _ in 0..road::bounds::MAX_HANDSHAKES + 44 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let found = wait(connect(
        &identity(2),
        &server.by_tls(),
        None,
        RoadChoice::Tls,
    ))
    .await;
    status(found.unwrap().channel).await;
    // Those that were there first had to go.
    for stream in silent.iter_mut().take(44) {
        let heard = wait(stream.read(&mut [0; 1])).await;
        assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
    }
}

#[tokio::test]
async fn a_proven_peer_that_says_nothing_loses_its_place() {
    let server = Peer::with_mesh(1, &[]).await;
    let (caller, own) = (identity(2), mesh(2, &[]).await);
    let silent = async |target: Target, choice| {
        let protocol = road::Protocol::Grpc;
        let opening = road::open(&caller, &target, Some(&own), choice, protocol);
        let mut stream = wait(opening).await.unwrap().stream;
        if choice == RoadChoice::Mesh {
            // The server hears of a stream with its first byte.
            stream.write_all(b"P").await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut heard = Vec::new();
        let _ = wait(stream.read_to_end(&mut heard)).await;
    };
    tokio::join!(
        silent(server.by_tls(), RoadChoice::Tls),
        silent(server.by_mesh(), RoadChoice::Mesh),
    );
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_cure() {
    let server = Peer::new(1).await;
    let config = ListenConfig {
        address: server.address(),
        ..ListenConfig::default()
    };
    let error = Listener::bind(&config).await.unwrap_err();
    assert!(matches!(error, RoadError::Bind { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&server.address().to_string()) && text.contains("another"),
        "{text}"
    );
}

#[tokio::test]
async fn a_channel_comes_back_to_the_same_peer_only() {
    let port = Reserved::new();
    let listen = ListenConfig {
        address: port.address,
        ..ListenConfig::default()
    };
    let make = || Make {
        listen: listen.clone(),
        ..Make::default()
    };
    let first = Peer::made(1, make()).await;
    let found = wait(connect(
        &identity(2),
        &first.by_tls(),
        None,
        RoadChoice::Auto,
    ))
    .await;
    let channel = found.unwrap().channel;
    status(channel.clone()).await;
    wait(first.serving.stop()).await;
    drop(first);
    // Somebody else on the same port gets nothing.
    let stranger = Peer::made(3, make()).await;
    let mut node = NodeClient::new(channel.clone());
    let refused = wait(node.status(StatusRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    wait(stranger.serving.stop()).await;
    drop(stranger);
    let _again = Peer::made(1, make()).await;
    status(channel).await;
}

#[tokio::test]
async fn stopping_ends_streams_that_do_not_end() {
    let server = Peer::with_mesh(1, &[]).await;
    let (caller, own) = (identity(2), mesh(2, &[]).await);
    let mut streams = Vec::new();
    for (choice, target) in [
        (RoadChoice::Tls, server.by_tls()),
        (RoadChoice::Mesh, server.by_mesh()),
    ] {
        let found = wait(connect(&caller, &target, Some(&own), choice)).await;
        let mut node = NodeClient::new(found.unwrap().channel);
        let stream = wait(node.attach(AttachRequest::default())).await;
        streams.push(stream.unwrap().into_inner());
    }
    wait(server.serving.stop()).await;
    for mut stream in streams {
        assert!(wait(stream.message()).await.is_err(), "the stream was cut");
    }
}

/// Asks for a whole blob in the bulk framing.
fn bulk_request(digest: &Digest) -> Vec<u8> {
    let mut request = vec![1];
    request.extend_from_slice(digest.as_bytes());
    request.push(1);
    request.extend_from_slice(&[0; 16]);
    request
}

#[tokio::test]
async fn stopping_lets_a_bulk_transfer_end_and_begins_no_other() {
    let server = Peer::with_mesh(1, &[]).await;
    let (caller, own) = (identity(2), mesh(2, &[]).await);
    // More than all the buffers between the two ends hold.
    let stored = server.put(&bytes(24 << 20)).await;
    let mut streams = Vec::new();
    for (choice, target) in [
        (RoadChoice::Tls, server.by_tls()),
        (RoadChoice::Mesh, server.by_mesh()),
    ] {
        let protocol = road::Protocol::Blob;
        let opening = road::open(&caller, &target, Some(&own), choice, protocol);
        let mut stream = wait(opening).await.unwrap().stream;
        let request = bulk_request(&stored.digest);
        // The second waits behind the first.
        stream.write_all(&request.repeat(2)).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = [0; 9];
        wait(stream.read_exact(&mut head)).await.unwrap();
        assert_eq!(head[0], 0, "it is being sent");
        streams.push(stream);
    }
    let read = async |mut stream: RoadStream| {
        let mut read = Vec::new();
        wait(stream.read_to_end(&mut read)).await.unwrap();
        read.len() as u64
    };
    let (tls, mesh) = (streams.remove(0), streams.remove(0));
    let ((), tls, mesh) = tokio::join!(wait(server.serving.stop()), read(tls), read(mesh));
    for got in [tls, mesh] {
        assert!(got > stored.size && got < stored.size * 3 / 2, "{got}");
    }
}

#[tokio::test]
async fn a_message_beyond_the_bound_is_refused_and_the_connection_lives() {
    let server = Peer::new(1).await;
    let found = wait(connect(
        &identity(2),
        &server.by_tls(),
        None,
        RoadChoice::Tls,
    ))
    .await;
    let channel = found.unwrap().channel;
    let large = ControlRequest {
        token: "x".repeat(road::bounds::MAX_MESSAGE_BYTES + 1),
        ..ControlRequest::default()
    };
    let refused = wait(NodeClient::new(channel.clone()).cancel(large)).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);
    status(channel).await;
}
