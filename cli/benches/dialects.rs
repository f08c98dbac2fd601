//! Submits per second through the wires of other systems, beside the native one.
//!
//! An index is a process of its own, with no nodes: a submit is answered once its job is
//! durable, and then waits. All ask for the same kind of thing, work whose one input of a
//! few kilobytes comes with the call, in turns within one run:
//!
//! - native: the library, over mutual TLS; the input stays with the client until a node
//!   asks for it.
//! - CyxWiz: `SubmitJob` of a training with its data; HiveMind: `UploadTask` of a program.
//!   Both are kept by the gateway before they are answered, with their input.
//! - ZisK, DIM and TitanCompute queue nothing without somebody who works; they are not here.
//!
//! `cargo bench -p embermesh-cli --bench dialects` (`-- --rounds 5` for more)
#![allow(
    clippy::unwrap_used,
    reason = "a measurement ends where what it needs fails"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_client::{Client, IdempotencyKey, Options, Sources};
use embermesh_crypto::Keypair;
use embermesh_job::{
    file::{Format, JobFile},
    spec::JobSpec,
};
use embermesh_proto::{
    cyxwiz::protocol::{JobConfig, SubmitJobRequest, job_service_client::JobServiceClient},
    hivemind::nodepool::{
        LoginRequest, RegisterRequest, UploadTaskRequest,
        master_node_service_client::MasterNodeServiceClient,
        user_service_client::UserServiceClient,
    },
};
use tonic::{Request, transport::Channel};

/// Turns of each.
const ROUNDS: usize = 3;
/// Jobs of a turn: all that are submitted stay open, and an index has a bound on those.
const JOBS: usize = 600;
/// Connections, and calls in flight on each.
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 16;

const JOB: &str = include_str!("../../examples/jobs/digits-train.toml");
const DIGITS: &[u8] = include_bytes!("../../data/digits.csv");
const IRIS: &[u8] = include_bytes!("../../data/iris.csv");
const MODEL: &str = r#"{"type": "mlp", "input_size": 4, "hidden_layers": [16], "output_size": 3}"#;

/// The index, which dies with the benchmark.
struct Index {
    child: Child,
    address: String,
}

