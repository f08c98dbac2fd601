//! The command as a process: daemons that serve, commands that end, and what they
//! said. None of them outlives the test.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::PATIENCE;

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

    /// Sends a signal, and waits for the end.
    pub(crate) async fn signal(&mut self, signal: Signal) -> ExitStatus {
        send(&self.child, signal);
        ended(&mut self.child).await
    }

    /// Ends its stdin, which is what it sees of a parent that is gone, and waits for
    /// the end.
    pub(crate) async fn orphan(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        ended(&mut self.child).await
    }
}

/// Sends a signal to a process that runs.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().expect("it runs")).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A user with a folder, settings and a key; its peer id.
pub(crate) async fn user(folder: &Path, settings: &str) -> String {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.toml"), settings).unwrap();
    let made = run(folder, &["-o", "json", "keys", "new"]).await;
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["peer"].as_str().unwrap().to_owned()
}

/// Starts an index and waits until it serves.
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
pub(crate) fn command(folder: &Path, words: &[impl AsRef<OsStr>]) -> Command {
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
pub(crate) async fn run(folder: &Path, words: &[impl AsRef<OsStr>]) -> Output {
    let mut command = command(folder, words);
    command.stdin(Stdio::null());
    timeout(PATIENCE, command.output())
        .await
        .expect("it ends in time")
        .unwrap()
}

/// Waits for the end of a daemon, whose stdin stays open until then: a daemon whose
/// parent is gone stops by itself.
pub(crate) async fn ended(child: &mut Child) -> ExitStatus {
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
