//! Cancelling, crashing, draining, restarting.

use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::support::workers;
use crate::support::{
    all, caller, config, digits, long_spec, long_spec_with_checkpoints, next, spec, start, until,
    word,
};
use embermesh_crypto::statement::{Outcome, Receipt, Signed};
use embermesh_job::event::{EventKind, Notice, RunUpdate};
use embermesh_proto::v1;

/// How long a device may stay taken after a cancel.
const FREED_WITHIN: Duration = Duration::from_secs(2);

fn is_progress(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Progress(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_frees_the_device_at_once_and_leaves_a_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    client.put("", &digits(200)).await.unwrap();
    let spec = long_spec();
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, is_progress).await;

    // While it runs there is no place, and being told so costs no token.
    let second = crate::support::spec(200, 1);
    let second_token = client.token(2, &second);
    let status = client.run_with(&second_token, &second).await.unwrap_err();
    assert_eq!(
        (status.code(), word(&status)),
        (tonic::Code::ResourceExhausted, "busy")
    );

    let asked = Instant::now();
    let cancelled = client
        .stub
        .clone()
        .cancel(client.control(&token, 1))
        .await
        .unwrap();
    let freed = asked.elapsed();
    assert_eq!(cancelled.into_inner().state(), v1::JobState::Cancelled);
    assert!(freed < FREED_WITHIN, "{freed:?}");
    // Whoever was told so finds the device free.
    let mut next_one = client.run_with(&second_token, &second).await.unwrap();

    let (events, end) = all(&mut stream).await;
    assert_eq!(end, None);
    let EventKind::Finished {
        outcome, receipt, ..
    } = &events.last().unwrap().kind
    else {
        panic!("{events:?}");
    };
    assert_eq!(*outcome, Outcome::Cancelled);
    let receipt = Signed::<Receipt>::from_bytes(receipt.clone())
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(receipt.outcome, Outcome::Cancelled);
    // Cancelled twice is cancelled.
    let again = client
        .stub
        .clone()
        .cancel(client.control(&token, 1))
        .await
        .unwrap();
    assert_eq!(again.into_inner().state(), v1::JobState::Cancelled);
    let (events, _) = all(&mut next_one).await;
    assert!(events.last().unwrap().kind.is_final());
    node.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_ends_the_attempt_and_not_the_node() {
    use rustix::process::{Pid, Signal, kill_process};
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    client.put("", &digits(200)).await.unwrap();
    let mut stream = client.run(1, &long_spec()).await;
    until(&mut stream, is_progress).await;

    let running = workers();
    assert_eq!(running.len(), 1, "one job, one worker");
    let pid = Pid::from_raw(i32::try_from(running[0]).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let (_, end) = all(&mut stream).await;
    let (code, message) = end.unwrap();
    assert_eq!(code, "worker_crashed");
    assert!(message.contains("killed"), "{message}");

    // The device works again, and nothing is left of the first worker.
    let (events, end) = all(&mut client.run(2, &spec(200, 1)).await).await;
    assert!(end.is_none() && events.last().unwrap().kind.is_final());
    node.stop().await.unwrap();
    assert_eq!(workers(), [0_u32; 0], "no worker and no zombie is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_next_checkpoint_and_takes_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    let mut stream = client.run(1, &long_spec_with_checkpoints()).await;
    until(&mut stream, |kind| {
        matches!(kind, EventKind::Checkpoint { .. })
    })
    .await;
    let draining = tokio::spawn(node.drain());
    let mut noticed = false;
    let mut last = None;
    let end = loop {
        match next(&mut stream).await.unwrap() {
            RunUpdate::Event(event) => last = Some(event),
            RunUpdate::Notice(Notice::Draining) => noticed = true,
            RunUpdate::Notice(Notice::AttemptEnded { code, .. }) => break code,
            RunUpdate::Notice(_) => {}
        }
    };
    assert_eq!(end, "drained");
    assert!(noticed);
    assert!(matches!(last.unwrap().kind, EventKind::Checkpoint { .. }));
    draining.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_resumes_from_a_checkpoint_of_its_own_with_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let spec = spec(400, 8);
    client.put("", &digits(400)).await.unwrap();
    let (whole, _) = all(&mut client.run(1, &spec).await).await;
    let (step, seq, digest, size) = whole
        .iter()
        .find_map(|event| match event.kind {
            EventKind::Checkpoint { step, digest, size } => Some((step, event.seq, digest, size)),
            _ => None,
        })
        .unwrap();

    let mut claims = client.claims(1, &spec);
    claims.epoch = embermesh_crypto::Epoch(2);
    let token = embermesh_crypto::token::issue(&claims, &client.keypair).unwrap();
    let request = v1::RunRequest {
        token: token.clone(),
        spec: spec.canonical().into(),
        resume: Some(v1::Checkpoint {
            blob: Some(v1::BlobRef {
                digest: bytes::Bytes::copy_from_slice(digest.as_bytes()),
                size,
                holders: Vec::new(),
            }),
            step,
            seq,
        }),
        inputs: Vec::new(),
    };
    let mut stream = client.stub.clone().run(request).await.unwrap().into_inner();
    let (resumed, _) = all(&mut stream).await;
    assert_eq!(resumed[0].seq, seq + 1);
    assert_eq!(resumed.last().unwrap().seq, whole.last().unwrap().seq);
    // The same weights come out, whichever way.
    let artifact = |events: &[embermesh_job::event::Event]| {
        events.iter().find_map(|event| match &event.kind {
            EventKind::Artifact(artifact) => Some(artifact.digest),
            _ => None,
        })
    };
    assert_eq!(artifact(&resumed), artifact(&whole));
    // And whoever missed the earlier attempt hears all of it.
    let (all_of_it, _) = all(&mut client.attach(&token, 1, 0).await.unwrap()).await;
    let expected: Vec<u64> = (1..=whole.len() as u64).collect();
    assert_eq!(crate::support::numbers(&all_of_it), expected);
    node.stop().await.unwrap();
}

#[test]
fn a_node_that_was_cut_off_says_so_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let spec = long_spec();
    let first = runtime();
    let token = first.block_on(async {
        let node = start(config(dir.path()), 1).await;
        let client = caller(&node, 2).await;
        client.put("", &digits(1000)).await.unwrap();
        let token = client.token(1, &spec);
        let mut stream = client.run_with(&token, &spec).await.unwrap();
        until(&mut stream, is_progress).await;
        // It goes as in a crash: with its threads, nothing told and nothing waited for.
        tokio::spawn(async move {
            let _node = node;
            std::future::pending::<()>().await;
        });
        token
    });
    first.shutdown_timeout(Duration::from_secs(5));
    runtime().block_on(async {
        let node = start(config(dir.path()), 1).await;
        let client = caller(&node, 2).await;
        let (events, end) = all(&mut client.attach(&token, 1, 0).await.unwrap()).await;
        assert_eq!(end.unwrap().0, "node_restarted");
        let expected: Vec<u64> = (1..=events.len() as u64).collect();
        assert_eq!(crate::support::numbers(&events), expected);
        assert!(!events.is_empty());
        let again = client.run_with(&token, &spec).await.unwrap_err();
        assert_eq!(word(&again), "replayed");
        node.stop().await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_one_folder_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let second = embermesh_node::Node::start(
        config(dir.path()),
        crate::support::key(1),
        tokio_util::sync::CancellationToken::new(),
    );
    let refused = second.await.err().unwrap();
    assert!(refused.to_string().contains("data_dir"), "{refused}");
    node.stop().await.unwrap();
    // Nor is another key let at what the first has left.
    let other = embermesh_node::Node::start(
        config(dir.path()),
        crate::support::key(8),
        tokio_util::sync::CancellationToken::new(),
    );
    let refused = other.await.err().unwrap();
    assert!(refused.to_string().contains("belongs to node"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_work_leaves_no_node_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let broken = embermesh_node::NodeConfig {
        worker_command: vec!["/bin/false".to_owned()],
        ..config(dir.path())
    };
    let refused = embermesh_node::Node::start(
        broken,
        crate::support::key(1),
        tokio_util::sync::CancellationToken::new(),
    );
    let refused = refused.await.err().unwrap();
    assert!(refused.to_string().contains("cpu"), "{refused}");
}
