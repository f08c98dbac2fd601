//! Peers behind boxes of every kind reach each other: the production mesh over a made-up
//! network. Prints by which path each pair got through.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{Keypair, ids::PeerId, statement::Role};
use embermesh_mesh::{AdvertDraft, Mesh, MeshConfig, MeshEvent};
use embermesh_simulations::lab::{Lab, LinkConfig, NatKind, Site};
use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{PATIENCE, lab};

/// How long a pair has to get from a relay to a direct path.
const PUNCH_TIME: Duration = Duration::from_secs(8);
/// What every peer serves.
const ECHO: &str = "echo/1";
/// Pairs that are tried at the same time.
const AT_ONCE: usize = 4;
/// How often a stream is opened that is cut because a better path was found.
const TRIES: usize = 3;

pub(crate) const PUBLIC: usize = 0;
pub(crate) const FULL_CONE: usize = 1;
pub(crate) const SYMMETRIC: usize = 4;
pub(crate) const NO_UDP: usize = 5;
pub(crate) const KINDS: [&str; 6] = [
    "public",
    "full cone",
    "restricted",
    "port-restricted",
    "symmetric",
    "no UDP",
];

pub(crate) fn site(kind: usize, outside: [u8; 4]) -> Site {
    let link = LinkConfig::delay(5);
    let host = [192, 168, outside[2], 2];
    match kind {
        PUBLIC => Site::public(outside, link),
        FULL_CONE => Site::behind(NatKind::FullCone, outside, host, link),
        2 => Site::behind(NatKind::Restricted, outside, host, link),
        3 => Site::behind(NatKind::PortRestricted, outside, host, link),
        SYMMETRIC => Site::behind(NatKind::Symmetric, outside, host, link),
        _ => Site::behind(NatKind::PortRestricted, outside, host, link).without_udp(),
    }
}

/// Where a peer in a room listens.
fn listens(lab: &Lab, room: usize) -> Vec<String> {
    let both = |ip: &str| [format!("{ip}/tcp/4001"), format!("{ip}/udp/4001/quic-v1")];
    let mut listen = both("/ip4/0.0.0.0").to_vec();
    if lab.room(room).address6().is_some() {
        listen.extend(both("/ip6/::"));
    }
    listen
}

/// Whether an address is one of the whole network's.
pub(crate) fn is_wide(address: &str) -> bool {
    address.contains("/ip4/5.") || address.contains("/ip6/2a0")
}

/// Starts a peer in a room; it answers whoever opens a stream.
pub(crate) async fn start(lab: &Lab, room: usize, bootstrap: Vec<String>) -> Mesh {
    start_at(lab, room, listens(lab, room), bootstrap).await
}

/// The same, listening there alone.
pub(crate) async fn start_at(
    lab: &Lab,
    room: usize,
    listen: Vec<String>,
    bootstrap: Vec<String>,
) -> Mesh {
    let starting = async move {
        let config = MeshConfig {
            listen,
            bootstrap,
            ..MeshConfig::default()
        };
        let seed = [u8::try_from(room).unwrap() + 1; 32];
        let key = Arc::new(Keypair::from_seed(&seed));
        let mesh = Mesh::start(key, config, CancellationToken::new())
            .await
            .unwrap();
        let mut incoming = mesh.accept(ECHO).unwrap();
        tokio::spawn(async move {
            while let Some(mut stream) = incoming.next().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 5];
                    if stream.read_exact(&mut bytes).await.is_ok() {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        });
        let draft = AdvertDraft {
            role: Role::Index,
            version: "1".to_owned(),
            tls_addresses: Vec::new(),
            region: String::new(),
            price_micros_per_hour: 0,
            devices: Vec::new(),
            slots: 0,
            free_slots: 0,
            queued: 0,
            draining: false,
            missing_fences: None,
            runtimes: embermesh_crypto::statement::Runtimes::default(),
            models: Vec::new(),
            free_residents: 0,
        };
        mesh.advertise(draft).await.unwrap();
        mesh
    };
    lab.room(room).spawn(starting).await.unwrap()
}

