//! Who submits and who works: each pair is run to a checked result here, or its kinds of
//! work do not meet, and the table says why.
//!
//! `scripts/test -p embermesh-cli matrix --no-capture` prints it.

mod agent;
mod direct;

use crate::{
    dim::deploy_flowers,
    hivemind::{Tasks, unzipped, worker::Worker},
    support::{Mesh, link, run, stderr},
    titancompute::{deploy_chat, services},
    zisk::prover,
};

use super::{Face, Length, Seen, cyxwiz, dim, hivemind, titancompute, until, zisk};

/// A node that serves foreign clients itself, and lets everybody use it.
const SETTINGS: &str = r#"
residents = 2
open = true
dialects = ["cyxwiz", "titancompute", "dim", "hivemind"]
"#;

/// Who works.
const WORKERS: [&str; 5] = [
    "a node, by the index",
    "a node, directly",
    "TitanCompute's agent",
    "HiveMind's worker",
    "ZisK's prover",
];

/// What an agent, a worker and a prover of other systems can do at all.
const AGENT: &str = "an agent answers prompts, of who holds a session of its coordinator";
const WORKER: &str = "a worker runs programs in archives and signs no receipt for them";
const PROVER: &str = "a prover takes shares of proofs of its own machine";

/// What came of a pair.
enum Cell {
    /// It ran, and this came out.
    Ran(String),
    /// It is refused at the door, for this reason.
    Refused(String),
    /// Neither has what the other needs.
    Apart(&'static str),
    /// What it takes is not on this machine.
    Skipped(&'static str),
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ran(made) => write!(f, "runs: {made}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Apart(reason) => write!(f, "no: {reason}"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// Somebody has a short job of his system done, for its result.
async fn done<F: Face>(mesh: &Mesh) -> Vec<u8> {
    let mut user = F::of(mesh, "matrix").await;
    let job = user.submit(Length::Short).await.unwrap();
    until(&mut user, &job, Seen::Done).await;
    user.result(&job).await.unwrap()
}

fn text(made: Vec<u8>) -> String {
    String::from_utf8(made).unwrap()
}

/// A training, whose weights are those that its node has signed for.
async fn native(mesh: &Mesh) -> Cell {
    let node = mesh.nodes[0].peer();
    deploy_flowers(mesh, "flowers", &node).await;
    let made = |name: &str| {
        let path = mesh.path().join("weights").join(name);
        path.to_str().unwrap().to_owned()
    };
    let (receipt, weights) = (made("receipt.bin"), made("model.safetensors"));
    let words = ["receipt", "verify", &receipt, "--node", &node];
    let words = [&words[..], &["--artifact", &weights]].concat();
    let verified = run(mesh.path(), &words).await;
    assert!(verified.status.success(), "{}", stderr(&verified));
    Cell::Ran("weights that their node has signed for".to_owned())
}

async fn by_index_cyxwiz(mesh: &Mesh) -> Cell {
    let made = text(done::<cyxwiz::Client>(mesh).await);
    assert!(made.contains("loss"), "{made}");
    Cell::Ran("a training, and its last measures".to_owned())
}

async fn by_index_titancompute(mesh: &Mesh) -> Cell {
    let made = text(done::<titancompute::Client>(mesh).await);
    assert!(!made.trim().is_empty());
    Cell::Ran("the tokens of a model".to_owned())
}

async fn by_index_dim(mesh: &Mesh) -> Cell {
    let made = text(done::<dim::Client>(mesh).await);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["steps_completed"], serde_json::json!([1, 2]));
    assert!(!made["final_output"].as_str().unwrap().is_empty());
    Cell::Ran("a chain of two models".to_owned())
}

async fn by_index_hivemind(mesh: &Mesh) -> Cell {
    let made = done::<hivemind::Client>(mesh).await;
    assert_eq!(unzipped(&made, "task_logs.txt"), "done\n");
    Cell::Ran("what a program has printed".to_owned())
}

/// No node of the mesh allows Python yet, so a worker gets the program.
async fn by_worker(mesh: &Mesh) -> Cell {
    let channel = mesh.channel().await;
    let mut worker = Worker::join(&channel, "wendy").await;
    worker.stay(&channel);
    let mut tasks = Tasks::new(channel);
    let mut user = hivemind::Client::of(mesh, "alice").await;
    let job = user.submit(Length::Short).await.unwrap();
    let (task, archive) = worker.task().await;
    assert!(unzipped(&archive, "main.py").contains("done"));
    assert!(worker.says(&mut tasks, &task, "done").await.0);
    assert!(worker.returns(&mut tasks, &task, b"its files").await);
    assert!(worker.ends(&mut tasks, &task, true).await);
    until(&mut user, &job, Seen::Done).await;
    assert_eq!(user.result(&job).await.unwrap(), b"its files");
    Cell::Ran("what the worker gave for it".to_owned())
}

async fn by_provers(mesh: &Mesh) -> Cell {
    let provers = link(mesh, "zisk", "provers").await;
    for id in ["p0", "p1"] {
        prover(provers.clone(), id, None, None).await;
    }
    // Each proves the sum of the units 0 to 3; the one that adds up has its own.
    let made = done::<zisk::Client>(mesh).await;
    assert_eq!(made, 6_u64.to_le_bytes());
    Cell::Ran("a proof of two provers".to_owned())
}

/// A row of what foreign workers cannot do for it.
fn apart(by_index: Cell, direct: Cell) -> [Cell; 5] {
    [
        by_index,
        direct,
        Cell::Apart(AGENT),
        Cell::Apart(WORKER),
        Cell::Apart(PROVER),
    ]
}

fn show(rows: &[(&str, [Cell; 5])]) {
    for (system, cells) in rows {
        for (worker, cell) in WORKERS.iter().zip(cells) {
            println!("matrix | {system} | {worker} | {cell}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_of_who_submits_and_who_works() {
    let mut mesh = Mesh::start_with(1, SETTINGS).await;
    // Before a node allows Python, programs are the worker's.
    let worker = by_worker(&mesh).await;
    let native_row = native(&mesh).await;
    deploy_chat(&mesh).await;
    let node = &mesh.nodes[0];
    // A client can be made of what the node says of itself.
    let listed = services(&node.address()).await;
    for name in [
        "cyxwiz.protocol.JobExecutionService",
        "titancompute.v1.AgentService",
        "dim.daemon.Daemon",
        "taskworker.TaskWorkerService",
        "grpc.health.v1.Health",
    ] {
        assert!(listed.iter().any(|one| one == name), "{name}: {listed:?}");
    }
    let native_row = apart(native_row, Cell::Ran(direct::native(&mesh, node).await));
    let cyxwiz_direct = Cell::Ran(direct::cyxwiz(&mesh).await);
    let cyxwiz_row = apart(by_index_cyxwiz(&mesh).await, cyxwiz_direct);
    let mut titan_row = apart(
        by_index_titancompute(&mesh).await,
        Cell::Refused(direct::titancompute(node).await),
    );
    titan_row[2] = Cell::Ran(agent::runs(&mesh).await);
    let dim_direct = Cell::Ran(direct::dim(node).await);
    let dim_row = apart(by_index_dim(&mesh).await, dim_direct);

    let mut hivemind_row = if std::path::Path::new("/usr/bin/bwrap").exists() {
        let runs = mesh.start_node_with("runs", &["--runtime", "python"]).await;
        let hivemind_direct = Cell::Ran(direct::hivemind(&runs).await);
        mesh.nodes.push(runs);
        mesh.until_nodes(2).await;
        apart(by_index_hivemind(&mesh).await, hivemind_direct)
    } else {
        let missing = "bubblewrap is missing: install it";
        apart(Cell::Skipped(missing), Cell::Skipped(missing))
    };
    hivemind_row[3] = worker;

    let no_share = "a node proves executions of programs that its job brings; a proof of ZisK \
                    names a path that its provers read";
    let mut zisk_row = apart(Cell::Apart(no_share), Cell::Apart(no_share));
    zisk_row[4] = by_provers(&mesh).await;

    let rows = [
        ("native", native_row),
        ("CyxWiz", cyxwiz_row),
        ("TitanCompute", titan_row),
        ("DIM", dim_row),
        ("HiveMind", hivemind_row),
        ("ZisK", zisk_row),
    ];
    show(&rows);
}
