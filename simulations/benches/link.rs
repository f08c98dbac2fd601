//! Bytes per second of the roads over a long link, beside TLS alone and stock tonic.
//!
//! Each contender has a made-up network of its own, of two hosts with a link between them;
//! the TCP at both ends is the kernel's. It sends for a second first, then as many bytes
//! as the link passes in some seconds, on the same connection; the share of the link
//! counts the bytes of the contender alone, so that 1,448 of 1,500 are the most.
//!
//! ```text
//! cargo bench -p embermesh-simulations --bench link
//! EMBERMESH_LINK_MBIT=200 EMBERMESH_LINK_SECONDS=10 cargo bench ... -- "bulk road"
//! ```
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

#[path = "../../mesh/benches/bench/sender.rs"]
mod sender;

#[path = "link/contenders.rs"]
mod contenders;
#[path = "link/lab.rs"]
mod lab;
#[path = "link/made.rs"]
mod made;

use std::{
    env,
    time::{Duration, Instant},
};

use contenders::{CHUNK_BYTES, CONTENDERS, Contender, STOCK, TCP};
use embermesh_simulations::lab::Lab;
use lab::{CLIENT, SERVER, in_room, link};

/// Megabits per second of the link, unless the environment says otherwise.
const MBIT: u64 = 400;
/// Seconds of one transfer, at the rate of the link.
const SECONDS: u64 = 4;
/// Round trips of the links.
const ROUND_TRIPS_MS: [u64; 2] = [25, 100];
/// Bytes that count as the first: a group of a blob.
const FIRST_BYTES: u64 = 16 * 1024;
/// The longest wait for one transfer: stock windows may take many times as long.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn main() {
    // `cargo test --benches` runs this too: a little of it shows that it works.
    let testing = env::args().any(|argument| argument == "--test");
    let mbit = setting("EMBERMESH_LINK_MBIT", if testing { 20 } else { MBIT });
    let seconds = setting("EMBERMESH_LINK_SECONDS", if testing { 1 } else { SECONDS });
    let word = env::args().skip(1).find(|word| !word.starts_with('-'));
    if !lab::allowed() {
        return;
    }
    if !testing {
        let bytes = 400 << 20;
        let took = measure(&TCP, &lab::unbounded(), bytes, bytes);
        let rate = bytes as f64 * 8.0 / took.long.as_secs_f64() / 1e6;
        println!("the emulator carries {rate:.0} Mbit/s of TCP where no link bounds it");
    }
    for round_trip in ROUND_TRIPS_MS {
        println!("\nround trip {round_trip} ms, {mbit} Mbit/s, {seconds} s a transfer");
        println!(
            "{:<30} {:>7} {:>8} {:>9} {:>8} {:>8}",
            "", "Mbit/s", "of link", "of stock", "cold ms", "warm ms"
        );
        let mut stock = None;
        for contender in CONTENDERS {
            let named = |word: &String| contender.name.contains(word.as_str());
            if contender.name != STOCK && !word.as_ref().is_none_or(named) {
                continue;
            }
            let lab = link(round_trip, mbit * 1_000_000);
            let second = (mbit * 125_000).next_multiple_of(CHUNK_BYTES);
            let took = measure(contender, &lab, second, second * seconds);
            let rate = (second * seconds) as f64 * 8.0 / took.long.as_secs_f64() / 1e6;
            if contender.name == STOCK {
                stock = Some(rate);
            }
            let of_stock = stock.map_or("".to_owned(), |stock| format!("{:.2}x", rate / stock));
            let share = rate / mbit as f64;
            let [cold, warm] = [took.cold, took.warm].map(|time| time.as_secs_f64() * 1e3);
            println!(
                "{:<30} {rate:>7.1} {share:>8.2} {of_stock:>9} {cold:>8.0} {warm:>8.0}",
                contender.name
            );
        }
    }
}

/// What one contender took.
struct Took {
    /// From nothing to the first bytes.
    cold: Duration,
    /// From a request to the first bytes, on a connection that stands.
    warm: Duration,
    /// For the long transfer.
    long: Duration,
}

fn measure(contender: &Contender, lab: &Lab, first: u64, then: u64) -> Took {
    let largest = first.max(then);
    let served = in_room(lab, SERVER, (contender.serve)(largest));
    let connect = contender.connect;
    in_room(lab, CLIENT, async move {
        let run = async {
            let began = Instant::now();
            let mut client = connect(served).await;
            client(FIRST_BYTES).await;
            let cold = began.elapsed();
            let began = Instant::now();
            client(FIRST_BYTES).await;
            let warm = began.elapsed();
            client(first).await;
            let began = Instant::now();
            client(then).await;
            Took {
                cold,
                warm,
                long: began.elapsed(),
            }
        };
        tokio::time::timeout(PATIENCE, run).await.unwrap()
    })
}
