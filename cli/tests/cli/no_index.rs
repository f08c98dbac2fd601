//! A mesh without any index: a client that is a peer finds nodes, has jobs done, follows
//! them over the death of a node, waits where nothing takes them, and is told why.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{
    Numbers, Process, Stream, command, digits_job, ended, endless_job, eventually, is_event,
    refused, run, send, start, stderr, user,
};

/// Settings of every process.
const SETTINGS: &str = r#"
[node]
drain_timeout = "10s"
devices = ["cpu"]
"#;

/// Nodes that know each other, and a user.
struct Nodes {
    folder: TempDir,
    nodes: Vec<Process>,
    user: String,
}

impl Nodes {
    /// Starts nodes that let the user in.
    async fn start(many: usize) -> Self {
        let mut nodes = Self::alone().await;
        let user = nodes.user.clone();
        for number in 1..=many {
            nodes
                .join(&format!("node-{number}"), &["--allow", &user])
                .await;
        }
        nodes
    }

    /// A user, and no node yet.
    async fn alone() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = user(folder.path(), SETTINGS).await;
        Self {
            folder,
            nodes: Vec::new(),
            user,
        }
    }

    async fn join(&mut self, name: &str, more: &[&str]) {
        let mut words = vec!["node", "run"];
        words.extend(more);
        let first = self.nodes.first().map(address);
        if let Some(first) = &first {
            words.extend(["--bootstrap", first]);
        }
        let node = start(self.path(), name, &words).await;
        self.nodes.push(node);
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where a client can join.
    fn peer(&self) -> String {
        address(&self.nodes[0])
    }

    async fn run(&self, words: &[&str]) -> Output {
        run(self.path(), words).await
    }

    async fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[&["-o", "json"], words].concat()).await;
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until a client hears of so many nodes, through the first of them.
    async fn until_known(&self, many: usize) {
        let peer = self.peer();
        eventually("the nodes are known", async || {
            let words = ["nodes", "list", "--no-index", "--peer", &peer];
            self.json(&words).await.as_array().unwrap().len() >= many
        })
        .await;
    }

    fn stream(&self, words: &[&str]) -> Stream {
        let mut child = command(self.path(), &[&["-o", "jsonl"], words].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Stream::new(child, lines)
    }

    /// Submits a job and follows it: its id, and its stream.
    async fn follow(&self, job: &Path) -> (String, Stream) {
        let peer = self.peer();
        let job = job.to_str().unwrap();
        let mut stream = self.stream(&["submit", job, "--no-index", "--peer", &peer, "--follow"]);
        let id = stream.next().await["job"].as_str().unwrap().to_owned();
        (id, stream)
    }

    async fn kill(&mut self, peer: &str) {
        let node = self.nodes.iter_mut().find(|node| node.peer() == peer);
        node.expect("one of ours").kill().await;
    }
}

