//! A mesh of real processes on loopback: port 0, keys of their own, a folder that
//! goes with the test. None of them outlives the test, however it ends.

// Each test uses a part of it, and what does not hold fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// The longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings that make a lost node known within a second or two.
const SETTINGS: &str = r#"
[index_server.leases]
lease_ms = 1500
heartbeat_interval_ms = 250
assign_grace_ms = 1500
reregistration_grace_ms = 3000

[node]
drain_timeout = "2s"
devices = ["cpu"]
"#;

/// A process that has said that it serves.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) ready: Value,
    pub(crate) log: PathBuf,
}

impl Process {
    pub(crate) fn peer(&self) -> String {
        self.ready["peer"].as_str().unwrap().to_owned()
    }

    pub(crate) fn address(&self) -> String {
        self.ready["address"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// Sends a signal by its name, and waits for the end.
    pub(crate) async fn signal(
        &mut self,
        signal: rustix::process::Signal,
    ) -> std::process::ExitStatus {
        let pid = i32::try_from(self.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        ended(&mut self.child).await
    }
}

/// A folder, an index and some nodes.
pub(crate) struct Mesh {
    pub(crate) folder: TempDir,
    pub(crate) index: Process,
    pub(crate) nodes: Vec<Process>,
}

impl Mesh {
    /// Starts an index and `nodes` nodes, and waits until the index knows them all.
    pub(crate) async fn start(nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.toml"), SETTINGS).unwrap();
        assert!(run(folder.path(), &["keys", "new"]).await.status.success());
        let index = start_index(folder.path(), "127.0.0.1:0").await;
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
        let bootstrap = self.index.ready["mesh"][0].as_str().unwrap().to_owned();
        let index = self.index.address();
        let words = ["node", "run", "--index", &index, "--bootstrap", &bootstrap];
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

    /// The node of a peer id.
    pub(crate) fn node_of(&mut self, peer: &str) -> &mut Process {
        self.nodes
            .iter_mut()
            .find(|node| node.peer() == peer)
            .expect("one of ours")
    }
}

/// The lines of a client command.
pub(crate) struct Stream {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Stream {
    /// The next line, which must come.
    pub(crate) async fn next(&mut self) -> Value {
        self.maybe_next().await.expect("another line")
    }

    /// The next line; `None` at the end.
    pub(crate) async fn maybe_next(&mut self) -> Option<Value> {
        let line = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("a line in time")
            .unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Waits for a line of a kind, gathering event numbers on the way.
    pub(crate) async fn until(
        &mut self,
        seen: &mut Numbers,
        mut is: impl FnMut(&Value) -> bool,
    ) -> Value {
        loop {
            let line = self.next().await;
            seen.hear(&line);
            if is(&line) {
                return line;
            }
        }
    }

    /// Reads to the end. The last line, and the exit code.
    pub(crate) async fn finish(mut self, seen: &mut Numbers) -> (Vec<Value>, i32) {
        let mut rest = Vec::new();
        while let Some(line) = self.maybe_next().await {
            seen.hear(&line);
            rest.push(line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        (rest, status.code().unwrap_or(-1))
    }
}

/// The numbers of the events, which must come once each, in order.
#[derive(Default)]
pub(crate) struct Numbers {
    pub(crate) last: u64,
}

impl Numbers {
    pub(crate) fn hear(&mut self, line: &Value) {
        assert_ne!(line["update"], "missed", "{line}");
        if line["update"] == "event" {
            let seq = line["event"]["seq"].as_u64().unwrap();
            assert_eq!(seq, self.last + 1, "a gap or a repeat: {line}");
            self.last = seq;
        }
    }
}

/// Whether a line is an event of this kind.
pub(crate) fn is_event(line: &Value, kind: &str) -> bool {
    line["event"]["kind"].get(kind).is_some()
}

/// A job that trains on the digits; `passes` says how long.
pub(crate) fn digits_job(folder: &Path, name: &str, passes: u32) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/digits.csv");
    let text = format!(
        r#"
name = "{name}"
[work.train]
passes = {passes}
batch = 32
seed = 7
holdout = 0.2
report_every = 5
checkpoint_every = 15
[work.train.model]
input = [1, 8, 8]
layers = [
    {{ op = "conv2d", channels = 8, kernel = 3, padding = 1 }},
    {{ op = "relu" }},
    {{ op = "max_pool2d", kernel = 2 }},
    {{ op = "flatten" }},
    {{ op = "dense", units = 10 }},
]
[work.train.data.digits_csv]
file = {{ path = "{}" }}
classes = 10
[limits]
memory = "1 GiB"
wall = "5m"
"#,
        data.display()
    );
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) async fn start_index(folder: &Path, listen: &str) -> Process {
    let words = [
        "index",
        "run",
        "--listen",
        listen,
        "--metrics-listen",
        "127.0.0.1:0",
    ];
    start(folder, "index", &words).await
}

/// Starts a daemon and waits until it serves.
pub(crate) async fn start(folder: &Path, name: &str, words: &[&str]) -> Process {
    let log = folder.join(format!("{name}.log"));
    let mut child = daemon(folder, name, words, &log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line())
        .await
        .unwrap_or_else(|_| panic!("{name} does not say that it serves"))
        .unwrap();
    let Some(line) = line else {
        panic!(
            "{name} ended: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
    };
    Process {
        child,
        ready: serde_json::from_str(&line).unwrap(),
        log,
    }
}

/// A daemon that is not started yet.
pub(crate) fn daemon(folder: &Path, name: &str, words: &[&str], log: &Path) -> Command {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    let mut all = vec!["-o", "json"];
    all.extend(words);
    let mut command = command(folder, &all);
    command
        .arg("--data-dir")
        .arg(folder.join(name))
        // Its stdin is held by the test: when the test is gone, so is it.
        .arg("--die-with-parent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    command
}

/// The command, with the folder as the user's home.
pub(crate) fn command(folder: &Path, words: &[impl AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_embermesh"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("EMBERMESH_") {
            command.env_remove(key);
        }
    }
    command
        .env("HOME", folder)
        .env("XDG_CONFIG_HOME", folder.join("settings"))
        .kill_on_drop(true);
    let config = folder.join("config.toml");
    if config.is_file() {
        command.arg("--config").arg(config);
    }
    command.args(words);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(folder: &Path, words: &[impl AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = command(folder, words);
    command.stdin(Stdio::null());
    timeout(PATIENCE, command.output())
        .await
        .expect("it ends in time")
        .unwrap()
}

/// Waits for the end of a daemon, whose stdin stays open until then: a daemon whose
/// parent is gone stops by itself.
pub(crate) async fn ended(child: &mut Child) -> std::process::ExitStatus {
    let stdin = child.stdin.take();
    let status = timeout(PATIENCE, child.wait())
        .await
        .expect("it ends")
        .unwrap();
    drop(stdin);
    status
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asks until it is so.
pub(crate) async fn eventually(what: &str, is: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never happened: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fails unless the command ended with `code` and said every one of `words`.
pub(crate) fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert!(
        output.stdout.is_empty(),
        "nothing on stdout: {}",
        stdout(output)
    );
}
