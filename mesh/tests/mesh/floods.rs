//! Floods: connections that say nothing, streams without end, adverts by the thousand. What
//! this process holds stays bounded, and honest peers are still heard.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    hostile::{Hostile, key, signed},
    roads::Peer,
    support::{Draft, member, resident_kib, sees, wait},
};
use embermesh_mesh::{
    Mesh,
    road::{self, Identity, RoadChoice},
};
use embermesh_proto::v1::{StatusRequest, node_client::NodeClient};
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Connections that are attempted.
const ATTEMPTS: usize = 10_000;
/// Of them, open at one time: more than a node gives places to.
const OPEN: usize = 1_000;
/// Adverts that are sent as fast as they go.
const ADVERTS: u16 = 20_000;
/// Streams that are opened and left.
const STREAMS: usize = 10_000;
/// What a process may grow by, KiB. One that kept what it is sent would need several times
/// as much, and one allocator keeps some of what others have freed.
const GROWTH_KIB: u64 = 128 * 1024;

/// Another machine's address, as far as this one is concerned.
const CROWD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// Opens connections from one address, [`OPEN`] at one time, and says nothing on them.
fn knocking(at: SocketAddr) -> (Arc<AtomicUsize>, JoinHandle<()>) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let crowd = tokio::spawn(async move {
        let mut open: VecDeque<TcpStream> = VecDeque::new();
        while counted.fetch_add(1, Ordering::Relaxed) < ATTEMPTS {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((CROWD, 0).into()).unwrap();
            // Else its ports linger for a minute, and others find none.
            SockRef::from(&socket)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
            if open.len() >= OPEN {
                open.pop_front();
            }
            if let Ok(stream) = socket.connect(at).await {
                open.push_back(stream);
            }
        }
        // Those that are still open stay so until somebody is let in beside them.
        std::future::pending::<()>().await;
    });
    (attempts, crowd)
}

/// Waits until so many have been attempted.
async fn attempted(attempts: &AtomicUsize, many: usize) {
    wait(async {
        while attempts.load(Ordering::Relaxed) < many {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn port_of(mesh: &Mesh) -> SocketAddr {
    let addresses = mesh.addresses();
    let tcp = addresses
        .iter()
        .find_map(|address| address.strip_prefix("/ip4/127.0.0.1/tcp/"))
        .unwrap();
    let port = tcp.split('/').next().unwrap().parse().unwrap();
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn grown_from(before: u64) {
    let grown = resident_kib().saturating_sub(before);
    println!("{grown} KiB more than before");
    assert!(grown < GROWTH_KIB, "{grown} KiB more than before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_says_nothing_keeps_nobody_out_of_the_mesh() {
    let mesh = member(1, &[]).await;
    let before = resident_kib();
    let (attempts, crowd) = knocking(port_of(&mesh));
    attempted(&attempts, OPEN).await;
    // In the thick of it, over TCP.
    let tcp: Vec<String> = mesh
        .addresses()
        .into_iter()
        .filter(|address| address.contains("/tcp/"))
        .collect();
    let honest = member(2, &tcp).await;
    honest.advertise(Draft::default().into()).await.unwrap();
    sees(&mesh, &honest.peer_id()).await;
    attempted(&attempts, ATTEMPTS).await;
    let late = member(3, &tcp).await;
    late.advertise(Draft::default().into()).await.unwrap();
    sees(&mesh, &late.peer_id()).await;
    crowd.abort();
    grown_from(before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_says_nothing_keeps_nobody_off_the_tls_road() {
    let server = Peer::new(1).await;
    let before = resident_kib();
    let (attempts, crowd) = knocking(server.address());
    for many in [OPEN, ATTEMPTS] {
        attempted(&attempts, many).await;
        let caller = Identity::new(Arc::new(key(9))).unwrap();
        let target = server.by_tls();
        let opened = road::connect(&caller, &target, None, RoadChoice::Tls);
        let channel = wait(opened).await.unwrap().channel;
        let answer = wait(NodeClient::new(channel).status(StatusRequest {})).await;
        assert_eq!(
            answer.unwrap().into_inner().node_id,
            caller.peer_id().to_string()
        );
    }
    crowd.abort();
    grown_from(before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_end_leave_room_for_others() {
    let server = member(1, &[]).await;
    let mut incoming = server.accept("flood/1").unwrap();
    let served = tokio::spawn(async move {
        // Taken and held, as a slow service would.
        let mut held = VecDeque::new();
        while let Some(stream) = incoming.next().await {
            held.push_back(stream);
            held.truncate(OPEN);
        }
    });
    let storm = member(2, &server.addresses()).await;
    sees_each_other(&server, &storm).await;
    let before = resident_kib();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let target = server.peer_id();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let storming = tokio::spawn(async move {
        let mut held = VecDeque::new();
        while !stop.is_cancelled() && count.fetch_add(1, Ordering::Relaxed) < STREAMS {
            // Refused beyond what one connection may have.
            let opening = storm.open(target, "flood/1");
            if let Ok(Ok(stream)) =
                tokio::time::timeout(std::time::Duration::from_millis(20), opening).await
            {
                held.push_back(stream);
            }
            if held.len() > OPEN {
                held.pop_front();
            }
        }
    });
    attempted(&opened, 300).await;
    let honest = member(3, &server.addresses()).await;
    honest.advertise(Draft::default().into()).await.unwrap();
    sees(&server, &honest.peer_id()).await;
    wait(honest.open(target, "flood/1")).await.unwrap();
    cancel.cancel();
    storming.await.unwrap();
    served.abort();
    grown_from(before);
}

async fn sees_each_other(one: &Mesh, other: &Mesh) {
    one.advertise(Draft::default().into()).await.unwrap();
    other.advertise(Draft::default().into()).await.unwrap();
    sees(one, &other.peer_id()).await;
    sees(other, &one.peer_id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adverts_by_the_thousand_do_not_drown_an_honest_one() {
    let mesh = member(1, &[]).await;
    // Keys cost nothing: each advert is of another peer, signed and sound.
    let adverts: Vec<Vec<u8>> = (0..ADVERTS)
        .map(|number| signed(1_000 + number, |_| {}))
        .collect();
    let before = resident_kib();
    let flood = Hostile::join(&mesh).await;
    let flooding = tokio::spawn(async move {
        for bytes in adverts {
            if !flood.try_publish(bytes).await {
                break;
            }
        }
    });
    let honest = member(2, &mesh.addresses()).await;
    honest.advertise(Draft::default().into()).await.unwrap();
    sees(&mesh, &honest.peer_id()).await;
    wait(flooding).await.unwrap();
    let again = Draft {
        region: "after".to_owned(),
        ..Draft::default()
    };
    honest.advertise(again.into()).await.unwrap();
    let mut changes = mesh.changes();
    wait(async {
        while mesh
            .advert_of(&honest.peer_id())
            .is_none_or(|advert| advert.region != "after")
        {
            changes.changed().await.unwrap();
        }
    })
    .await;
    let known = mesh.adverts().len();
    assert!(
        known <= embermesh_mesh::protocol::MAX_ADVERTS,
        "{known} adverts are kept"
    );
    grown_from(before);
}
