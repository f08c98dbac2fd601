//! Real swarms on loopback: they find each other, refuse what is not theirs, and say
//! why. Nothing sleeps: every wait is for an event, and has an end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use crate::support::{Draft, Reserved, WAIT, config, event, keypair, member, sees, start, wait};
use embermesh_crypto::digest::Digest;
use embermesh_job::units::Bytes;
use embermesh_mesh::{Limits, Mesh, MeshConfig, MeshError, MeshEvent, Standing};
use futures::FutureExt as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_swarms_see_each_other_through_one_of_them() {
    let first = member(1, &[]).await;
    first.advertise(Draft::default().into()).await.unwrap();
    let began = std::time::Instant::now();
    let mut all = vec![first];
    for number in 2..=5 {
        let mesh = member(number, &all[0].addresses()[..1]).await;
        mesh.advertise(Draft::default().into()).await.unwrap();
        all.push(mesh);
    }
    for mesh in &all {
        mesh.joined(WAIT).await.unwrap();
        for other in &all {
            sees(mesh, &other.peer_id()).await;
        }
    }
    println!("five swarms know each other after {:?}", began.elapsed());
    println!(
        "resident: {} KiB for five swarms and the test",
        crate::support::resident_kib()
    );
    for mesh in &all {
        assert_eq!(mesh.adverts().len(), 5);
        let bootstrap = all[0].peer_id();
        if mesh.peer_id() != bootstrap {
            let address = mesh.address_of(bootstrap).unwrap();
            assert!(!address.mesh.is_empty());
        }
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn tcp_alone_and_quic_alone_are_enough() {
    let first = member(1, &[]).await;
    for (number, part) in [(2, "/tcp/"), (3, "/quic-v1")] {
        let addresses: Vec<String> = first
            .addresses()
            .into_iter()
            .filter(|address| address.contains(part))
            .collect();
        assert_eq!(addresses.len(), 1);
        let mesh = member(number, &addresses).await;
        mesh.joined(WAIT).await.unwrap();
        assert_eq!(mesh.peers()[0].peer, first.peer_id());
    }
}

#[tokio::test]
async fn a_peer_of_another_network_is_refused_and_both_sides_say_why() {
    let ours = member(1, &[]).await;
    let mut heard = ours.events();
    let other = MeshConfig {
        network: "other".parse().unwrap(),
        ..config(&ours.addresses())
    };
    let theirs = start(2, other).await;

    let error = theirs.joined(WAIT).await.unwrap_err();
    let MeshError::OtherNetwork {
        peer,
        ours: mine,
        theirs: not_mine,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(*peer, ours.peer_id().to_string());
    assert_eq!((mine.as_str(), not_mine.as_str()), ("other", "embermesh"));
    let text = error.to_string();
    assert!(
        text.contains("`other`") && text.contains("`embermesh`"),
        "{text}"
    );
    assert!(matches!(&*theirs.standing().borrow(), Standing::Refused(_)));

    let refused = event(&mut heard, |event| match event {
        MeshEvent::OtherNetwork { peer, ours, theirs } => Some((peer, ours, theirs)),
        _ => None,
    });
    let (peer, mine, not_mine) = refused.await;
    assert_eq!(peer, theirs.peer_id());
    assert_eq!((mine.as_str(), not_mine.as_str()), ("embermesh", "other"));

    let error = theirs.dial(&ours.addresses()[0]).await.unwrap_err();
    assert!(matches!(error, MeshError::OtherNetwork { .. }), "{error:?}");
    assert!(ours.peers().is_empty() && theirs.peers().is_empty());
    assert!(ours.adverts().is_empty() && theirs.adverts().is_empty());
}

#[tokio::test]
async fn a_dial_that_cannot_work_says_what_was_tried() {
    let mesh = member(1, &[]).await;
    let other = member(2, &[]).await;
    // The system gives this port to nobody who asks for any.
    let nobody = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", other.peer_id());
    let error = mesh.dial(&nobody).await.unwrap_err().to_string();
    assert!(
        error.contains("/ip4/127.0.0.1/tcp/1") && error.contains("refused"),
        "{error}"
    );

    let address = other.addresses()[0].clone();
    let bare = address.split("/p2p/").next().unwrap();
    assert_eq!(mesh.dial(bare).await.unwrap(), other.peer_id());

    let wrong = format!("{bare}/p2p/{}", keypair(3).peer_id());
    let error = mesh.dial(&wrong).await.unwrap_err().to_string();
    assert!(error.contains(&other.peer_id().to_string()), "{error}");

    let error = mesh.dial("localhost:4001").await.unwrap_err();
    assert!(
        matches!(error, MeshError::InvalidAddress { .. }),
        "{error:?}"
    );
    let error = mesh
        .dial(&mesh.addresses()[0])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("this very process"), "{error}");
    let error = mesh.open(keypair(4).peer_id(), "rpc/1").await.unwrap_err();
    assert!(matches!(error, MeshError::NoAddress(_)), "{error:?}");
}

#[tokio::test]
async fn a_port_that_another_program_has_elsewhere_keeps_nobody_from_dialling() {
    let one = member(1, &[]).await;
    let other = member(2, &[]).await;
    let tcp = |mesh: &Mesh| {
        let addresses = mesh.addresses();
        let mut tcp = addresses.into_iter().filter(|at| at.contains("/tcp/"));
        tcp.next().unwrap()
    };
    // It listens at 127.0.0.1, and dials from the same port of any address.
    let port = tcp(&one).split('/').nth(4).unwrap().parse().unwrap();
    let _program = std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, 77), port)).unwrap();
    let found = wait(one.dial(&tcp(&other))).await.unwrap();
    assert_eq!(found, other.peer_id());
}

