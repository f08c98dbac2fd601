//! The demo as a process, and what it leaves.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use super::{PATIENCE, command, machine::processes_of, stderr};

/// Runs the demo to its end. Its lines.
pub(crate) async fn demo(folder: &Path, flags: &[&str]) -> Vec<Value> {
    let mut words = vec!["-o", "jsonl", "demo"];
    words.extend(flags);
    let mut command = command(folder, &words);
    command.env("TMPDIR", folder).stdin(Stdio::null());
    let output = timeout(2 * PATIENCE, command.output())
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Starts the demo, whose lines are read as they come.
pub(crate) fn spawn(folder: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command(folder, &["-o", "jsonl", "demo"])
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// Reads the lines of a demo up to the first that fits.
pub(crate) async fn until(
    lines: &mut Lines<BufReader<ChildStdout>>,
    fits: impl Fn(&Value) -> bool,
) -> Value {
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            if fits(&line) {
                return line;
            }
        }
        panic!("it ended by itself");
    };
    timeout(PATIENCE, found).await.expect("it comes so far")
}

/// What the demo says of its two jobs at the end.
pub(crate) fn ran(lines: &[Value]) -> Vec<&Value> {
    lines
        .iter()
        .filter(|line| line["update"] == "ran")
        .collect()
}

/// The node that ran a job last.
pub(crate) fn last_node(ran: &Value) -> &str {
    let last = ran["streams"].as_array().unwrap().last().unwrap();
    last["node"].as_str().unwrap()
}

/// The mesh came up, and each of the two jobs ran on a node of its own, its events
/// without a gap.
pub(crate) fn check(lines: &[Value]) {
    let found = lines.iter().filter(|line| line["update"] == "found");
    assert_eq!(found.count(), 3, "three nodes found each other");
    let ran = ran(lines);
    assert_eq!(ran.len(), 2);
    for job in &ran {
        assert_eq!(job["contiguous"], true, "{job}");
    }
    assert_ne!(last_node(ran[0]), last_node(ran[1]));
}

/// Fails if a process of the demo, or its folder, is left.
pub(crate) fn nothing_left(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("embermesh-demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let alive = processes_of(folder);
    assert!(alive.is_empty(), "{alive:?}");
}
