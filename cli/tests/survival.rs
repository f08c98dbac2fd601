//! What is killed in mid-job does no harm: the stream of the client goes on by
//! number, and a cancel frees the device.

mod support;

use std::time::{Duration, Instant};

use support::{Mesh, Numbers, digits_job, eventually, is_event};

/// Passes of a job that runs for some seconds.
const LONG: u32 = 25;
/// Passes of a job that would run for minutes.
const ENDLESS: u32 = 2_000;
/// How long a cancel may take to free the device.
const FREED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_index_is_not_noticed() {
    let mut mesh = Mesh::start(1).await;
    let job = digits_job(mesh.path(), "index-dies", LONG);
    let mut numbers = Numbers::default();
    let mut stream = mesh.stream(&["submit", job.to_str().unwrap(), "--follow"]);
    let id = stream.next().await["job"].as_str().unwrap().to_owned();
    stream
        .until(&mut numbers, |line| is_event(line, "checkpoint"))
        .await;
    mesh.restart_index(Duration::from_millis(500)).await;
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    assert!(
        !rest
            .iter()
            .any(|line| line["to"] == "node" || line["update"] == "assigned"),
        "the node's stream was not touched: {rest:?}"
    );
    eventually("the index knows the end", async || {
        mesh.json(&["jobs", "get", &id]).await["state"] == "succeeded"
    })
    .await;
    let shown = mesh.json(&["jobs", "get", &id]).await;
    assert_eq!(shown["epoch"], 1);
    let receipt = shown["finished"]["kind"]["finished"]["receipt"]
        .as_str()
        .unwrap();
    assert!(receipt.len() > 128);
    assert_eq!(shown["artifacts"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_node_moves_the_job_and_leaves_no_gap() {
    let mut mesh = Mesh::start(2).await;
    let job = digits_job(mesh.path(), "node-dies", LONG);
    let mut numbers = Numbers::default();
    let mut stream = mesh.stream(&["submit", job.to_str().unwrap(), "--follow"]);
    let id = stream.next().await["job"].as_str().unwrap().to_owned();
    let first = stream
        .until(&mut numbers, |line| line["update"] == "assigned")
        .await;
    // Once the index has a checkpoint to resume from.
    eventually("the index has a checkpoint", async || {
        !mesh.json(&["jobs", "get", &id]).await["checkpoint"].is_null()
    })
    .await;
    let killed = first["node"].as_str().unwrap().to_owned();
    mesh.node_of(&killed).kill().await;
    let second = stream
        .until(&mut numbers, |line| line["update"] == "assigned")
        .await;
    assert_ne!(second["node"], killed.as_str());
    assert_eq!(second["epoch"], 2);
    let at = numbers.last;
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    assert!(numbers.last > at);
    // It went on from the checkpoint: nothing was started over.
    let started = rest.iter().filter(|line| is_event(line, "started")).count();
    assert_eq!(started, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_frees_the_device_at_once() {
    let mesh = Mesh::start(1).await;
    let job = digits_job(mesh.path(), "endless", ENDLESS);
    let mut numbers = Numbers::default();
    let mut stream = mesh.stream(&["submit", job.to_str().unwrap(), "--follow"]);
    let id = stream.next().await["job"].as_str().unwrap().to_owned();
    stream
        .until(&mut numbers, |line| is_event(line, "progress"))
        .await;
    let began = Instant::now();
    let cancelled = mesh.run(&["jobs", "cancel", &id]).await;
    assert!(
        cancelled.status.success(),
        "{}",
        support::stderr(&cancelled)
    );
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 1, "a cancelled job is no success");
    assert_eq!(rest.last().unwrap()["outcome"], "cancelled");
    assert!(began.elapsed() < FREED_WITHIN, "{:?}", began.elapsed());
    // The device takes the next job.
    let next = digits_job(mesh.path(), "next", 1);
    let mut numbers = Numbers::default();
    let stream = mesh.stream(&["submit", next.to_str().unwrap(), "--follow"]);
    let (rest, code) = stream.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_left_paused_and_joined_again() {
    let mesh = Mesh::start(1).await;
    let job = digits_job(mesh.path(), "paused", ENDLESS);
    // Without --follow the command ends once the node has started the job.
    let submitted = mesh.json(&["submit", job.to_str().unwrap()]).await;
    let id = submitted["job"].as_str().unwrap().to_owned();
    let mut numbers = Numbers::default();
    let mut stream = mesh.stream(&["jobs", "watch", &id]);
    stream
        .until(&mut numbers, |line| is_event(line, "progress"))
        .await;
    let paused = mesh.json(&["jobs", "pause", &id]).await;
    assert_eq!(paused["state"], "paused");
    stream
        .until(&mut numbers, |line| line["notice"]["paused"] == true)
        .await;
    let resumed = mesh.json(&["jobs", "resume", &id]).await;
    assert_eq!(resumed["state"], "running");
    stream
        .until(&mut numbers, |line| is_event(line, "progress"))
        .await;
    // Who joins later, behind a number, gets the next one.
    let mut later = Numbers { last: 2 };
    let mut second = mesh.stream(&["jobs", "watch", &id, "--after", "2"]);
    second
        .until(&mut later, |line| is_event(line, "progress"))
        .await;
    assert!(mesh.run(&["jobs", "cancel", &id]).await.status.success());
    assert_eq!(second.finish(&mut later).await.1, 1);
    assert_eq!(stream.finish(&mut numbers).await.1, 1);
    assert_eq!(later.last, numbers.last);
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_stop_when_they_are_asked_to() {
    let mut mesh = Mesh::start(2).await;
    let status = mesh.nodes[0].signal(rustix::process::Signal::TERM).await;
    assert!(status.success(), "{status}");
    let status = mesh.nodes[1].signal(rustix::process::Signal::INT).await;
    assert!(status.success(), "{status}");
    let status = mesh.index.signal(rustix::process::Signal::TERM).await;
    assert!(status.success(), "{status}");
}
