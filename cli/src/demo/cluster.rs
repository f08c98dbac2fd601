//! The processes of the demo. Each has a folder, a key and a log of its own, and
//! none outlives the demo: they are stopped at its end, and the kernel kills them
//! should the demo be killed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use embermesh_client::IndexTarget;
use embermesh_crypto::PeerId;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a process may take until it serves.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to stop in good order.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// The last lines of a log that are shown when the demo fails.
const LOG_TAIL: usize = 10;

/// Where the index listens first. It comes back to the same port, which nothing else
/// may have taken meanwhile: on an address of its own, where the system has those
/// without being asked, no other process is given a port, and no connection is made
/// from there.
const INDEX_LISTEN: &str = if cfg!(target_os = "linux") {
    "127.0.0.2:0"
} else {
    "127.0.0.1:0"
};

/// Settings that make a lost node known within seconds, on one machine. The lease
/// outlasts a disk that stands still for a few seconds, as a busy one does.
const SETTINGS: &str = r#"
[index_server.leases]
lease_ms = 5000
heartbeat_interval_ms = 500
assign_grace_ms = 10000
reregistration_grace_ms = 15000

[node]
drain_timeout = "2s"
"#;

/// The line with which a process says that it serves.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ReadyLine {
    /// Who it is.
    pub(crate) peer: PeerId,
    /// Where gRPC is served.
    pub(crate) address: String,
    /// Where the mesh reaches it.
    pub(crate) mesh: Vec<String>,
}

/// A process that serves.
struct Process {
    name: String,
    child: Child,
    ready: ReadyLine,
}

/// An index and some nodes.
pub(crate) struct Cluster {
    folder: PathBuf,
    device: String,
    index: Option<Process>,
    nodes: Vec<Process>,
}

impl Cluster {
    /// Nothing runs yet.
    pub(crate) fn new(folder: &Path, device: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            device: device.to_owned(),
            index: None,
            nodes: Vec::new(),
        }
    }

    /// Starts the index, then the nodes, all at once.
    pub(crate) async fn start(&mut self, nodes: usize) -> anyhow::Result<()> {
        std::fs::write(self.config(), SETTINGS)
            .with_context(|| format!("cannot write {}", self.config().display()))?;
        self.start_index(INDEX_LISTEN).await?;
        let index = self.index_target()?.to_string();
        let bootstrap = self
            .index
            .as_ref()
            .map(|index| index.ready.mesh.clone())
            .unwrap_or_default();
        // Spawned one after the other on this thread, whose death kills them; they
        // come up at the same time.
        let mut starting = Vec::new();
        for number in 1..=nodes {
            let name = format!("node-{number}");
            let mut words = vec!["node".into(), "run".into()];
            words.extend(["--index".into(), index.clone()]);
            words.extend(["--device".into(), self.device.clone()]);
            for address in &bootstrap {
                words.extend(["--bootstrap".into(), address.clone()]);
            }
            starting.push((name.clone(), self.spawn(&name, &words)?));
        }
        for (name, child) in starting {
            let process = self.until_ready(name, child).await?;
            self.nodes.push(process);
        }
        Ok(())
    }

    async fn start_index(&mut self, listen: &str) -> anyhow::Result<()> {
        let words = [
            "index",
            "run",
            "--listen",
            listen,
            "--metrics-listen",
            "127.0.0.1:0",
        ];
        let child = self.spawn("index", &words.map(str::to_owned))?;
        self.index = Some(self.until_ready("index".to_owned(), child).await?);
        Ok(())
    }

    /// Where the index is, and who.
    pub(crate) fn index_target(&self) -> anyhow::Result<IndexTarget> {
        let index = self.index.as_ref().context("the index does not run")?;
        Ok(IndexTarget {
            address: index.ready.address.clone(),
            peer: Some(index.ready.peer),
        })
    }

    /// The nodes: name, peer.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, PeerId)> {
        self.nodes
            .iter()
            .map(|node| (node.name.as_str(), node.ready.peer))
    }

    /// Kills a node with SIGKILL. Its name, if it runs here.
    pub(crate) async fn kill_node(&mut self, peer: PeerId) -> anyhow::Result<Option<String>> {
        let Some(at) = self.nodes.iter().position(|node| node.ready.peer == peer) else {
            return Ok(None);
        };
        let mut node = self.nodes.remove(at);
        node.child.kill().await.context("cannot kill the node")?;
        Ok(Some(node.name))
    }

    /// Kills the index with SIGKILL.
    pub(crate) async fn kill_index(&mut self) -> anyhow::Result<String> {
        let mut index = self.index.take().context("the index does not run")?;
        index.child.kill().await.context("cannot kill the index")?;
        Ok(index.ready.address)
    }

    /// Starts the index again, where it was.
    pub(crate) async fn restart_index(&mut self, address: &str) -> anyhow::Result<()> {
        self.start_index(address).await
    }

    fn config(&self) -> PathBuf {
        self.folder.join("demo.toml")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn spawn(&self, name: &str, words: &[String]) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(name))
            .context("cannot write a log")?;
        let folder: OsString = self.folder.join(name).into();
        let mut command = Command::new(program);
        command
            .args(["-o", "json", "-v", "--config"])
            .arg(self.config())
            .args(words)
            .arg("--data-dir")
            .arg(folder)
            .arg("--die-with-parent")
            // What the user has set is for the user's own mesh.
            .envs(std::iter::empty::<(OsString, OsString)>())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with(crate::config::ENV_PREFIX) {
                command.env_remove(key);
            }
        }
        // Ctrl-C is for the demo, which stops them in order.
        #[cfg(unix)]
        command.process_group(0);
        command
            .spawn()
            .with_context(|| format!("cannot start {name}"))
    }

    async fn until_ready(&self, name: String, mut child: Child) -> anyhow::Result<Process> {
        let stdout = child.stdout.take().context("a process without stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(READY_WITHIN, lines.next_line())
            .await
            .with_context(|| format!("{name} was not ready within {READY_WITHIN:?}"))?
            .with_context(|| format!("cannot read what {name} says"))?;
        let Some(line) = line else {
            anyhow::bail!(
                "{name} ended before it was ready: {}",
                self.tail(&name).trim_end()
            );
        };
        let ready = serde_json::from_str(&line)
            .with_context(|| format!("{name} says something else than that it is ready: {line}"))?;
        Ok(Process { name, child, ready })
    }

    fn tail(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    /// The ends of the logs, on stderr.
    pub(crate) fn show_logs(&self) {
        let names = ["index".to_owned()]
            .into_iter()
            .chain((1..=9).map(|number| format!("node-{number}")));
        for name in names {
            let tail = self.tail(&name);
            if !tail.is_empty() {
                eprintln!("--- {name}\n{tail}");
            }
        }
    }

    /// Stops every process, in good order if it will: the index last, so that the
    /// nodes can still tell it what became of their tasks.
    pub(crate) async fn stop(&mut self) {
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        stop_all(self.nodes.drain(..).collect(), deadline).await;
        stop_all(self.index.take().into_iter().collect(), deadline).await;
    }
}

async fn stop_all(mut processes: Vec<Process>, deadline: tokio::time::Instant) {
    for process in &mut processes {
        // The end of its stdin asks it to stop, as a signal would.
        drop(process.child.stdin.take());
    }
    for mut process in processes {
        let ended = tokio::time::timeout_at(deadline, process.child.wait()).await;
        if ended.is_err() {
            let name = process.name;
            tracing::warn!(name, "it did not stop in time, and is killed");
            let _ = process.child.kill().await;
        }
    }
}
