//! A task from its token to its receipt, and everybody who follows it.

use crate::support::{all, caller, config, digits, next, numbers, spec, start, until};
use embermesh_crypto::{
    digest::Digest,
    statement::{Outcome, Receipt, Signed},
};
use embermesh_job::event::{EventKind, RunUpdate};
use embermesh_mesh::blob;
use embermesh_proto::v1;
use futures::StreamExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_from_its_token_to_its_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let spec = spec(200, 2);
    assert!(client.put("", &digits(200)).await.unwrap());

    let (events, end) = all(&mut client.run(1, &spec).await).await;
    assert_eq!(end, None);
    let expected: Vec<u64> = (1..=events.len() as u64).collect();
    assert_eq!(numbers(&events), expected);
    assert!(matches!(events[0].kind, EventKind::Started { .. }));
    assert!(
        events
            .iter()
            .any(|e| matches!(e.kind, EventKind::Checkpoint { .. }))
    );

    let artifact = events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::Artifact(artifact) => Some(artifact.clone()),
            _ => None,
        })
        .unwrap();
    let EventKind::Finished {
        outcome, receipt, ..
    } = &events.last().unwrap().kind
    else {
        panic!("the last event is the end");
    };
    assert_eq!(*outcome, Outcome::Succeeded);
    let receipt = Signed::<Receipt>::from_bytes(receipt.clone())
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(receipt.node, node.peer_id());
    assert_eq!(receipt.client, client.keypair.peer_id());
    assert_eq!(receipt.spec, spec.digest());
    assert_eq!(receipt.inputs, [Digest::of(&digits(200))]);
    assert_eq!(receipt.outputs[0].digest, artifact.digest);
    assert!(receipt.steps > 0 && receipt.ended_at >= receipt.started_at);
    let account = receipt.account.as_ref().unwrap();
    println!("{account:?}");
    assert_eq!(account.kind, "train");
    assert_eq!(account.model, spec.subject().model);
    assert!(account.program.starts_with("embermesh ") && account.backend.contains("flex"));
    assert!(account.wall_ms > 0 && account.wall_ms <= spec.limits.wall.0);
    assert_eq!(account.memory_ceiling_bytes, spec.limits.memory.0);
    assert_eq!(account.cpu_ceiling_ms, None);
    if cfg!(target_os = "linux") {
        assert!(account.cpu_ms.unwrap() > 0);
        assert!(account.peak_memory_bytes.unwrap() > 1 << 20);
    }

    // The artifact comes back in ranges that verify.
    let request = v1::FetchBlobRequest {
        digest: bytes::Bytes::copy_from_slice(artifact.digest.as_bytes()),
        offset: 0,
        length: 0,
    };
    let mut chunks = client
        .stub
        .clone()
        .fetch_blob(request)
        .await
        .unwrap()
        .into_inner();
    let first = chunks.next().await.unwrap().unwrap();
    assert_eq!(first.size, artifact.size);
    let rest = futures::stream::iter([Ok(first)])
        .chain(chunks)
        .map(|chunk| {
            chunk
                .map(|chunk| chunk.data)
                .map_err(|_| panic!("the stream breaks"))
        });
    let mut fetched = Vec::new();
    let mut checked = Box::pin(blob::decode::<_, blob::CodecError>(
        &artifact.digest,
        artifact.size,
        0,
        0,
        rest.boxed(),
    ));
    while let Some(verified) = checked.next().await {
        fetched.extend_from_slice(&verified.unwrap().data);
    }
    assert_eq!(Digest::of(&fetched), artifact.digest);

    // Nothing is left of the work.
    assert_eq!(
        std::fs::read_dir(dir.path().join("node/work"))
            .unwrap()
            .count(),
        0
    );
    let status = client.status().await;
    assert!(status.running.is_empty() && !status.devices[0].busy);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_attaches_misses_nothing_and_hears_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let spec = spec(400, 6);
    client.put("", &digits(400)).await.unwrap();
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    let begun = until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    drop(stream);

    // In the middle, from where the first stream stopped; and from the start.
    let after = begun.last().unwrap().seq;
    let mut late = client.attach(&token, 1, after).await.unwrap();
    let mut whole = client.attach(&token, 1, 0).await.unwrap();
    let (late, whole) = tokio::join!(all(&mut late), all(&mut whole));
    let last = whole.0.last().unwrap().seq;
    assert_eq!(numbers(&late.0), (after + 1..=last).collect::<Vec<_>>());
    assert_eq!(numbers(&whole.0), (1..=last).collect::<Vec<_>>());
    assert_eq!(late.0.last(), whole.0.last());

    // After the end, and after a restart: the same events, word for word.
    node.stop().await.unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let again = all(&mut client.attach(&token, 1, 0).await.unwrap()).await;
    assert_eq!(again.0, whole.0);
    let rest = all(&mut client.attach(&token, 1, last).await.unwrap()).await;
    assert_eq!(rest, (Vec::new(), None));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_input_ends_the_attempt_in_words_and_one_that_comes_late_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let spec = spec(200, 1);
    let mut stream = client.run(1, &spec).await;
    // It waits; the client brings the blob meanwhile.
    assert!(client.put("", &digits(200)).await.unwrap());
    let (events, end) = all(&mut stream).await;
    assert_eq!(end, None);
    assert!(events.last().unwrap().kind.is_final());

    let absent = crate::support::spec(100, 1);
    let (events, end) = all(&mut client.run(2, &absent).await).await;
    let (code, message) = end.unwrap();
    assert_eq!((events.len(), code.as_str()), (0, "input_missing"));
    assert!(message.contains("put it to this node"), "{message}");
    assert!(client.status().await.running.is_empty());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_done_fails_with_a_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let garbage = bytes::Bytes::from_static(b"this,is\nnot,digits\n");
    client.put("", &garbage).await.unwrap();
    let mut spec = spec(200, 1);
    if let embermesh_job::spec::Work::Train(train) = &mut spec.work {
        train.data = embermesh_job::spec::Dataset::DigitsCsv {
            file: embermesh_job::spec::Input {
                digest: Digest::of(&garbage),
                size: garbage.len() as u64,
            },
            classes: 10,
        };
    }
    let (events, end) = all(&mut client.run(1, &spec).await).await;
    assert_eq!(end, None);
    let EventKind::Finished {
        outcome,
        receipt,
        message,
    } = &events.last().unwrap().kind
    else {
        panic!("{events:?}");
    };
    assert_eq!(*outcome, Outcome::Failed);
    assert!(!message.is_empty());
    Signed::<Receipt>::from_bytes(receipt.clone())
        .unwrap()
        .open()
        .unwrap();
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_that_is_reached_ends_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    let mut spec = crate::support::long_spec();
    spec.limits.wall = embermesh_job::units::Millis(400);
    let (events, _) = all(&mut client.run(1, &spec).await).await;
    let EventKind::Finished {
        outcome, message, ..
    } = &events.last().unwrap().kind
    else {
        panic!("{events:?}");
    };
    assert_eq!(*outcome, Outcome::Failed);
    assert!(message.contains("limits.wall"), "{message}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_tells_of_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    let spec = crate::support::long_spec();
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    let paused = client
        .stub
        .clone()
        .pause(client.control(&token, 1))
        .await
        .unwrap();
    assert_eq!(paused.into_inner().state(), v1::JobState::Paused);
    loop {
        let update = next(&mut stream).await.unwrap();
        if update == RunUpdate::Notice(embermesh_job::event::Notice::Paused(true)) {
            break;
        }
    }
    let resumed = client
        .stub
        .clone()
        .resume(client.control(&token, 1))
        .await
        .unwrap();
    assert_eq!(resumed.into_inner().state(), v1::JobState::Running);
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_is_adjusted_and_ends_early_with_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    client.put("", &digits(1000)).await.unwrap();
    let spec = crate::support::long_spec();
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    until(&mut stream, |kind| matches!(kind, EventKind::Progress(_))).await;
    let adjust = |learning_rate| v1::AdjustRequest {
        task: Some(client.control(&token, 1)),
        learning_rate,
        weight_decay: None,
    };
    for (bad, hint) in [
        (Some(-1.0), "optimizer.lr"),
        (None, "nothing is to be changed"),
    ] {
        let refused = client.stub.clone().adjust(adjust(bad)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains(hint), "{refused}");
    }
    let state = client
        .stub
        .clone()
        .adjust(adjust(Some(1e-4)))
        .await
        .unwrap();
    assert_eq!(state.into_inner().state(), v1::JobState::Running);
    until(
        &mut stream,
        |kind| matches!(kind, EventKind::Adjusted { learning_rate, .. } if *learning_rate == 1e-4),
    )
    .await;
    client
        .stub
        .clone()
        .finish(client.control(&token, 1))
        .await
        .unwrap();
    let events = until(&mut stream, |kind| {
        matches!(kind, EventKind::Finished { .. })
    })
    .await;
    let EventKind::Finished {
        outcome, message, ..
    } = &events.last().unwrap().kind
    else {
        panic!("{events:?}");
    };
    assert_eq!(*outcome, Outcome::Succeeded);
    assert!(
        message.starts_with("stopped as asked, after step"),
        "{message}"
    );
    assert!(events.iter().any(
        |event| matches!(&event.kind, EventKind::Artifact(made) if made.name == "model.safetensors")
    ));
    node.stop().await.unwrap();
}

/// The digest of a task's receipt, and the one that it goes on from.
fn link(events: &[embermesh_job::event::Event]) -> (Digest, Option<Digest>) {
    let EventKind::Finished { receipt, .. } = &events.last().unwrap().kind else {
        panic!("the last event is the end");
    };
    let opened = Signed::<Receipt>::from_bytes(receipt.clone()).unwrap();
    let opened = opened.open().unwrap();
    let previous = opened.account.as_ref().unwrap().previous;
    (Digest::of(receipt), previous)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receipt_names_the_one_before_it_also_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut newest = None;
    for round in 0..2 {
        let node = start(config(dir.path()), 1).await;
        let client = caller(&node, 2).await;
        client.put("", &digits(200)).await.unwrap();
        for number in [1, 2] {
            let (events, _) = all(&mut client.run(2 * round + number, &spec(200, 1)).await).await;
            let (digest, previous) = link(&events);
            assert_eq!(previous, newest);
            newest = Some(digest);
        }
        node.stop().await.unwrap();
    }
}
