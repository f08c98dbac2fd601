//! A demo that is ended in the middle leaves nothing behind.

use std::time::Duration;

use crate::support::{
    demo::{nothing_left, spawn, until},
    eventually, is_event,
    machine::processes_of,
    send,
};
use rustix::process::Signal;
use tokio::time::timeout;

/// How long a demo may take to stop everything once it is asked to.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_stops_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = spawn(folder.path());
    until(&mut lines, |line| is_event(line, "progress")).await;
    // What is looked for at the end can be seen: the worker, beside the daemons.
    let alive = processes_of(folder.path());
    assert!(
        alive.iter().any(|words| words.contains(" worker ")),
        "{alive:?}"
    );
    assert!(
        alive.iter().any(|words| words.contains(" node run ")),
        "{alive:?}"
    );
    send(&child, Signal::INT);
    // Its lines are read on, so that it does not wait for a reader.
    let ended = async {
        while lines.next_line().await.unwrap().is_some() {}
        child.wait().await.unwrap()
    };
    let status = timeout(STOPS_WITHIN, ended).await.expect("it stops");
    assert_eq!(status.code(), Some(130));
    nothing_left(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_demo_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = spawn(folder.path());
    until(&mut lines, |line| line["update"] == "found").await;
    assert!(!processes_of(folder.path()).is_empty());
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    eventually("the children are gone", async || {
        processes_of(folder.path()).is_empty()
    })
    .await;
}