#[tokio::test]
async fn one_malformed_address_does_not_spoil_the_others() {
    let (server, client) = (member(1, &[]).await, member(2, &[]).await);
    let _incoming = server.accept("hello/1").unwrap();
    let bad = ["somewhere:4001".to_owned()];
    let mut addresses = vec![bad[0].clone(); 40];
    addresses.push(server.addresses()[0].clone());
    let opening = client.open_at(server.peer_id(), &addresses, "hello/1");
    wait(opening).await.unwrap();

    let opening = client.open_at(keypair(3).peer_id(), &bad, "hello/1");
    let error = wait(opening).await.unwrap_err();
    assert!(
        matches!(&error, MeshError::InvalidAddress { text, .. } if text == "somewhere:4001"),
        "{error:?}"
    );
}

#[tokio::test]
async fn where_two_connections_are_allowed_a_third_is_refused() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let config = MeshConfig {
        limits,
        ..MeshConfig::default()
    };
    let server = start(1, config).await;
    let mut events = server.events();
    let address = server.addresses()[0].clone();
    let mut inside = Vec::new();
    for number in [2, 3] {
        let mesh = member(number, &[]).await;
        wait(mesh.dial(&address)).await.unwrap();
        event(&mut events, |event| match event {
            MeshEvent::Connected(peer) => (peer == mesh.peer_id()).then_some(()),
            _ => None,
        })
        .await;
        inside.push(mesh);
    }
    let third = member(4, &[]).await;
    let error = wait(third.dial(&address)).await.unwrap_err();
    assert!(matches!(error, MeshError::Unreachable { .. }), "{error:?}");
    assert_eq!(server.peers().len(), 2);

    inside.remove(0).shutdown().await;
    let gone = |event| matches!(event, MeshEvent::Disconnected(_)).then_some(());
    event(&mut events, gone).await;
    wait(third.dial(&address)).await.unwrap();
}

#[tokio::test]
async fn beyond_its_memory_a_process_makes_no_connection() {
    let limits = Limits {
        memory: Bytes(1),
        ..Limits::default()
    };
    let config = MeshConfig {
        limits,
        ..MeshConfig::default()
    };
    let (full, other) = (start(1, config).await, member(2, &[]).await);
    let error = wait(other.dial(&full.addresses()[0])).await.unwrap_err();
    assert!(matches!(error, MeshError::Unreachable { .. }), "{error:?}");
    let error = wait(full.dial(&other.addresses()[0])).await.unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    assert!(full.peers().is_empty() && other.peers().is_empty());
}

/// Whether a datagram to the group of mDNS comes back to this machine, or why not.
async fn multicast() -> std::io::Result<()> {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let route = UdpSocket::bind("0.0.0.0:0").await?;
    // Sends nothing: it only asks which interface leads out.
    route.connect("192.0.2.1:9").await?;
    let std::net::IpAddr::V4(own) = route.local_addr()?.ip() else {
        return Err(std::io::ErrorKind::Unsupported.into());
    };
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.join_multicast_v4(group, own)?;
    socket2::SockRef::from(&socket).set_multicast_if_v4(&own)?;
    let port = socket.local_addr()?.port();
    socket.send_to(b"heard?", (group, port)).await?;
    let mut heard = [0; 16];
    tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut heard))
        .await
        .map_err(std::io::Error::other)?
        .map(|_| ())
}

