//! A blob from one holder and from three, over links and on loopback.
//!
//! Each holder has a link of its own, and whoever fetches has one without a bound, so that
//! three holders can give three times what one can. The blob comes into a store: checked
//! as it arrives, written and synced, in memory where the system has a folder there.
//!
//! ```text
//! cargo bench -p embermesh-simulations --bench blobs
//! ```
#![cfg(target_os = "linux")]
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic, and uses a part of what it shares"
)]

#[path = "link/lab.rs"]
mod lab;
#[path = "link/made.rs"]
mod made;

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_crypto::digest::Digest;
use embermesh_mesh::{
    blob::{BlobService, BlobStore, Fetcher, Open, Want},
    road::{self, ListenConfig, Listener, RoadChoice, Target},
};
use embermesh_simulations::lab::{Host, LinkConfig};
use lab::in_room;
use made::{folder, identity, noise};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// Megabits per second of each holder's link.
const MBIT: u64 = 100;
/// Round trips of the links.
const ROUND_TRIPS_MS: [u64; 2] = [25, 100];
/// Bytes of the blobs: the smaller and the larger one over links, the larger on loopback.
const BYTES: [u64; 2] = [64 << 20, 256 << 20];
/// Holders.
const HOLDERS: [usize; 2] = [1, 3];
/// Fetches on loopback of which the median is shown.
const ROUNDS: usize = 5;
const PORT: u16 = 4000;

fn main() {
    // `cargo test --benches` runs this too: a little of it shows that it works.
    let testing = env::args().any(|argument| argument == "--test");
    let bytes = if testing { [5 << 20; 2] } else { BYTES };
    on_loopback(bytes[1], if testing { 1 } else { ROUNDS });
    if !lab::allowed() {
        return;
    }
    for round_trip in ROUND_TRIPS_MS {
        for bytes in bytes {
            let size = bytes >> 20;
            println!("\nround trip {round_trip} ms, {MBIT} Mbit/s for each holder, {size} MiB");
            let mut one = None;
            for holders in HOLDERS {
                let took = over_links(round_trip, bytes, holders);
                let rate = bytes as f64 * 8.0 / took.as_secs_f64() / 1e6;
                let ratio = rate / *one.get_or_insert(rate);
                let share = rate / (MBIT * holders as u64) as f64;
                println!(
                    "{holders} holders: {rate:.0} Mbit/s, {share:.2} of the links, {ratio:.2}x"
                );
            }
        }
    }
}

fn over_links(round_trip_ms: u64, bytes: u64, holders: usize) -> Duration {
    let (there, back) = (round_trip_ms / 2, round_trip_ms - round_trip_ms / 2);
    let addresses: Vec<Ipv4Addr> = (1..=holders)
        .map(|number| Ipv4Addr::new(5, 0, 0, u8::try_from(number).unwrap()))
        .collect();
    let mut hosts = vec![Host::new([5, 0, 1, 1], LinkConfig::default())];
    hosts.extend(addresses.iter().map(|address| Host {
        address6: None,
        address: *address,
        up: LinkConfig::delay(there).with_rate(MBIT * 1_000_000),
        down: LinkConfig::delay(back).with_rate(MBIT * 1_000_000),
    }));
    let lab = lab::open(hosts).unwrap();
    let mut targets = Vec::new();
    for (n, address) in addresses.iter().enumerate() {
        let number = u8::try_from(n).unwrap() + 1;
        let (at, port) = (Ipv4Addr::UNSPECIFIED, PORT);
        let holding = hold(number, (at, port).into(), bytes);
        let mut target = in_room(&lab, n + 1, holding);
        target.tls = vec![format!("{address}:{PORT}")];
        targets.push(target);
    }
    in_room(&lab, 0, fetch(targets, bytes, holders))
}

fn on_loopback(bytes: u64, rounds: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!(
        "loopback, {} MiB, median of {rounds} interleaved rounds",
        bytes >> 20
    );
    let all: Vec<Target> = (1..=3)
        .map(|number| runtime.block_on(hold(number, (Ipv4Addr::LOCALHOST, 0).into(), bytes)))
        .collect();
    let mut rates = HOLDERS.map(|_| Vec::new());
    for _ in 0..rounds {
        for (holders, rates) in HOLDERS.into_iter().zip(&mut rates) {
            let fetching = fetch(all[..holders].to_vec(), bytes, holders);
            let took = runtime.block_on(fetching);
            rates.push(bytes as f64 / took.as_secs_f64() / 1e9);
        }
    }
    for (holders, mut rates) in HOLDERS.into_iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        println!("{holders} holders: {:.2} GB/s", rates[rates.len() / 2]);
    }
}

/// Serves the blob, as long as the runtime stands.
async fn hold(number: u8, address: SocketAddr, bytes: u64) -> Target {
    let identity = identity(number);
    let folder = folder();
    let store = BlobStore::open(folder.path().join("store"), 4 * bytes).unwrap();
    store.import_bytes(noise(bytes)).await.unwrap();
    let config = ListenConfig {
        address,
        ..ListenConfig::default()
    };
    let listener = Listener::bind(&config).await.unwrap();
    let target = Target {
        tls: vec![listener.address().to_string()],
        ..Target::peer(identity.peer_id())
    };
    let blobs = BlobService::new(store, Arc::new(Open));
    let cancel = CancellationToken::new();
    let routes = Routes::default();
    let serving = road::serve(listener, &identity, None, routes, Some(blobs), cancel).unwrap();
    tokio::spawn(async move {
        let _kept = folder;
        serving.ended().await;
    });
    target
}

/// Fetches the blob into a new store, and looks that all holders gave some of it.
async fn fetch(targets: Vec<Target>, bytes: u64, holders: usize) -> Duration {
    let folder = folder();
    let store = BlobStore::open(folder.path().join("store"), 4 * bytes).unwrap();
    let want = Want {
        digest: Digest::of(&noise(bytes)),
        size: Some(bytes),
        holders: targets,
    };
    let fetcher = Fetcher::new(identity(9), None).by(RoadChoice::Tls);
    let never = CancellationToken::new();
    let began = Instant::now();
    let fetched = fetcher.fetch(&store, &want, None, &never).await.unwrap();
    let took = began.elapsed();
    assert_eq!(fetched.from.len(), holders);
    took
}
