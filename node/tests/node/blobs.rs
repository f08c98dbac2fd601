//! Blobs into a node, out of it, and kept by a second one.

use std::collections::VecDeque;

use crate::support::{all, caller, config, digits, long_spec, next, spec, start, word};
use bytes::Bytes;
use embermesh_crypto::digest::Digest;
use embermesh_job::{
    event::{EventKind, RunUpdate},
    spec::Work,
    units::Bytes as Amount,
};
use embermesh_node::NodeConfig;
use embermesh_proto::v1;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_not_what_was_announced_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = NodeConfig {
        blob_quota: Amount(1 << 20),
        ..config(dir.path())
    };
    let node = start(small, 1).await;
    let client = caller(&node, 2).await;
    let data = Bytes::from(vec![7; 100_000]);
    let digest = Digest::of(&data);
    let size = data.len() as u64;

    let corrupt = client
        .put_as("", digest, size, &Bytes::from(vec![8; 100_000]))
        .await
        .unwrap_err();
    assert_eq!(corrupt.code(), Code::InvalidArgument);
    let short = client
        .put_as("", digest, size, &data.slice(..50_000))
        .await
        .unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    let long = client.put_as("", digest, 50_000, &data).await.unwrap_err();
    assert_eq!(long.code(), Code::InvalidArgument);
    // Refused by its announced size, before a byte of it is asked for.
    let huge = client
        .put_as("", digest, 1 << 40, &Bytes::new())
        .await
        .unwrap_err();
    assert_eq!(huge.code(), Code::ResourceExhausted);
    assert!(!client.has(digest).await);
    assert_eq!(client.status().await.blob_bytes, 0);

    assert!(client.put("", &data).await.unwrap());
    assert!(!client.put("", &data).await.unwrap());
    assert!(client.has(digest).await);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_a_node_has_blobs_kept() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path()), 1).await;
    let client = caller(&node, 2).await;
    let request = v1::KeepBlobsRequest {
        job_id: crate::support::job(1).to_string(),
        blobs: Vec::new(),
    };
    let status = client.stub.clone().keep_blobs(request).await.unwrap_err();
    assert_eq!(
        (status.code(), word(&status)),
        (Code::PermissionDenied, "not_a_node")
    );
    let absent = v1::FetchBlobRequest {
        digest: Bytes::copy_from_slice(Digest::of(b"absent").as_bytes()),
        offset: 0,
        length: 0,
    };
    let status = client.stub.clone().fetch_blob(absent).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_keeps_checkpoints_and_inputs_and_gives_artifacts_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(config(&dir.path().join("first")), 1).await;
    let joined = NodeConfig {
        bootstrap: first.mesh_addresses(),
        ..config(&dir.path().join("second"))
    };
    let second = start(joined, 4).await;
    // Each has the other's advert before there is anything to keep.
    for (node, other) in [(&first, &second), (&second, &first)] {
        let mut changes = node.mesh().changes();
        tokio::time::timeout(crate::support::LONG, async {
            while node.mesh().advert_of(&other.peer_id()).is_none() {
                changes.changed().await.unwrap();
            }
        })
        .await
        .unwrap();
    }
    let client = caller(&first, 2).await;
    let keeper = caller(&second, 2).await;
    let spec = spec(400, 6);
    client.put("", &digits(400)).await.unwrap();
    // What will be judged by. A copy that the first job has made of its input is given
    // up where the job ends before it.
    keeper.put("", &digits(400)).await.unwrap();
    let (events, _) = all(&mut client.run(1, &spec).await).await;

    // While a job runs, its inputs and its newest checkpoint are copied.
    let mut long = long_spec();
    if let Work::Train(train) = &mut long.work {
        train.checkpoint_every = 200;
    }
    client.put("", &digits(1000)).await.unwrap();
    let mut stream = client.run(3, &long).await;
    let kept = async {
        let mut made = VecDeque::new();
        loop {
            if let Some(RunUpdate::Event(event)) = next(&mut stream).await
                && let EventKind::Checkpoint { digest, .. } = event.kind
            {
                made.push_front(digest);
                made.truncate(8);
            }
            if keeper.has(Digest::of(&digits(1000))).await {
                for digest in &made {
                    if keeper.has(*digest).await {
                        return;
                    }
                }
            }
        }
    };
    tokio::time::timeout(crate::support::LONG, kept)
        .await
        .unwrap();

    // A job on the second node draws its weights from the first by hash alone.
    let artifact = events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::Artifact(artifact) => Some(artifact.clone()),
            _ => None,
        })
        .unwrap();
    assert!(!keeper.has(artifact.digest).await);
    let embermesh_job::spec::Work::Train(train) = &spec.work else {
        unreachable!()
    };
    let evaluate = embermesh_job::spec::JobSpec {
        work: embermesh_job::spec::Work::Evaluate(embermesh_job::spec::Evaluate {
            model: train.model.clone().into(),
            weights: Some(embermesh_job::spec::Input {
                digest: artifact.digest,
                size: artifact.size,
            }),
            data: train.data.clone(),
            loss: None,
            split: embermesh_job::spec::Split::All,
            batch: 16,
        }),
        ..spec.clone()
    };
    let (events, end) = all(&mut keeper.run(9, &evaluate).await).await;
    assert_eq!(end, None);
    assert!(
        events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Evaluated { .. }))
    );
    assert!(keeper.has(artifact.digest).await);
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}
