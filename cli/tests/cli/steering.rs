//! A job that runs is ended, held and joined again.

use std::time::Duration;

use crate::support::{Mesh, Numbers, digits_job, endless_job, eventually, is_event, stderr};
use serde_json::Value;

/// How long the device may stay taken once a cancel has been asked for.
const FREED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn cancel_frees_the_device_at_once() {
    let mesh = Mesh::start(1).await;
    let mut job = mesh.follow(&endless_job(mesh.path(), "endless")).await;
    job.stream
        .until(&mut job.numbers, |line| is_event(line, "progress"))
        .await;
    // Another one waits for the device.
    let next = digits_job(mesh.path(), "next", 1);
    let mut numbers = Numbers::default();
    let mut waiting = mesh.stream(&["submit", next.to_str().unwrap(), "--follow"]);
    waiting
        .until(&mut numbers, |line| line["update"] == "queued")
        .await;
    let cancelled = mesh.run(&["jobs", "cancel", &job.id]).await;
    assert!(cancelled.status.success(), "{}", stderr(&cancelled));
    let (rest, code) = job.stream.finish(&mut job.numbers).await;
    assert_eq!(code, 1, "a cancelled job is no success");
    assert_eq!(rest.last().unwrap()["outcome"], "cancelled");
    let (rest, code) = waiting.finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");

    // From the moment that the index was asked to the moment that the node had the
    // device back, by the one clock of this machine: neither the start of a command
    // nor the writing down of what happened is any of it.
    eventually("the index has the node's account", async || {
        !mesh.json(&["jobs", "get", &job.id]).await["finished"].is_null()
    })
    .await;
    let shown = mesh.json(&["jobs", "get", &job.id]).await;
    let asked = asked_at(&shown);
    let freed = shown["finished"]["at"].as_u64().unwrap();
    let took = Duration::from_millis(freed.saturating_sub(asked));
    println!("the device was free {took:?} after the cancel");
    assert!(took < FREED_WITHIN, "{took:?}");
}

/// When the index was asked to cancel a job.
fn asked_at(job: &Value) -> u64 {
    let journal = job["journal"].as_array().unwrap();
    let entry = journal
        .iter()
        .find(|entry| entry["state"] == "cancelled")
        .unwrap();
    entry["at"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_left_paused_and_joined_again() {
    let mesh = Mesh::start(1).await;
    let job = endless_job(mesh.path(), "paused");
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
    let mut later = Numbers {
        last: 2,
        ..Numbers::default()
    };
    let mut second = mesh.stream(&["jobs", "watch", &id, "--after", "2"]);
    second
        .until(&mut later, |line| is_event(line, "progress"))
        .await;
    assert!(mesh.run(&["jobs", "cancel", &id]).await.status.success());
    assert_eq!(second.finish(&mut later).await.1, 1);
    assert_eq!(stream.finish(&mut numbers).await.1, 1);
    assert_eq!(later.last, numbers.last);
}
