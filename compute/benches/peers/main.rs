//! Training, inference and a matrix product beside PyTorch and ONNX Runtime on the
//! CPU, with the same networks, batches and threads, in turns, each turn a process of
//! its own: steps per second, CPU time of a step, and peak memory.
//!
//! ```text
//! EMBERMESH_PYTHON=/path/to/python cargo bench -p embermesh-compute --bench peers
//! ```
//!
//! The Python has torch, onnx and onnxruntime; without `EMBERMESH_PYTHON` only this side
//! is measured. `-- --rounds 5` for more turns, `-- --threads 1` for fewer threads,
//! `-- --only train:mlp` for one contest. Where a machine has other things to do, CPU
//! time with one thread is what to compare: with more, threads that wait for each other
//! spend it too.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod contest;
mod turn;

use std::process::Command;

use embermesh_compute::worker::ENVIRONMENT;

use contest::CONTESTS;

/// Turns of each side.
const ROUNDS: usize = 3;
/// Threads of each side.
const THREADS: u32 = 2;
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/peer.py");

/// What a turn says of itself.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Turn {
    pub(crate) steps_per_second: f64,
    pub(crate) cpu_ms_per_step: f64,
    pub(crate) peak_mib: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).cloned()
    };
    let threads = after("--threads").map_or(THREADS, |text| text.parse().unwrap());
    if let Some(what) = after("--turn") {
        let turn = turn::take(&what, threads);
        println!("{}", serde_json::to_string(&turn).unwrap());
        return;
    }
    // A test runner that lists or runs every target meets this one too.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let rounds = after("--rounds").map_or(ROUNDS, |text| text.parse().unwrap());
    let only = after("--only");
    let python = std::env::var("EMBERMESH_PYTHON").ok();
    let mut whats = vec!["matmul:1024".to_owned()];
    whats.extend(
        CONTESTS
            .iter()
            .map(|contest| format!("train:{}", contest.name)),
    );
    whats.extend(
        CONTESTS[..3]
            .iter()
            .map(|contest| format!("infer:{}", contest.name)),
    );
    for what in whats {
        if only
            .as_ref()
            .is_some_and(|only| !what.starts_with(only.as_str()))
        {
            continue;
        }
        let mut sides = vec![("embermesh", None)];
        if let Some(python) = &python {
            sides.push(("torch", Some(python)));
            if what.starts_with("infer") {
                sides.push(("onnxruntime", Some(python)));
            }
        }
        let mut turns = vec![Vec::new(); sides.len()];
        for _ in 0..rounds {
            for ((peer, python), turns) in sides.iter().zip(&mut turns) {
                let threads = threads.to_string();
                let mut command = match python {
                    None => {
                        let mut here = Command::new(std::env::current_exe().unwrap());
                        here.envs(ENVIRONMENT).args(["--turn", &what]);
                        here.args(["--threads", &threads]);
                        here
                    }
                    Some(python) => {
                        let mut there = Command::new(python);
                        there.args([PEER, peer, &what, &threads]);
                        there
                    }
                };
                turns.push(said(&mut command));
            }
        }
        let ours = medians(&turns[0]);
        for ((peer, _), turns) in sides.iter().zip(&turns) {
            let theirs = medians(turns);
            println!(
                "{what:12} {peer:12} {:9.1} steps/s {:9.3} CPU ms/step {:5.0} MiB; \
                 ours beside it: {:.2} of the steps/s, {:.2} of the CPU time, {:.2} of the memory",
                theirs.steps_per_second,
                theirs.cpu_ms_per_step,
                theirs.peak_mib,
                ours.steps_per_second / theirs.steps_per_second,
                ours.cpu_ms_per_step / theirs.cpu_ms_per_step,
                ours.peak_mib / theirs.peak_mib,
            );
        }
    }
}

fn said(command: &mut Command) -> Turn {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn medians(turns: &[Turn]) -> Turn {
    let median = |of: fn(&Turn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Turn {
        steps_per_second: median(|turn| turn.steps_per_second),
        cpu_ms_per_step: median(|turn| turn.cpu_ms_per_step),
        peak_mib: median(|turn| turn.peak_mib),
    }
}
