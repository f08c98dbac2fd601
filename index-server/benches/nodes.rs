//! What a connected node costs an index: `cargo bench -p embermesh-index-server --bench nodes
//! -- NODES` (1,000 by default).
//!
//! Each node has a key, a connection of its own over mutual TLS, is registered with an
//! advert, and hears its orders on an open stream. They dial in from a process of their
//! own, so that the memory of this one is the index's alone. Then each sends a heartbeat,
//! one after the other, and the CPU time of this process is measured.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement ends where what it needs fails"
)]

#[path = "../tests/grpc/support.rs"]
#[allow(dead_code)]
mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_crypto::keys::Keypair;
use embermesh_mesh::road::{self, Identity, RoadChoice, Target};
use embermesh_proto::v1::{self, registry_client::RegistryClient};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{World, advert};
use tonic::{Streaming, transport::Channel};

/// Nodes that dial at the same time.
const AT_ONCE: usize = 16;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--test") {
        return;
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match words.iter().position(|word| word == "dial") {
        Some(place) => runtime.block_on(dial(
            &words[place + 1],
            &words[place + 2],
            words[place + 3].parse().unwrap(),
        )),
        None => {
            let nodes = words.iter().find_map(|word| word.parse().ok());
            runtime.block_on(measure(nodes.unwrap_or(1000)));
        }
    }
}

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<usize>().unwrap() * 1024
}

/// CPU time that the threads of this process have used.
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let used = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(used.sum())
}

async fn measure(nodes: usize) {
    let world = World::with(|config| {
        config.leases.lease_ms = 3_600_000;
        config.leases.heartbeat_interval_ms = 600_000;
    })
    .await;
    let before = resident();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["dial", &world.index.address().to_string()])
        .args([world.index.peer_id().to_string(), nodes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut go_on = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let began = Instant::now();
    assert_eq!(lines.next().unwrap().unwrap(), "connected");
    let bytes = resident().saturating_sub(before);
    println!(
        "{nodes} nodes with an open stream each, connected in {:.1?}: {} bytes a node",
        began.elapsed(),
        bytes / nodes
    );
    let (began, used) = (Instant::now(), cpu());
    writeln!(go_on, "beat").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "beaten");
    let (took, used) = (began.elapsed(), cpu() - used);
    println!(
        "heartbeats: {:.0} a second, {:.0} in a second of this process's CPU time",
        nodes as f64 / took.as_secs_f64(),
        nodes as f64 / used.as_secs_f64()
    );
    println!(
        "after a heartbeat of each: {} bytes a node",
        resident().saturating_sub(before) / nodes
    );
    drop(go_on);
    child.wait().unwrap();
    world.index.stop().await.unwrap();
}

struct Node {
    registry: RegistryClient<Channel>,
    _orders: Streaming<v1::Order>,
}

impl Node {
    async fn connect(target: &Target, number: usize) -> Self {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let key = Arc::new(Keypair::from_seed(&seed));
        let identity = Identity::new(Arc::clone(&key)).unwrap();
        let connection = road::connect(&identity, target, None, RoadChoice::Tls)
            .await
            .unwrap();
        let mut registry = RegistryClient::new(connection.channel);
        let advert = advert(&key, 1, 1, 0);
        let request = v1::RegisterNodeRequest {
            advert: advert.bytes().to_vec().into(),
        };
        registry.register_node(request).await.unwrap();
        let orders = registry.orders(v1::OrdersRequest {}).await.unwrap();
        Self {
            registry,
            _orders: orders.into_inner(),
        }
    }
}

/// The other process: connects, says so, and does what it is told.
async fn dial(address: &str, peer: &str, nodes: usize) {
    let target = Target {
        peer: Some(peer.parse().unwrap()),
        tls: vec![address.to_owned()],
        mesh: Vec::new(),
    };
    let connecting = (0..nodes).map(|number| {
        let target = target.clone();
        async move { tokio::spawn(async move { Node::connect(&target, number).await }).await }
    });
    let nodes: Vec<Node> = stream::iter(connecting)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .unwrap();
    println!("connected");
    let mut words = std::io::stdin().lock().lines();
    assert_eq!(words.next().unwrap().unwrap(), "beat");
    let beating = nodes.iter().map(|node| {
        let mut registry = node.registry.clone();
        async move { registry.heartbeat(v1::HeartbeatRequest::default()).await }
    });
    stream::iter(beating)
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
        .unwrap();
    println!("beaten");
    // Until the other side has seen what it wants to.
    while words.next().is_some() {}
}
