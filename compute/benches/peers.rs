//! Training beside PyTorch on the CPU: steps per second and peak memory of the same
//! networks, batches and threads, in turns, each turn a process of its own.
//!
//! ```text
//! EMBERMESH_PYTHON=/path/to/python-with-torch cargo bench -p embermesh-compute --bench peers
//! ```
//!
//! Without `EMBERMESH_PYTHON` only this side is measured. `-- --rounds 5` for more.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use embermesh_compute::pipe::{Ceilings, WorkOrder, WorkerEventKind};
use embermesh_compute::worker::ENVIRONMENT;
use embermesh_compute::{DeviceChoice, run_in_process};
use embermesh_job::crypto::Digest;
use embermesh_job::spec::JobSpec;

/// Turns of each side.
const ROUNDS: usize = 3;
/// Threads of each side.
const THREADS: u32 = 2;
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");

/// A network, the batch, and the steps of a turn.
const CONTESTS: [(&str, &str, usize, usize); 3] = [
    (
        "mlp",
        r#"[{"op":"flatten"},{"op":"dense","units":512},{"op":"relu"},{"op":"dense","units":256},
            {"op":"relu"},{"op":"dense","units":10}]"#,
        128,
        600,
    ),
    (
        "lenet",
        r#"[{"op":"conv2d","channels":6,"kernel":5,"padding":2},{"op":"relu"},{"op":"max_pool2d","kernel":2},
            {"op":"conv2d","channels":16,"kernel":5},{"op":"relu"},{"op":"max_pool2d","kernel":2},
            {"op":"flatten"},{"op":"dense","units":120},{"op":"relu"},{"op":"dense","units":84},
            {"op":"relu"},{"op":"dense","units":10}]"#,
        64,
        300,
    ),
    (
        "cnn",
        r#"[{"op":"conv2d","channels":32,"kernel":3},{"op":"relu"},
            {"op":"conv2d","channels":64,"kernel":3},{"op":"relu"},{"op":"max_pool2d","kernel":2},
            {"op":"flatten"},{"op":"dense","units":128},{"op":"relu"},{"op":"dense","units":10}]"#,
        64,
        60,
    ),
];

/// What a turn says of itself.
#[derive(serde::Serialize, serde::Deserialize)]
struct Turn {
    steps_per_second: f64,
    peak_mib: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).cloned()
    };
    if let Some(name) = after("--turn") {
        println!("{}", serde_json::to_string(&turn(&name)).unwrap());
        return;
    }
    // A test runner that lists or runs every target meets this one too.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let rounds = after("--rounds").map_or(ROUNDS, |text| text.parse().unwrap());
    let python = std::env::var("EMBERMESH_PYTHON").ok();
    for (name, _, batch, steps) in CONTESTS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut here = Command::new(std::env::current_exe().unwrap());
            here.envs(ENVIRONMENT).args(["--turn", name]);
            ours.push(said(&mut here));
            if let Some(python) = &python {
                let mut peer = Command::new(python);
                let words = [name, &batch.to_string(), &steps.to_string()];
                theirs.push(said(peer.arg(PEER).args(words).arg(THREADS.to_string())));
            }
        }
        let (speed, peak) = medians(&ours);
        print!("{name}: {speed:.1} steps/s, {peak:.0} MiB");
        if python.is_some() {
            let (peer_speed, peer_peak) = medians(&theirs);
            print!(
                "; PyTorch {peer_speed:.1} steps/s, {peer_peak:.0} MiB; ratio {:.2}, memory {:.2}",
                speed / peer_speed,
                peak / peer_peak
            );
        }
        println!();
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

fn medians(turns: &[Turn]) -> (f64, f64) {
    let median = |of: fn(&Turn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (
        median(|turn| turn.steps_per_second),
        median(|turn| turn.peak_mib),
    )
}

/// Trains one pass over random images, as many as the steps need.
fn turn(name: &str) -> Turn {
    let (_, layers, batch, steps) = CONTESTS.into_iter().find(|c| c.0 == name).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let samples = batch * steps;
    let mut state = 1_u32;
    let mut random = |count: usize, below: u32| -> Vec<u8> {
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 8) % below) as u8
            })
            .collect()
    };
    let sized = |magic: u32, sizes: &[usize], body: Vec<u8>| {
        let mut bytes = magic.to_be_bytes().to_vec();
        for size in sizes {
            bytes.extend((*size as u32).to_be_bytes());
        }
        bytes.extend(body);
        bytes
    };
    let images = sized(0x803, &[samples, 28, 28], random(samples * 784, 256));
    let labels = sized(0x801, &[samples], random(samples, 10));
    let mut inputs = BTreeMap::new();
    let mut input = |bytes: Vec<u8>| {
        let digest = Digest::of(&bytes);
        let path = folder.path().join(digest.short());
        std::fs::write(&path, &bytes).unwrap();
        inputs.insert(digest, path);
        format!(r#"{{"digest":"{digest}","size":{}}}"#, bytes.len())
    };
    let json = format!(
        r#"{{"name":"peer","work":{{"train":{{"model":{{"input":[1,28,28],"layers":{layers}}},
        "data":{{"idx":{{"images":{},"labels":{},"classes":10}}}},"passes":1,"batch":{batch},
        "report_every":{steps}}}}},"limits":{{"memory":8589934592,"wall":3600000,"output":1073741824}}}}"#,
        input(images),
        input(labels),
    );
    let spec: JobSpec = serde_json::from_str(&json).unwrap();
    spec.validate().unwrap();
    let workdir = folder.path().join("work");
    std::fs::create_dir(&workdir).unwrap();
    let order = WorkOrder {
        spec: String::from_utf8(spec.canonical()).unwrap(),
        device: DeviceChoice::Cpu,
        inputs,
        resume: None,
        workdir,
        ceilings: Ceilings {
            memory_bytes: spec.limits.memory.0,
            output_bytes: spec.limits.output.0,
        },
        threads: THREADS,
    };
    let mut began = None;
    let mut took = None;
    run_in_process(&order, &mut |event| {
        // From the start of the loop to the end of the pass.
        if let WorkerEventKind::Plain(_) = event.kind {
            let began = began.get_or_insert_with(Instant::now);
            took.get_or_insert(began.elapsed());
            took = took.max(Some(began.elapsed()));
        }
    })
    .unwrap();
    Turn {
        steps_per_second: steps as f64 / took.unwrap().as_secs_f64(),
        peak_mib: peak_mib(),
    }
}

/// The most memory that this process ever held.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok())
        .map_or(0.0, |kib| kib / 1024.0)
}
