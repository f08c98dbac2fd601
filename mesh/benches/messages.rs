//! Small messages per second of gRPC over the roads, beside stock tonic.
//!
//! A stream of messages of 100 bytes, each made and read alone, client and server in one
//! process. The rounds are interleaved; the medians are shown.
//!
//! ```text
//! cargo bench -p embermesh-mesh --bench messages
//! ```
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic, and uses a part of what it shares"
)]

mod bench;

use std::{env, time::Instant};

use bench::{grpc, sender::Wish};

/// Messages of one stream.
const MESSAGES: u64 = 500_000;
/// Bytes of a message.
const BYTES: u64 = 100;
/// Rounds.
const ROUNDS: usize = 7;

fn main() {
    // `cargo test --benches` runs this too: one small round shows that it works.
    let testing = env::args().any(|argument| argument == "--test");
    let (messages, rounds) = if testing {
        (1000, 1)
    } else {
        (MESSAGES, ROUNDS)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(messages, rounds));
}

async fn run(messages: u64, rounds: usize) {
    let wish = Wish {
        messages,
        bytes: BYTES,
    };
    let mut contenders = grpc::asking(wish).await;
    let mut rates = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (contender, rates) in contenders.iter_mut().zip(&mut rates) {
            let began = Instant::now();
            contender.transfer().await;
            // The first round warms caches and connections up.
            if round > 0 {
                rates.push(messages as f64 / began.elapsed().as_secs_f64());
            }
        }
    }
    println!("{messages} messages of {BYTES} bytes, median of {rounds} interleaved rounds");
    println!("{:<34} {:>12} {:>10}", "", "per second", "of stock");
    let mut stock = None;
    for (contender, mut rates) in contenders.iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let of_stock = median / *stock.get_or_insert(median);
        println!("{:<34} {median:>12.0} {of_stock:>9.2}x", contender.name);
    }
}
