//! The demo: all of it, and stopped in the middle.

mod support;

use std::{path::Path, time::Duration};

use serde_json::Value;
use support::{PATIENCE, command};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

/// The demo as its lines.
async fn demo(folder: &Path, flags: &[&str]) -> (Vec<Value>, i32) {
    let mut words = vec!["-o", "jsonl", "demo"];
    words.extend(flags);
    let mut command = command(folder, &words);
    command.env("TMPDIR", folder);
    let output = timeout(2 * PATIENCE, command.output())
        .await
        .expect("it ends")
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let code = output.status.code().unwrap();
    assert_eq!(code, 0, "{}", String::from_utf8_lossy(&output.stderr));
    (lines, code)
}

fn ran(lines: &[Value]) -> Vec<&Value> {
    lines
        .iter()
        .filter(|line| line["update"] == "ran")
        .collect()
}

fn check(lines: &[Value]) {
    let found = lines
        .iter()
        .filter(|line| line["update"] == "found")
        .count();
    assert_eq!(found, 3, "three nodes found each other");
    let ran = ran(lines);
    assert_eq!(ran.len(), 2);
    for job in &ran {
        assert_eq!(job["contiguous"], true, "{job}");
        assert!(job["accuracy"].as_f64().unwrap() >= 0.97, "{job}");
    }
    let trainer = ran[0]["streams"].as_array().unwrap().last().unwrap()["node"].clone();
    assert_eq!(ran[1]["weights_from"], trainer);
    assert_ne!(ran[1]["streams"][0]["node"], trainer);
}

fn nothing_left(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("embermesh-demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // Every child has the folder in its arguments.
    let mark = folder.to_string_lossy().into_owned();
    let alive: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|words| String::from_utf8_lossy(&words).replace('\0', " "))
        .filter(|words| words.contains(&mark) && words.contains("--die-with-parent"))
        .collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_the_main_job_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, _) = demo(folder.path(), &[]).await;
    check(&lines);
    assert_eq!(ran(&lines)[0]["attempts"], 1);
    nothing_left(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_survives_the_death_of_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, _) = demo(folder.path(), &["--kill", "node"]).await;
    check(&lines);
    assert_eq!(ran(&lines)[0]["attempts"], 2);
    nothing_left(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_survives_the_death_of_its_index_over_the_mesh_road() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, _) = demo(folder.path(), &["--kill", "index", "--road", "mesh"]).await;
    check(&lines);
    assert_eq!(ran(&lines)[0]["streams"][0]["road"], "mesh");
    nothing_left(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_stops_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["-o", "jsonl", "demo"])
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            if support::is_event(&line, "progress") {
                return;
            }
        }
        panic!("it ended by itself");
    };
    timeout(PATIENCE, running).await.expect("the job runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = timeout(Duration::from_secs(10), child.wait())
        .await
        .expect("it stops")
        .unwrap();
    assert_eq!(status.code(), Some(130));
    nothing_left(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_demo_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["-o", "jsonl", "demo"])
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = timeout(PATIENCE, lines.next_line())
        .await
        .expect("the nodes are found")
        .unwrap();
    assert!(found.is_some());
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    support::eventually("the children are gone", async || {
        let mark = folder.path().to_string_lossy().into_owned();
        !std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
            .any(|words| {
                let words = String::from_utf8_lossy(&words);
                words.contains(&mark) && words.contains("--die-with-parent")
            })
    })
    .await;
}