/// Whether a peer sends back what it is sent. A stream ends when a better path is found,
/// and is then opened again, as whoever uses streams does.
pub(crate) async fn echoes(
    lab: &Lab,
    room: usize,
    mesh: &Mesh,
    peer: PeerId,
) -> Result<(), String> {
    let mesh = mesh.clone();
    let asking = lab.room(room).spawn(async move {
        let mut last = Ok(());
        for _ in 0..TRIES {
            last = echo(&mesh, peer).await;
            if last.is_ok() {
                break;
            }
        }
        last
    });
    let asked = timeout(PATIENCE, asking).await;
    asked.map_err(|_| "no answer".to_owned())?.unwrap()
}

async fn echo(mesh: &Mesh, peer: PeerId) -> Result<(), String> {
    let opened = mesh.open(peer, ECHO).await;
    let mut stream = opened.map_err(|error| error.to_string())?;
    let talk = async {
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    match talk.await {
        Ok(bytes) if bytes == b"hello" => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Waits until a mesh knows where a peer can be reached from outside of its site.
async fn until_known(mesh: &Mesh, other: &Mesh) {
    let peer = other.peer_id();
    let mut changes = mesh.changes();
    let known = async {
        loop {
            let advert = mesh.advert_of(&peer);
            let addresses = advert.map(|advert| advert.mesh_addresses.clone());
            if addresses
                .unwrap_or_default()
                .iter()
                .any(|at| at.contains("p2p-circuit") || is_wide(at))
            {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, known).await.unwrap_or_else(|_| {
        let known = mesh.advert_of(&peer);
        panic!(
            "{:?} with {:?} is known as {known:?}",
            other.addresses(),
            other.peers()
        )
    });
}

fn is_relayed(mesh: &Mesh, peer: &PeerId) -> bool {
    mesh.peers()
        .iter()
        .any(|view| view.peer == *peer && view.relayed)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_connects() {
    let all = KINDS.len();
    let pairs = (0..all).flat_map(|a| (a..all).map(move |b| (a, b)));
    let paths: Vec<_> = stream::iter(pairs)
        .map(|(a, b)| async move { Some((a, b, pair(a, b).await?)) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (a, b, path) in paths.into_iter().flatten() {
        println!("{:>16} - {:<16} {path}", KINDS[a], KINDS[b]);
        // Whether a hole is punched depends on when packets cross; that a path carries does
        // not.
        if a == PUBLIC {
            assert_ne!(path, "relayed", "{} - {}", KINDS[a], KINDS[b]);
        }
    }
}

/// Lets a peer behind one kind of box reach one behind another, and says by which path.
async fn pair(a: usize, b: usize) -> Option<&'static str> {
    let sites = [
        site(PUBLIC, [5, 0, 0, 1]),
        site(a, [5, 0, 1, 1]),
        site(b, [5, 0, 2, 1]),
    ];
    pair_of(sites, &format!("{} - {}", KINDS[a], KINDS[b])).await
}

/// The same of the second and the third of these, where the first is one that everybody
/// reaches.
pub(crate) async fn pair_of(sites: [Site; 3], names: &str) -> Option<&'static str> {
    let lab = lab(sites.into())?;
    let relay = start(&lab, 0, Vec::new()).await;
    let through: Vec<String> = relay
        .addresses()
        .into_iter()
        .filter(|at| is_wide(at))
        .collect();
    let (one, other) = (
        start(&lab, 1, through.clone()).await,
        start(&lab, 2, through).await,
    );
    for mesh in [&one, &other] {
        mesh.joined(PATIENCE).await.unwrap();
    }
    let (from, to) = (one.peer_id(), other.peer_id());
    until_known(&one, &other).await;
    until_known(&other, &one).await;
    let mut events = one.events();
    let was_connected = one.peers().iter().any(|view| view.peer == to);
    let first = echoes(&lab, 1, &one, to).await;
    assert_eq!(first, Ok(()), "{names}");
    let path = if is_relayed(&one, &to) {
        let punched = async {
            loop {
                if let Ok(MeshEvent::Direct(peer)) = events.recv().await
                    && peer == to
                {
                    return;
                }
            }
        };
        match timeout(PUNCH_TIME, punched).await {
            Ok(()) => "punched",
            Err(_) => "relayed",
        }
    } else if was_connected {
        "direct, or punched before"
    } else {
        "direct"
    };
    // Whatever the path, it is one that carries, there and back.
    for (room, mesh, peer) in [(1, &one, to), (2, &other, from)] {
        let again = echoes(&lab, room, mesh, peer).await;
        assert_eq!(again, Ok(()), "{names}");
    }
    for mesh in [&one, &other, &relay] {
        mesh.shutdown().await;
    }
    Some(path)
}