impl Index {
    fn start(folder: &Path) -> Self {
        let mut child = command(folder)
            .args(["index", "run", "--listen", "127.0.0.1:0"])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .env(
                "EMBERMESH_INDEX_SERVER__LIMITS__OPEN_JOBS_PER_CLIENT",
                "10000",
            )
            .arg("--data-dir")
            .arg(folder.join("index"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["address"].as_str().unwrap().to_owned();
        Self { child, address }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_embermesh"));
    command.args(["-o", "json", "-q"]).env("HOME", folder);
    command
}

/// One way to submit.
#[derive(Clone)]
enum Way {
    Native(Client, Box<JobSpec>),
    CyxWiz(JobServiceClient<Channel>, String),
    HiveMind(MasterNodeServiceClient<Channel>, String),
}

impl Way {
    async fn submit(&mut self, number: usize) {
        match self {
            Self::Native(client, spec) => {
                let mut spec = spec.clone();
                spec.name = format!("job {number}");
                let key = IdempotencyKey::fresh().unwrap();
                let run = client.run(&spec, Sources::default(), Vec::new(), key);
                let (_, mut follow) = run.await.unwrap();
                // As the gateway does: whoever submits also watches.
                tokio::spawn(async move { while follow.next().await.is_some() {} });
            }
            Self::CyxWiz(client, token) => {
                let answer = client.submit_job(by(token, training())).await.unwrap();
                assert_eq!(answer.into_inner().error, None);
            }
            Self::HiveMind(client, token) => {
                let task = UploadTaskRequest {
                    task_id: format!("task-{number}"),
                    task_data: b"print('hello')".as_slice().into(),
                    user_id: String::new(),
                };
                let answer = client.upload_task(by(token, task)).await.unwrap();
                let answer = answer.into_inner();
                assert!(answer.success, "{}", answer.message);
            }
        }
    }
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

fn training() -> SubmitJobRequest {
    let options = [
        ("learning_rate", "0.01"),
        ("normalise", "standardise"),
        ("target_column", "species"),
        ("labels", "setosa,versicolor,virginica"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    SubmitJobRequest {
        config: Some(JobConfig {
            job_type: 1,
            model_definition: MODEL.to_owned(),
            hyperparameters: options.into(),
            batch_size: 16,
            epochs: 20,
            ..JobConfig::default()
        }),
        initial_data: IRIS.into(),
    }
}

/// Submits the jobs of a turn and says how many a second were taken.
async fn turn(ways: &[Way]) -> f64 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let left = Arc::new(AtomicUsize::new(JOBS));
    let began = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for way in ways {
        for _ in 0..IN_FLIGHT {
            let (mut way, left) = (way.clone(), Arc::clone(&left));
            callers.spawn(async move {
                let take = |many: usize| many.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    way.submit(NEXT.fetch_add(1, Ordering::Relaxed)).await;
                }
            });
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    JOBS as f64 / began.elapsed().as_secs_f64()
}

async fn channel(address: &str) -> Channel {
    let plain = address.split("/p2p/").next().unwrap();
    let endpoint = Channel::from_shared(format!("http://{plain}")).unwrap();
    endpoint.connect().await.unwrap()
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
    let folder = tempfile::tempdir().unwrap();
    let index = Index::start(folder.path());
    let file = JobFile::parse(JOB, Format::Toml).unwrap();
    let input = Sources::default().add_bytes(DIGITS);
    let paths = file.sources().into_iter();
    let spec = file
        .resolve(&paths.map(|path| (path.to_owned(), input)).collect())
        .unwrap();

    let pass = command(folder.path())
        .args(["index", "pass", "cyxwiz", "bench", "--data-dir"])
        .arg(folder.path().join("index"))
        .output()
        .unwrap();
    let pass: serde_json::Value = serde_json::from_slice(&pass.stdout).unwrap();
    let pass = pass["token"].as_str().unwrap().to_owned();
    let mut users = UserServiceClient::new(channel(&index.address).await);
    let (username, password) = ("bench".to_owned(), "password123".to_owned());
    let registration = RegisterRequest { username, password };
    assert!(
        users
            .register(registration)
            .await
            .unwrap()
            .into_inner()
            .success
    );
    let (username, password) = ("bench".to_owned(), "password123".to_owned());
    let login = users.login(LoginRequest { username, password }).await;
    let session = login.unwrap().into_inner().token;

    let mut ways = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..CONNECTIONS {
        let key = Arc::new(Keypair::generate().unwrap());
        let target = index.address.parse().unwrap();
        let client = Client::connect(target, key, Options::default())
            .await
            .unwrap();
        ways[0].push(Way::Native(client, Box::new(spec.clone())));
        let jobs = JobServiceClient::new(channel(&index.address).await);
        ways[1].push(Way::CyxWiz(jobs, pass.clone()));
        let tasks = MasterNodeServiceClient::new(channel(&index.address).await);
        ways[2].push(Way::HiveMind(tasks, session.clone()));
    }

    println!(
        "{CONNECTIONS} connections, {IN_FLIGHT} calls in flight on each, {JOBS} jobs a turn, {rounds} turns"
    );
    let names = ["native", "CyxWiz", "HiveMind"];
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (which, ways) in ways.iter().enumerate() {
            rates[which].push(turn(ways).await);
            // What the last turn left to do is not the next one's.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let median = |rates: &[f64]| {
        let mut sorted = rates.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    println!("{:<10} {:>12} {:>8}", "", "per second", "ratio");
    for (name, of) in names.iter().zip(&rates) {
        let (rate, native) = (median(of), median(&rates[0]));
        println!("{name:<10} {rate:>12.0} {:>8.2}", rate / native);
    }
}
