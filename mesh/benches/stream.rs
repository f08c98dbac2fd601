//! Bytes per second of the roads beside what they are built of.
//!
//! Every contender sends the same bytes over loopback, client and server in one
//! process. The rounds are interleaved, so that whatever else the machine does hits
//! all of them alike; the medians are shown, and each beside raw TCP and tokio-rustls.
//!
//! ```text
//! cargo bench -p embermesh-mesh --bench stream
//! EMBERMESH_BENCH_MIB=1024 EMBERMESH_BENCH_ROUNDS=11 cargo bench ...
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

mod bench;

use std::{env, fs, time::Instant};

use bench::{Contender, contenders};

/// MiB of one transfer, unless the environment says otherwise.
const MIB: usize = 256;
/// Rounds, unless the environment says otherwise.
const ROUNDS: usize = 7;

fn setting(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn main() {
    // `cargo test --benches` runs this too: one small round shows that it works.
    let testing = env::args().any(|argument| argument == "--test");
    let mib = setting("EMBERMESH_BENCH_MIB", if testing { 4 } else { MIB });
    let rounds = setting("EMBERMESH_BENCH_ROUNDS", if testing { 1 } else { ROUNDS });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(mib << 20, rounds));
}

async fn run(bytes: usize, rounds: usize) {
    let mut contenders = contenders(bytes).await;
    // A word on the command line takes those whose name has it, beside the first two.
    if let Some(word) = env::args().skip(1).find(|word| !word.starts_with('-')) {
        let mut n = 0;
        contenders.retain(|contender| {
            n += 1;
            n <= 2 || contender.name.contains(&word)
        });
    }
    let mut rates = vec![Vec::new(); contenders.len()];
    let mut work = vec![0.0; contenders.len()];
    for round in 0..=rounds {
        for (n, (contender, rates)) in contenders.iter_mut().zip(&mut rates).enumerate() {
            let (began, before) = (Instant::now(), cpu_seconds());
            contender.transfer().await;
            let (seconds, work_done) = (began.elapsed().as_secs_f64(), cpu_seconds() - before);
            contender.clean();
            // The first round warms caches and connections up.
            if round > 0 {
                rates.push(bytes as f64 / seconds / 1e9);
                work[n] += work_done;
            }
        }
    }
    show(&contenders, &mut rates, &work, bytes, rounds);
}

/// Seconds of processor that this process has used; zero where there is no /proc.
/// Less swayed by what else runs than the time that passed.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = |field: usize| -> f64 {
        let text = after_name.split(' ').nth(field).unwrap_or_default();
        text.parse().unwrap_or_default()
    };
    // utime and stime, in the hundredths of a second that Linux shows.
    (ticks(11) + ticks(12)) / 100.0
}

fn show(
    contenders: &[Contender],
    rates: &mut [Vec<f64>],
    work: &[f64],
    bytes: usize,
    rounds: usize,
) {
    let medians: Vec<f64> = rates
        .iter_mut()
        .map(|rates| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        })
        .collect();
    println!(
        "{} MiB per transfer, median of {rounds} interleaved rounds",
        bytes >> 20
    );
    println!(
        "{:<34} {:>6}  {:>13}  {:>7}  {:>7}  {:>8}",
        "", "GB/s", "min - max", "of TCP", "of TLS", "CPU s/GB"
    );
    for (n, (contender, rates)) in contenders.iter().zip(rates).enumerate() {
        let median = medians[n];
        let (min, max) = (rates[0], rates[rates.len() - 1]);
        println!(
            "{:<34} {median:>6.2}  {:>13}  {:>6.2}x  {:>6.2}x  {:>8.2}",
            contender.name,
            format!("{min:.2} - {max:.2}"),
            median / medians[0],
            median / medians[1],
            work[n] / (bytes * rounds) as f64 * 1e9,
        );
    }
}
