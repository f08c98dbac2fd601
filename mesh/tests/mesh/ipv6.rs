//! IPv6: peers find each other by TCP and by QUIC, and the TLS road is taken there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use crate::{
    roads::{Make, Peer},
    support::{Draft, config, keypair, sees, start, wait},
};
use embermesh_mesh::{
    MeshConfig,
    road::{self, Identity, ListenConfig, RoadChoice, RoadKind, Target},
};

/// Whether this machine has IPv6 on its loopback. One that has none cannot run these tests.
fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        assert!(
            std::env::var_os("SKIP_NOTHING").is_none(),
            "this machine has no IPv6 on its loopback"
        );
        eprintln!("skipped: this machine has no IPv6 on its loopback");
    }
    has
}

#[tokio::test]
async fn peers_find_each_other_over_ipv6_alone() {
    if !has_ipv6() {
        return;
    }
    for listen in ["/ip6/::1/tcp/0", "/ip6/::1/udp/0/quic-v1"] {
        let at = |bootstrap: &[String]| MeshConfig {
            listen: vec![listen.to_owned()],
            ..config(bootstrap)
        };
        let first = start(1, at(&[])).await;
        first.advertise(Draft::default().into()).await.unwrap();
        let through = first.addresses();
        assert!(
            through
                .iter()
                .all(|address| address.starts_with("/ip6/::1/"))
        );
        let second = start(2, at(&through)).await;
        second.advertise(Draft::default().into()).await.unwrap();
        let seen = sees(&first, &second.peer_id()).await;
        assert!(
            seen.mesh_addresses
                .iter()
                .all(|address| address.starts_with("/ip6/")),
            "{:?}",
            seen.mesh_addresses
        );
        sees(&second, &first.peer_id()).await;
    }
}

#[tokio::test]
async fn the_tls_road_goes_over_ipv6_too_and_passes_by_a_dead_address() {
    if !has_ipv6() {
        return;
    }
    let make = Make {
        listen: ListenConfig {
            address: SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            ..ListenConfig::default()
        },
        ..Make::default()
    };
    let server = Peer::made(1, make).await;
    let address = server.address();
    assert!(address.is_ipv6());
    let caller = Identity::new(Arc::new(keypair(2))).unwrap();
    let target = Target {
        tls: vec!["[::1]:1".to_owned(), address.to_string()],
        ..server.by_tls()
    };
    let opened = wait(road::connect(&caller, &target, None, RoadChoice::Auto))
        .await
        .unwrap();
    assert_eq!((opened.peer, opened.road), (server.id(), RoadKind::Tls));
}
