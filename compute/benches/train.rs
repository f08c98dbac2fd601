//! The worker over its pipe beside the same loop in process: steps per second
//! of the demo's training, in turns, and the ratio of the medians.
//!
//! `cargo bench -p embermesh-compute --bench train` (`-- --rounds 9` for more)
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use embermesh_compute::pipe::{FromWorker, ToWorker, WorkOrder};
use embermesh_compute::{frame, run_in_process};
use embermesh_job::spec::{Train, Work};
use support::{Bench, adam, model, small_training};

/// Turns of each side.
const ROUNDS: usize = 5;
/// Passes of a turn: some seconds.
const PASSES: u32 = 40;

struct Turn {
    seconds: f64,
    steps: u64,
    artifact: Vec<u8>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // A test runner that lists or runs every target meets this one too.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let rounds = args
        .iter()
        .position(|arg| arg == "--rounds")
        .and_then(|at| args.get(at + 1)?.parse().ok())
        .unwrap_or(ROUNDS);
    let mut bench = Bench::new();
    let train = Train {
        model: model(16, 32, 0.25),
        optimizer: adam(0.002),
        passes: PASSES,
        report_every: 10,
        checkpoint_every: 100,
        ..small_training(bench.digits(1797))
    };
    let mut sides = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        for (side, turn) in [over_the_pipe as fn(WorkOrder) -> Turn, in_process]
            .into_iter()
            .enumerate()
        {
            sides[side].push(turn(bench.order(Work::Train(train.clone()))));
        }
        let [piped, here] = sides.each_ref().map(|turns| speed(&turns[round - 1]));
        println!("round {round}: pipe {piped:.1} steps/s, in process {here:.1} steps/s");
    }
    let first = &sides[0][0].artifact;
    let equal = sides.iter().flatten().all(|turn| turn.artifact == *first);
    let [piped, here] = sides.map(|turns| median(turns.iter().map(speed).collect()));
    println!("median: pipe {piped:.1} steps/s, in process {here:.1} steps/s");
    println!("ratio {:.3}, weights bit-equal: {equal}", piped / here);
}

fn speed(turn: &Turn) -> f64 {
    turn.steps as f64 / turn.seconds
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn artifact(order: &WorkOrder) -> Vec<u8> {
    std::fs::read(order.workdir.join("model.safetensors")).unwrap()
}

fn in_process(order: WorkOrder) -> Turn {
    let since = Instant::now();
    let summary = run_in_process(&order, &mut |_| ()).unwrap();
    Turn {
        seconds: since.elapsed().as_secs_f64(),
        steps: summary.steps,
        artifact: artifact(&order),
    }
}

/// From the order on the pipe of a warm worker to its last word.
fn over_the_pipe(order: WorkOrder) -> Turn {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_compute-worker"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = worker.stdin.take().unwrap();
    let mut from = worker.stdout.take().unwrap();
    assert!(matches!(
        frame::read(&mut from).unwrap(),
        FromWorker::Ready(_)
    ));
    let start = frame::encode(&ToWorker::Start(Box::new(order.clone()))).unwrap();
    let since = Instant::now();
    to.write_all(&start).unwrap();
    let summary = loop {
        match frame::read(&mut from).unwrap() {
            FromWorker::Done(summary) => break summary,
            FromWorker::Failed { message, .. } => panic!("{message}"),
            _ => {}
        }
    };
    let seconds = since.elapsed().as_secs_f64();
    worker.wait().unwrap();
    Turn {
        seconds,
        steps: summary.steps,
        artifact: artifact(&order),
    }
}
