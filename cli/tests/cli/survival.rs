//! What is killed, or stopped, in mid-job does no harm: the stream of the client goes
//! on by number, and the work from its last checkpoint.

use std::time::Duration;

use crate::support::{Followed, Mesh, Numbers, digits_job, endless_job, eventually, is_event};
use rustix::process::Signal;
use serde_json::Value;

/// Passes of a job that runs for some seconds.
const LONG: u32 = 25;

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
    let mut job = mesh.follow(&endless_job(mesh.path(), "node-dies")).await;
    let checkpoint = known_checkpoint(&mesh, &job.id).await;
    job.hear_up_to(checkpoint).await;
    let killed = job.node.clone();
    mesh.node_of(&killed).kill().await;
    let heard = job.until_moved().await;
    let (before, _) = heard.split_at(usize::try_from(checkpoint).unwrap());
    nothing_twice(&mesh, &job.id, before).await;
    job.stop(&mesh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_asked_to_stop_hands_its_job_on_at_a_checkpoint() {
    let mut mesh = Mesh::start(2).await;
    let mut job = mesh.follow(&endless_job(mesh.path(), "node-stops")).await;
    known_checkpoint(&mesh, &job.id).await;
    let node = job.node.clone();
    // The stream is read meanwhile: it goes on while the node drains.
    let stopping = mesh.node_of(&node).signal(Signal::TERM);
    let (status, heard) = tokio::join!(stopping, job.until_moved());
    assert!(status.success(), "{status}");
    // It came to a checkpoint first, so that not one step is done again.
    let of_the_first = heard.iter().filter(|event| event["epoch"] == 1);
    let last = of_the_first.count();
    nothing_twice(&mesh, &job.id, &heard[..last]).await;
    told_before_it_went(&mesh, &job.id).await;
    job.stop(&mesh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_parent_is_gone_hands_its_job_on() {
    let mut mesh = Mesh::start(2).await;
    let mut job = mesh.follow(&endless_job(mesh.path(), "orphan")).await;
    let checkpoint = known_checkpoint(&mesh, &job.id).await;
    job.hear_up_to(checkpoint).await;
    let node = job.node.clone();
    let stopping = mesh.node_of(&node).orphan();
    let (status, heard) = tokio::join!(stopping, job.until_moved());
    assert!(status.success(), "{status}");
    let (before, _) = heard.split_at(usize::try_from(checkpoint).unwrap());
    nothing_twice(&mesh, &job.id, before).await;
    told_before_it_went(&mesh, &job.id).await;
    job.stop(&mesh).await;
}

/// Waits until the index has a checkpoint to go on from: the number of its event.
async fn known_checkpoint(mesh: &Mesh, id: &str) -> u64 {
    eventually("the index has a checkpoint", async || {
        !mesh.json(&["jobs", "get", id]).await["checkpoint"].is_null()
    })
    .await;
    let shown = mesh.json(&["jobs", "get", id]).await;
    shown["checkpoint"]["seq"].as_u64().unwrap()
}

impl Followed {
    async fn hear_up_to(&mut self, seq: u64) {
        self.stream
            .until(&mut self.numbers, |line| {
                line["event"]["seq"].as_u64() >= Some(seq)
            })
            .await;
    }

    /// Waits until another node works on the job. What had been heard before.
    async fn until_moved(&mut self) -> Vec<Value> {
        let second = self
            .stream
            .until(&mut self.numbers, |line| line["update"] == "assigned")
            .await;
        assert_ne!(second["node"], self.node.as_str());
        assert_eq!(second["epoch"], 2);
        let heard = self.numbers.events.clone();
        self.stream
            .until(&mut self.numbers, |line| is_event(line, "progress"))
            .await;
        heard
    }

    /// Ends the job with what it has.
    async fn stop(mut self, mesh: &Mesh) {
        let stopped = mesh.run(&["jobs", "stop", &self.id]).await;
        assert!(
            stopped.status.success(),
            "{}",
            crate::support::stderr(&stopped)
        );
        let (rest, code) = self.stream.finish(&mut self.numbers).await;
        assert_eq!(code, 0, "{rest:?}");
    }
}

/// Who joins now hears of the same work as was heard before. A step that was done
/// again has another pace than the first time, to the last bit; one that the new node
/// only repeats, because its checkpoint has it, has the same.
async fn nothing_twice(mesh: &Mesh, id: &str, before: &[Value]) {
    assert!(
        before
            .iter()
            .any(|event| event["kind"]["progress"].is_object())
    );
    let last = before.last().unwrap()["seq"].as_u64();
    let mut again = Numbers::default();
    let mut stream = mesh.stream(&["jobs", "watch", id]);
    stream
        .until(&mut again, |line| line["event"]["seq"].as_u64() == last)
        .await;
    assert_eq!(again.events.len(), before.len());
    for (before, again) in before.iter().zip(&again.events) {
        assert_eq!(before["kind"], again["kind"], "event {}", before["seq"]);
    }
}

/// The index moved the job because the node said that it stops, and not because the
/// node fell silent.
async fn told_before_it_went(mesh: &Mesh, id: &str) {
    let journal = mesh.json(&["jobs", "get", id]).await["journal"].to_string();
    assert!(journal.contains("(drained)"), "{journal}");
    assert!(!journal.contains("lease_lapsed"), "{journal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_stop_when_they_are_asked_to() {
    let mut mesh = Mesh::start(2).await;
    let status = mesh.nodes[0].signal(Signal::TERM).await;
    assert!(status.success(), "{status}");
    let status = mesh.nodes[1].signal(Signal::INT).await;
    assert!(status.success(), "{status}");
    let status = mesh.index.signal(Signal::TERM).await;
    assert!(status.success(), "{status}");
}