fn address(node: &Process) -> String {
    node.ready["mesh"][0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_without_an_index_and_its_receipt_holds() {
    let nodes = Nodes::start(3).await;
    nodes.until_known(3).await;
    let job = digits_job(nodes.path(), "no-index", 2);
    let job = job.to_str().unwrap();
    let out = nodes.path().join("out");
    // The peer was remembered.
    let words = ["submit", job, "--no-index", "--follow", "--out"];
    let mut stream = nodes.stream(&[&words[..], &[out.to_str().unwrap()]].concat());
    let id = stream.next().await["job"].as_str().unwrap().to_owned();
    let mut numbers = Numbers::default();
    let assigned = stream
        .until(&mut numbers, |line| line["update"] == "assigned")
        .await;
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    assert!(rest.iter().any(|line| line["update"] == "fetched"));

    let receipt = out.join("receipt.bin");
    let node = assigned["node"].as_str().unwrap();
    let words = ["receipt", "verify", receipt.to_str().unwrap()];
    let more = ["--node", node, "--client", &nodes.user];
    let shown = nodes.json(&[&words[..], &more].concat()).await;
    assert_eq!(shown["verdict"], "valid");
    assert_eq!(shown["issuer"], node, "the node gave the permit itself");
    let listed = nodes.json(&["jobs", "ls", "--no-index"]).await;
    assert_eq!(listed[0]["id"], id.as_str());
    assert_eq!(listed[0]["state"], "succeeded");

    // Who watches later hears all of it.
    let mut again = Numbers::default();
    let (rest, code) = nodes
        .stream(&["jobs", "watch", &id])
        .finish(&mut again)
        .await;
    assert_eq!(code, 0, "{rest:?}");
    assert_eq!(again.events, numbers.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_in_a_row_are_let_in() {
    let nodes = Nodes::start(1).await;
    let addresses = nodes.nodes[0].ready["mesh"].as_array().unwrap();
    let by_quic = addresses
        .iter()
        .find_map(|text| text.as_str().filter(|text| text.contains("quic")))
        .unwrap();
    // More than a key may have connections with a node, within less time than a node
    // takes to find out that one over QUIC is dead.
    for _ in 0..12 {
        nodes
            .json(&["nodes", "ls", "--no-index", "--peer", by_quic])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_node_moves_the_job_and_leaves_no_gap() {
    let mut nodes = Nodes::start(3).await;
    nodes.until_known(3).await;
    let job = endless_job(nodes.path(), "node-dies");
    let (id, mut stream) = nodes.follow(&job).await;
    let mut numbers = Numbers::default();
    let first = stream
        .until(&mut numbers, |line| line["update"] == "assigned")
        .await;
    // By the second, the first has long been copied.
    for _ in 0..2 {
        stream
            .until(&mut numbers, |line| is_event(line, "checkpoint"))
            .await;
    }
    let killed = first["node"].as_str().unwrap().to_owned();
    nodes.kill(&killed).await;
    let second = stream
        .until(&mut numbers, |line| {
            line["update"] == "assigned" && line["node"] != killed.as_str()
        })
        .await;
    assert_eq!(second["epoch"], 2);
    let moved = stream
        .until(&mut numbers, |line| is_event(line, "progress"))
        .await;
    assert_eq!(moved["event"]["epoch"], 2);
    let stopped = nodes.run(&["jobs", "stop", &id]).await;
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    let last = numbers.events.last().unwrap();
    let receipt = last["kind"]["finished"]["receipt"].as_str().unwrap();
    let file = nodes.path().join("receipt.bin");
    std::fs::write(&file, bytes(receipt)).unwrap();
    let words = ["receipt", "verify", file.to_str().unwrap()];
    let shown = nodes.json(&words).await;
    assert_eq!(shown["node"], second["node"]);
    // It went on from what the dead node had others keep, and did not begin anew.
    assert!(shown["account"]["resumed_from"].is_string(), "{shown}");
}

/// What is written as pairs of hexadecimal digits.
fn bytes(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_by_a_node_that_is_not_open_and_told_why() {
    let mut nodes = Nodes::alone().await;
    nodes.join("closed", &[]).await;
    let job = digits_job(nodes.path(), "stranger", 1);
    let peer = nodes.peer();
    let words = [
        "submit",
        job.to_str().unwrap(),
        "--no-index",
        "--peer",
        &peer,
    ];
    let output = nodes
        .run(&[&words[..], &["--wait", "1s", "-q"]].concat())
        .await;
    let short = &nodes.nodes[0].peer();
    let node = &short[short.len() - 6..];
    refused(&output, 4, &["not_allowed", "`allow`", node]);
    // The same by somebody whom the owner lets in.
    let user = nodes.user.clone();
    nodes.join("open", &["--open"]).await;
    nodes.join("friendly", &["--allow", &user]).await;
    let output = nodes.run(&[&words[..], &["--follow"]].concat()).await;
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fits_nowhere_waits_and_says_by_how_much() {
    let nodes = Nodes::start(2).await;
    nodes.until_known(2).await;
    let job = digits_job(nodes.path(), "too-large", 1);
    let text = std::fs::read_to_string(&job).unwrap();
    std::fs::write(&job, text.replace("1 GiB", "900 GiB")).unwrap();
    let (_, mut stream) = nodes.follow(&job).await;
    let waiting = stream
        .until(&mut Numbers::default(), |line| {
            line["update"] == "queued" && line["passed_over"].as_array().unwrap().len() == 2
        })
        .await;
    for passed in waiting["passed_over"].as_array().unwrap() {
        assert_eq!(passed["code"], "too_little_memory", "{waiting}");
        assert!(passed["message"].as_str().unwrap().contains("900 GiB"));
    }
    send(&stream.child, Signal::INT);
    assert_eq!(ended(&mut stream.child).await.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_its_turn_and_is_watched_and_cancelled() {
    let nodes = Nodes::start(1).await;
    let (first, mut stream) = nodes.follow(&endless_job(nodes.path(), "first")).await;
    let mut numbers = Numbers::default();
    stream
        .until(&mut numbers, |line| is_event(line, "progress"))
        .await;
    let (_, mut second) = nodes.follow(&digits_job(nodes.path(), "second", 1)).await;
    let mut of_second = Numbers::default();
    let waiting = second
        .until(&mut of_second, |line| line["update"] == "queued")
        .await;
    assert_eq!(waiting["passed_over"][0]["code"], "busy", "{waiting}");

    let mut watched = Numbers::default();
    let mut watch = nodes.stream(&["jobs", "watch", &first]);
    watch
        .until(&mut watched, |line| is_event(line, "progress"))
        .await;
    let cancelled = nodes.json(&["jobs", "cancel", &first]).await;
    assert_eq!(cancelled["state"], "cancelled");
    for (stream, numbers) in [(stream, &mut numbers), (watch, &mut watched)] {
        let (rest, code) = stream.finish(numbers).await;
        assert_eq!(code, 1, "{rest:?}");
        assert_eq!(rest.last().unwrap()["outcome"], "cancelled");
    }
    assert_eq!(numbers.events, watched.events);
    // The slot is free, and whoever waited has it.
    let (rest, code) = second.finish(&mut of_second).await;
    assert_eq!(code, 0, "{rest:?}");
    let shown = nodes.json(&["jobs", "get", &first]).await;
    assert_eq!(shown["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_with_the_cure() {
    let nodes = Nodes::alone().await;
    let job = digits_job(nodes.path(), "nowhere", 1);
    let job = job.to_str().unwrap();
    let output = nodes.run(&["submit", job, "--no-index"]).await;
    refused(&output, 2, &["no peer of the mesh is known", "--peer"]);
    let output = nodes
        .run(&["nodes", "ls", "--no-index", "--peer", "x"])
        .await;
    refused(&output, 2, &["`x` is not a multiaddr"]);
    let unknown = "0197a3c2-0000-7000-8000-000000000000";
    let output = nodes.run(&["jobs", "cancel", unknown, "--no-index"]).await;
    refused(&output, 2, &[unknown, "jobs ls --no-index"]);
    // One who is not there.
    let nobody = embermesh_crypto::Keypair::from_seed(&[9; 32]).peer_id();
    let gone = format!("/ip4/127.0.0.1/tcp/1/p2p/{nobody}");
    let output = nodes
        .run(&["submit", job, "--no-index", "--peer", &gone])
        .await;
    refused(&output, 3, &["no known peer of the mesh answers", "--peer"]);
    // A wait is a matter of jobs without an index.
    let output = nodes.run(&["submit", job, "--wait", "1s"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
