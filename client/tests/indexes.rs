//! Several indexes as one, each doing as a script says.

// What does not hold fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use embermesh_client::{Client, ClientError, Indexes, Options};
use embermesh_crypto::{Keypair, digest::Digest, ids::Epoch};
use embermesh_job::{
    address::PeerAddress,
    assignment::NodeAssignment,
    lifecycle::JobState,
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Requirements, Train, Work},
    units::Bytes,
};
use embermesh_proto::v1;
use support::{Server, Shown};
use tonic::Status;

fn spec() -> JobSpec {
    let model = Model {
        input: vec![4],
        layers: vec![Layer::new(Op::dense(3))],
    };
    let data = Dataset::DigitsCsv {
        file: Input {
            digest: Digest::of(b"data"),
            size: 4,
        },
        classes: 3,
    };
    JobSpec {
        name: "scripted".to_owned(),
        work: Work::Train(Train {
            passes: 1,
            batch: 8,
            ..Train::new(model, data)
        }),
        requires: Requirements::default(),
        limits: Limits {
            memory: Bytes(1 << 30),
            ..Limits::default()
        },
        attempts: 3,
    }
}

fn key() -> Arc<Keypair> {
    Arc::new(Keypair::from_seed(&[1; 32]))
}

fn indexes(servers: &[&Server]) -> Indexes {
    let targets = servers.iter().map(|server| server.address.parse().unwrap());
    Indexes::new(targets.collect(), key(), Options::default())
}

async fn two() -> ([Shown; 2], [Server; 2]) {
    let shown = [Shown::new(11), Shown::new(12)];
    let servers = [
        shown[0].serve("127.0.0.1:0").await,
        shown[1].serve("127.0.0.1:0").await,
    ];
    (shown, servers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_without_an_answer_goes_to_the_next_index_and_is_tentative_at_both() {
    let ([left, right], servers) = two().await;
    left.answer(Err(Status::unavailable("it stops")));
    let all = indexes(&[&servers[0], &servers[1]]);
    let (client, submitted) = all.submit_for(&spec(), None, Duration::ZERO).await.unwrap();
    assert_eq!(submitted.job.id, right.job);
    assert_eq!(client.target().address, servers[1].address);
    let (sent, taken) = (left.submits(), right.submits());
    assert_eq!((sent.len(), taken.len()), (1, 1));
    assert!(sent[0].tentative && taken[0].tentative);
    assert_ne!(sent[0].idempotency_key, taken[0].idempotency_key);
    assert_eq!(sent[0].spec, taken[0].spec);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_is_passed_over_and_a_refusal_is_final() {
    let ([left, right], [first, second]) = two().await;
    let all = indexes(&[&first, &second]);
    right.answer(Err(Status::permission_denied("not by this key")));
    first.stop().await;
    let error = all
        .submit_for(&spec(), None, Duration::ZERO)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Refused { .. }), "{error}");
    assert!(left.submits().is_empty());
    // The first that answers is taken for everything else.
    let client = all.connect().await.unwrap();
    assert_eq!(client.target().address, second.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_came_and_was_given_up_is_sent_anew() {
    let ([left, right], servers) = two().await;
    left.answer(Err(Status::unavailable("it is killed")));
    right.answer(Err(Status::unavailable("so is this one")));
    // Back, and nobody has come for the job meanwhile.
    left.answer(Ok(v1::JobState::Cancelled));
    let all = indexes(&[&servers[0], &servers[1]]);
    let patience = Duration::from_secs(20);
    let (_, submitted) = all.submit_for(&spec(), None, patience).await.unwrap();
    assert_eq!(submitted.job.state, JobState::Queued);
    let keys: Vec<_> = left
        .submits()
        .into_iter()
        .map(|sent| sent.idempotency_key)
        .collect();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], keys[1], "the same submit is asked for first");
    assert_ne!(keys[1], keys[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_index_left_each_is_named_with_the_reason() {
    let (_, [first, second]) = two().await;
    let all = indexes(&[&first, &second]);
    let addresses = [first.address.clone(), second.address.clone()];
    first.stop().await;
    second.stop().await;
    for error in [
        all.connect().await.unwrap_err(),
        all.submit_for(&spec(), None, Duration::ZERO)
            .await
            .unwrap_err(),
        all.jobs(&[], 10).await.unwrap_err(),
    ] {
        let said = error.to_string();
        assert!(matches!(error, ClientError::NoIndex { .. }), "{said}");
        assert!(
            addresses
                .iter()
                .all(|address| said.contains(address.as_str())),
            "{said}"
        );
        assert!(said.contains("--index"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_spoken_of_with_what_is_remembered_while_its_index_is_away() {
    let ([shown, _], [first, _second]) = two().await;
    let peer = Keypair::from_seed(&[2; 32]).peer_id();
    let remembered = NodeAssignment {
        job: shown.job,
        task: embermesh_crypto::TaskIndex(0),
        epoch: Epoch(3),
        node: PeerAddress {
            peer,
            tls: vec!["127.0.0.1:1".to_owned()],
            mesh: Vec::new(),
        },
        token: "token".to_owned(),
        expires_at: embermesh_crypto::UnixMillis(5),
    };
    let met = support::client(&first).await;
    let whose = (met.index_peer(), first.address.clone());
    first.stop().await;
    let of_job = |held| Client::of_job(whose.clone(), held, key(), Options::default()).unwrap();
    let held = of_job(Some(remembered.clone())).assignment(shown.job).await;
    assert_eq!(held.unwrap(), remembered);
    // Of another job nothing is remembered.
    let other = Shown::new(13).job;
    let error = of_job(Some(remembered))
        .assignment(other)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(of_job(None).assignment(shown.job).await.is_err());
}
