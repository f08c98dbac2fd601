//! The mesh beside the same work in this process: an index and a node as
//! processes on loopback, one client.
//!
//! - The first update after a submit, with a warm worker waiting.
//! - A training job through the mesh beside the same loop in this process, in
//!   turns, with the medians' ratio; and whether the weights are bit-equal.
//!
//! `cargo bench -p embermesh-cli --bench end_to_end` (`-- --rounds 5` for more)

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_client::{Client, IdempotencyKey, Options, Sources, Update};
use embermesh_compute::{
    DeviceChoice,
    pipe::{Ceilings, WorkOrder, WorkerEventKind},
    run_in_process,
};
use embermesh_crypto::{Digest, Keypair};
use embermesh_job::{
    file::{Format, JobFile},
    spec::{Input, JobSpec, Work},
};

/// Passes of the job whose time is compared: what the demo trains.
const PASSES: u32 = 25;
/// Turns of each side.
const ROUNDS: usize = 3;
/// Submits of which the first update is timed.
const FIRST_UPDATES: usize = 20;
/// The longest wait for the node to be known.
const PATIENCE: Duration = Duration::from_secs(60);

const JOB: &str = include_str!("../../examples/jobs/digits-train.toml");
const DIGITS: &[u8] = include_bytes!("../../data/digits.csv");

/// A daemon that dies with the benchmark.
struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(folder: &Path, words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_embermesh"))
            .args(["-o", "json", "-q"])
            .args(words)
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command that cargo built starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the ready line");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the ready line is JSON");
        let address = ready["address"].as_str().expect("an address").to_owned();
        Self { child, address }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::main]
async fn main() {
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
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let index = Daemon::start(
        folder.path(),
        &[
            "index",
            "run",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
            "--data-dir",
            &at("index"),
        ],
    );
    let _node = Daemon::start(
        folder.path(),
        &[
            "node",
            "run",
            "--tls-listen",
            "127.0.0.1:0",
            "--device",
            "cpu",
            "--index",
            &index.address,
            "--data-dir",
            &at("node"),
        ],
    );
    let key = Arc::new(Keypair::generate().expect("randomness"));
    let client = Client::connect(
        index.address.parse().expect("an address"),
        key,
        Options::default(),
    )
    .await
    .expect("the index answers");
    let deadline = Instant::now() + PATIENCE;
    while client.nodes().await.expect("the index answers").is_empty() {
        assert!(Instant::now() < deadline, "the node registers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let data = folder.path().join("digits.csv");
    std::fs::write(&data, DIGITS).expect("a file");

    first_updates(&client, &data).await;
    overhead(&client, &data, folder.path(), rounds).await;
}

fn spec(passes: u32) -> (JobSpec, Sources) {
    let mut sources = Sources::default();
    let input = sources.add_bytes(DIGITS);
    let file = JobFile::parse(JOB, Format::Toml).expect("the example");
    let blobs: BTreeMap<PathBuf, Input> = file
        .sources()
        .into_iter()
        .map(|path| (path.to_owned(), input))
        .collect();
    let mut spec = file.resolve(&blobs).expect("the example");
    if let Work::Train(train) = &mut spec.work {
        train.passes = passes;
    }
    (spec, sources)
}

/// Runs a job; when the first event came, when the last, and the weights' digest.
async fn run(client: &Client, passes: u32) -> (Duration, Duration, Digest) {
    let (spec, sources) = spec(passes);
    let begun = Instant::now();
    let key = IdempotencyKey::fresh().expect("randomness");
    let (_, mut follow) = client
        .run(&spec, sources, Vec::new(), key)
        .await
        .expect("the index takes it");
    let mut first = None;
    while let Some(update) = follow.next().await {
        match update.expect("the stream holds") {
            Update::Event(_) => {
                first.get_or_insert_with(|| begun.elapsed());
            }
            Update::Ended(ended) => {
                let artifact = ended.artifacts.first().expect("weights");
                return (first.unwrap_or_default(), begun.elapsed(), artifact.digest);
            }
            _ => {}
        }
    }
    panic!("the stream ended before the job");
}

async fn first_updates(client: &Client, _: &Path) {
    let mut times = Vec::new();
    for _ in 0..FIRST_UPDATES {
        let (first, ..) = run(client, 1).await;
        times.push(first.as_secs_f64() * 1e3);
        // The next worker warms up meanwhile, as between two jobs of people.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
    }
    times.sort_by(f64::total_cmp);
    println!(
        "first update after submit: median {:.0} ms, worst {:.0} ms of {FIRST_UPDATES}",
        median(&times),
        times[times.len() - 1]
    );
}

async fn overhead(client: &Client, data: &Path, folder: &Path, rounds: usize) {
    let (spec, _) = spec(PASSES);
    let (mut meshed, mut here) = (Vec::new(), Vec::new());
    let mut digests = Vec::new();
    for round in 1..=rounds {
        let (_, took, digest) = run(client, PASSES).await;
        meshed.push(took.as_secs_f64());
        digests.push(digest);
        let workdir = folder.join(format!("in-process-{round}"));
        std::fs::create_dir_all(&workdir).expect("a folder");
        let order = WorkOrder {
            spec: String::from_utf8(spec.canonical()).expect("JSON"),
            attempt: None,
            device: DeviceChoice::Cpu,
            inputs: spec
                .inputs()
                .iter()
                .map(|input| (input.digest, data.to_owned()))
                .collect(),
            resume: None,
            workdir,
            ceilings: Ceilings {
                memory_bytes: spec.limits.memory.0,
                output_bytes: spec.limits.output.0,
            },
            threads: 0,
        };
        let begun = Instant::now();
        let mut artifact = None;
        run_in_process(&order, &mut |event| {
            if let WorkerEventKind::Artifact { path, .. } = event.kind {
                artifact = Some(path);
            }
        })
        .expect("the loop in process");
        here.push(begun.elapsed().as_secs_f64());
        let path = order.workdir.join(artifact.expect("weights"));
        digests.push(Digest::of(&std::fs::read(path).expect("weights")));
        println!(
            "round {round}: mesh {:.2} s, in process {:.2} s",
            meshed[round - 1],
            here[round - 1]
        );
    }
    meshed.sort_by(f64::total_cmp);
    here.sort_by(f64::total_cmp);
    println!(
        "training: mesh {:.2} s, in process {:.2} s, ratio {:.3}, weights bit-equal: {}",
        median(&meshed),
        median(&here),
        median(&here) / median(&meshed),
        digests.windows(2).all(|pair| pair[0] == pair[1])
    );
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
