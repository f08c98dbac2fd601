//! A mesh of real processes on loopback: keys of their own, a folder that goes with
//! the test.

use std::{
    path::Path,
    process::{Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tonic::transport::Channel;

use super::{Numbers, Process, Stream, command, eventually, run, start, start_index, stderr};

/// Settings under which no stall of a busy machine, such as a disk that stands still
/// for a second or two, is taken for the death of a node; a real death is known within
/// seconds all the same.
const SETTINGS: &str = r#"
[index_server.leases]
lease_ms = 5000
heartbeat_interval_ms = 500
assign_grace_ms = 10000
reregistration_grace_ms = 15000

[node]
drain_timeout = "10s"
devices = ["cpu"]
"#;

/// A folder, an index and some nodes.
pub(crate) struct Mesh {
    pub(crate) folder: TempDir,
    pub(crate) index: Process,
    pub(crate) nodes: Vec<Process>,
}

impl Mesh {
    /// Starts an index and `nodes` nodes, and waits until the index knows them all.
    pub(crate) async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, "").await
    }

    /// The same with some more settings.
    pub(crate) async fn start_with(nodes: usize, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!("{SETTINGS}\n{more}");
        std::fs::write(folder.path().join("config.toml"), settings).unwrap();
        assert!(run(folder.path(), &["keys", "new"]).await.status.success());
        let index = start_index(folder.path(), &own_loopback()).await;
        let mut mesh = Self {
            folder,
            index,
            nodes: Vec::new(),
        };
        for number in 1..=nodes {
            let node = mesh.start_node(&format!("node-{number}")).await;
            mesh.nodes.push(node);
        }
        mesh.until_nodes(nodes).await;
        mesh
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn start_node(&self, name: &str) -> Process {
        self.start_node_with(name, &[]).await
    }

    /// Starts a node of this mesh with some more words.
    pub(crate) async fn start_node_with(&self, name: &str, more: &[&str]) -> Process {
        let bootstrap = self.index.ready["mesh"][0].as_str().unwrap().to_owned();
        let index = self.index.address();
        let mut words = vec!["node", "run", "--index", &index, "--bootstrap", &bootstrap];
        words.extend(more);
        start(self.path(), name, &words).await
    }

    /// SIGKILLs the index and starts it again on the same folder and port.
    pub(crate) async fn restart_index(&mut self, away: Duration) {
        let address = self.index.address();
        self.index.kill().await;
        tokio::time::sleep(away).await;
        self.index = start_index(self.path(), &address).await;
    }

    /// Waits until the index has that many nodes with adverts.
    pub(crate) async fn until_nodes(&self, many: usize) {
        eventually("the index knows the nodes", async || {
            let nodes = self.json(&["nodes", "ls", "--live"]).await;
            nodes.as_array().unwrap().len() >= many
        })
        .await;
    }

    /// Runs a client command against the index.
    pub(crate) async fn run(&self, words: &[&str]) -> Output {
        run(self.path(), &self.with_index(words)).await
    }

    /// Runs a client command that must succeed, for its JSON.
    pub(crate) async fn json(&self, words: &[&str]) -> Value {
        let mut all = vec!["-o", "json"];
        all.extend(words);
        let output = self.run(&all).await;
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that speaks to no index and must succeed, for its JSON.
    pub(crate) async fn local(&self, words: &[&str]) -> Value {
        let output = run(self.path(), &[&["-o", "json"], words].concat()).await;
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A connection to the index in plaintext, as clients of foreign systems have it.
    pub(crate) async fn channel(&self) -> Channel {
        let address = self.index.address();
        let address = address.split("/p2p/").next().unwrap();
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        channel.connect().await.unwrap()
    }

    /// What the operator of the index gives somebody of a foreign system: a token, and
    /// the account that goes with it.
    pub(crate) async fn pass(&self, system: &str, name: &str) -> Value {
        let folder = self.path().join("index");
        let words = ["index", "pass", system, name, "--data-dir"];
        let words = [&words[..], &[folder.to_str().unwrap()]].concat();
        self.local(&words).await
    }

    /// Starts a client command whose lines are read as they come.
    pub(crate) fn stream(&self, words: &[&str]) -> Stream {
        let mut all = vec!["-o", "jsonl"];
        all.extend(words);
        let address = self.index.address();
        let mut child = command(self.path(), &all)
            .env("EMBERMESH_INDEX", address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Stream { child, lines }
    }

    fn with_index(&self, words: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.push("--index".to_owned());
        all.push(self.index.address());
        all
    }

    /// Submits a job and follows it, until a node has it: its id, that node, and what
    /// has been heard.
    pub(crate) async fn follow(&self, job: &Path) -> Followed {
        let mut numbers = Numbers::default();
        let mut stream = self.stream(&["submit", job.to_str().unwrap(), "--follow"]);
        let id = stream.next().await["job"].as_str().unwrap().to_owned();
        let assigned = stream
            .until(&mut numbers, |line| line["update"] == "assigned")
            .await;
        Followed {
            id,
            node: assigned["node"].as_str().unwrap().to_owned(),
            stream,
            numbers,
        }
    }

    /// The node of a peer id.
    pub(crate) fn node_of(&mut self, peer: &str) -> &mut Process {
        self.nodes
            .iter_mut()
            .find(|node| node.peer() == peer)
            .expect("one of ours")
    }
}

/// A job that is followed.
pub(crate) struct Followed {
    pub(crate) id: String,
    /// The node of the first attempt.
    pub(crate) node: String,
    pub(crate) stream: Stream,
    pub(crate) numbers: Numbers,
}

/// Port 0 of an address of loopback that is this test's own, where there are such.
/// An index that is started again finds its port free: no other process is given one
/// on that address, and no connection is made from there.
pub(crate) fn own_loopback() -> String {
    static TAKEN: AtomicU8 = AtomicU8::new(0);
    if !cfg!(target_os = "linux") {
        return "127.0.0.1:0".to_owned();
    }
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = 1 + TAKEN.fetch_add(1, Ordering::Relaxed) % 254;
    // Not 127.0.0.0/16, where everybody else is.
    format!("127.{}.{low}.{number}:0", 128 | high)
}