#[tokio::test]
async fn on_one_lan_peers_find_each_other_by_multicast() {
    if let Err(reason) = multicast().await {
        println!("skipped: multicast does not work here: {reason}");
        return;
    }
    let config = || MeshConfig {
        // Not to be met by another run on the same LAN.
        network: format!("lan-{}", std::process::id()).parse().unwrap(),
        listen: vec!["/ip4/0.0.0.0/tcp/0".to_owned()],
        mdns: true,
        ..MeshConfig::default()
    };
    let (one, two) = (start(1, config()).await, start(2, config()).await);
    let mut events = one.events();
    wait(async {
        while !one.peers().iter().any(|view| view.peer == two.peer_id()) {
            events.recv().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = vec![format!("/ip4/127.0.0.1/tcp/{port}")];
    let result = Mesh::start(
        Arc::new(keypair(1)),
        MeshConfig {
            listen,
            ..MeshConfig::default()
        },
        CancellationToken::new(),
    );
    let error = result.await.unwrap_err().to_string();
    assert!(
        error.contains(&port.to_string()) && error.contains("in use"),
        "{error}"
    );

    let bootstrap = vec!["/ip4/127.0.0.1/tcp/1".to_owned()];
    let config = MeshConfig {
        bootstrap,
        ..MeshConfig::default()
    };
    let result = Mesh::start(Arc::new(keypair(1)), config, CancellationToken::new()).await;
    assert!(matches!(
        result.unwrap_err(),
        MeshError::BootstrapWithoutPeer(_)
    ));
}

#[tokio::test]
async fn streams_carry_bytes_and_prove_the_peer() {
    let server = member(1, &[]).await;
    let client = member(2, &server.addresses()).await;
    let mut incoming = server.accept("echo/1").unwrap();
    assert!(matches!(
        server.accept("echo/1"),
        Err(MeshError::AlreadyAccepting(_))
    ));
    let echo = tokio::spawn(async move {
        let mut peers = Vec::new();
        for _ in 0..8 {
            let stream = incoming.next().await.unwrap();
            peers.push(stream.peer());
            let (mut read, mut write) = tokio::io::split(stream);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        }
        peers
    });
    client.joined(WAIT).await.unwrap();
    let message = vec![42u8; 1 << 20];
    for _ in 0..8 {
        let stream = wait(client.open(server.peer_id(), "echo/1")).await.unwrap();
        assert_eq!(stream.peer(), server.peer_id());
        let (mut read, mut write) = tokio::io::split(stream);
        let sent = message.clone();
        let writing = tokio::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        wait(read.read_to_end(&mut back)).await.unwrap();
        assert_eq!(back, message);
        writing.await.unwrap();
    }
    assert_eq!(wait(echo).await.unwrap(), vec![client.peer_id(); 8]);

    let error = client.open(server.peer_id(), "nobody/1").await.unwrap_err();
    assert!(matches!(error, MeshError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("/embermesh/embermesh/nobody/1"));
}

#[tokio::test]
async fn a_stream_opens_to_a_peer_that_only_its_advert_tells_of() {
    let first = member(1, &[]).await;
    let server = member(2, &first.addresses()).await;
    let client = member(3, &first.addresses()).await;
    server.advertise(Draft::default().into()).await.unwrap();
    let mut incoming = server.accept("hello/1").unwrap();
    sees(&client, &server.peer_id()).await;
    let mut stream = wait(client.open(server.peer_id(), "hello/1"))
        .await
        .unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    let mut inbound = wait(incoming.next()).await.unwrap();
    assert_eq!(inbound.peer(), client.peer_id());
    wait(inbound.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"hello");
}

#[tokio::test]
async fn providers_of_blobs_and_classes_are_found() {
    let first = member(1, &[]).await;
    let holder = member(2, &first.addresses()).await;
    let seeker = member(3, &first.addresses()).await;
    let digest = Digest::of(b"weights");
    for mesh in [&holder, &seeker] {
        mesh.joined(WAIT).await.unwrap();
    }
    wait(holder.provide(digest)).await.unwrap();
    wait(holder.provide_class("device/cpu")).await.unwrap();
    assert_eq!(
        wait(seeker.providers(digest)).await.unwrap(),
        [holder.peer_id()]
    );
    assert_eq!(
        wait(seeker.providers_of_class("device/cpu")).await.unwrap(),
        [holder.peer_id()]
    );
    assert!(
        wait(seeker.providers(Digest::of(b"other")))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        wait(seeker.providers_of_class("device/tpu"))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(seeker.providers_of_class("").await.is_err());
    // One does not name oneself.
    assert!(wait(holder.providers(digest)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_provided_alone_is_announced_after_joining() {
    let first = member(1, &[]).await;
    let holder = member(2, &[]).await;
    let digest = Digest::of(b"early");
    wait(holder.provide(digest)).await.unwrap();
    wait(holder.dial(&first.addresses()[0])).await.unwrap();
    let found = async {
        loop {
            if first.providers(digest).await.unwrap() == [holder.peer_id()] {
                return;
            }
        }
    };
    wait(found).await;
}

#[tokio::test]
async fn a_change_replaces_the_advert_everywhere_and_numbers_rise() {
    let first = member(1, &[]).await;
    let node = member(2, &first.addresses()).await;
    node.advertise(Draft::default().into()).await.unwrap();
    let before = sees(&first, &node.peer_id()).await;
    assert_eq!(before.free_slots, 1);
    let mut changes = first.changes();
    for free_slots in [0, 1, 0] {
        node.advertise(
            Draft {
                free_slots,
                ..Draft::default()
            }
            .into(),
        )
        .await
        .unwrap();
    }
    let after = wait(async {
        loop {
            changes.changed().await.unwrap();
            let advert = first.advert_of(&node.peer_id()).unwrap();
            if advert.free_slots == 0 {
                return advert;
            }
        }
    });
    assert!(after.await.sequence > before.sequence);

    let too_much = Draft {
        tls_addresses: vec!["x".repeat(120); 6],
        ..Draft::default()
    };
    let crowded = Draft {
        region: "y".repeat(128),
        ..too_much
    };
    let many = Draft {
        devices: 8,
        ..crowded
    };
    let error = node.advertise(many.into()).await.unwrap_err();
    assert!(
        matches!(error, MeshError::AdvertTooLarge { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_bootstrap_peer_that_comes_late_or_restarts_is_joined() {
    let port = Reserved::new();
    let listen = format!("/ip4/127.0.0.1/tcp/{}", port.port);
    let address = format!("{listen}/p2p/{}", keypair(1).peer_id());
    let node = member(2, std::slice::from_ref(&address)).await;
    node.advertise(Draft::default().into()).await.unwrap();
    let mut events = node.events();
    event(&mut events, |event| match event {
        MeshEvent::BootstrapFailed { peer, reason } => Some((peer, reason)),
        _ => None,
    })
    .await;
    let error = node.joined(Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, MeshError::Unreachable { .. }), "{error:?}");

    for _ in 0..2 {
        let first = start(
            1,
            MeshConfig {
                listen: vec![listen.clone()],
                ..MeshConfig::default()
            },
        )
        .await;
        sees(&first, &node.peer_id()).await;
        node.joined(WAIT).await.unwrap();
        first.shutdown().await;
    }
}

#[tokio::test]
async fn leaving_is_heard_at_once_and_closes_the_handle() {
    let first = member(1, &[]).await;
    let node = member(2, &first.addresses()).await;
    node.advertise(Draft::default().into()).await.unwrap();
    sees(&first, &node.peer_id()).await;
    let mut events = first.events();
    assert!(node.ended().now_or_never().is_none());
    node.shutdown().await;
    wait(node.ended()).await;
    let gone = |event| matches!(event, MeshEvent::Disconnected(_)).then_some(());
    event(&mut events, gone).await;
    assert!(first.advert_of(&node.peer_id()).unwrap().draining);
    assert!(node.is_closed());
    assert_eq!(
        node.dial(&first.addresses()[0]).await,
        Err(MeshError::Closed)
    );
    assert_eq!(
        node.advertise(Draft::default().into()).await,
        Err(MeshError::Closed)
    );
    assert!(first.peers().is_empty());
}
