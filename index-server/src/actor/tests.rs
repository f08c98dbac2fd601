//! The promise: what was acknowledged is there, whatever happens to the actor.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{digest::Digest, ids::JobId, keys::Keypair};
use embermesh_job::{
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    metrics::Metrics,
    state::{Entropy, Settings, Submit},
    store::Store,
};

mod billing;
mod ledger;
mod one_group;

fn key(n: u8) -> Arc<Keypair> {
    Arc::new(Keypair::from_seed(&[n; 32]))
}

fn submit(n: u128) -> Command {
    let spec = JobSpec {
        name: format!("job {n}"),
        work: Work::Train(Train {
            optimizer: Optimizer::default(),
            passes: 1,
            batch: 32,
            seed: 1,
            holdout: 0.0,
            report_every: 0,
            checkpoint_every: 0,
            ..Train::new(
                Model {
                    input: vec![64],
                    layers: vec![Layer::new(Op::dense(10))],
                },
                Dataset::DigitsCsv {
                    file: Input {
                        digest: Digest::of(b"digits"),
                        size: 6,
                    },
                    classes: 10,
                },
            )
        }),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: 3,
    };
    let canonical = Bytes::from(spec.canonical());
    Command::Submit(Box::new(Submit {
        client: key(2).peer_id(),
        digest: Digest::of(&canonical),
        canonical,
        spec,
        idempotency: n.to_be_bytes(),
        budget: None,
        tentative: false,
    }))
}

async fn start(path: &Path) -> (Actor, Store, Handle) {
    let store = Store::open(path, key(1).peer_id()).await.unwrap();
    let entropy = Entropy::from_seed([3; 32]);
    Actor::start(Settings::default(), key(1), store, entropy, Metrics::new())
        .await
        .unwrap()
}

async fn submit_one(handle: &Handle, n: u128) -> Result<JobId, CallFailed> {
    match handle.call(submit(n)).await? {
        Reply::Assigned(assigned) => Ok(assigned.job.job.id),
        Reply::Earlier(job) => Ok(job),
        other => panic!("{other:?}"),
    }
}

async fn stored(path: &Path) -> BTreeSet<JobId> {
    let mut store = Store::open(path, key(1).peer_id()).await.unwrap();
    let snapshot = store.load().await.unwrap();
    store.close().await;
    snapshot
        .jobs
        .iter()
        .map(|loaded| loaded.stored.job.id)
        .collect()
}

/// How often the actor is dropped.
const ROUNDS: u64 = 20;

/// How many submits are acknowledged before it is, each time.
const ACKNOWLEDGED: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_actor_being_dropped_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let (actor, store, handle) = start(&path).await;
        let running = tokio::spawn(actor.run(store, CancellationToken::new()));
        let (told, mut heard) = mpsc::channel(10_000);
        for submitter in 0..8u128 {
            let (handle, told) = (handle.clone(), told.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    let name = (u128::from(round) << 64) | (submitter << 32) | n;
                    let Ok(job) = submit_one(&handle, name).await else {
                        return;
                    };
                    // A read between two writes: a group with nothing to commit.
                    let Ok(_) = handle.call(Command::KeySet).await else {
                        return;
                    };
                    if told.send(job).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop((handle, told));
        for _ in 0..ACKNOWLEDGED {
            acknowledged.insert(heard.recv().await.expect("a submit is acknowledged"));
        }
        // Any moment after that will do; a different one each round.
        sleep(Duration::from_micros(round * 1_700)).await;
        running.abort();
        let _ = running.await;
        while let Some(job) = heard.recv().await {
            acknowledged.insert(job);
        }
    }
    assert!(acknowledged.len() >= ROUNDS as usize * ACKNOWLEDGED);
    let stored = stored(&path).await;
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(
        lost.is_empty(),
        "{} of {} were lost",
        lost.len(),
        acknowledged.len()
    );
}

/// Submits jobs until one is refused; what was accepted, and the refusal.
async fn fill(handle: &Handle, accepted: &mut BTreeSet<JobId>) -> CallFailed {
    for n in 0..1_000 {
        match submit_one(handle, n).await {
            Ok(job) => accepted.insert(job),
            Err(failed) => return failed,
        };
    }
    panic!("the disk is full")
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_index_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    // The keys are written with the start, so that a full disk meets a working index.
    let (actor, store, handle) = start(&path).await;
    let room = store.room();
    let mut writable = actor.writable();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(actor.run(store, cancel.clone()));
    room.leave_none(true);
    let mut accepted = BTreeSet::new();
    // Twice, because the writer makes its connection anew after the first time.
    for _ in 0..2 {
        let refused = fill(&handle, &mut accepted).await;
        assert!(matches!(refused, CallFailed::Store(_)));
        assert!(refused.to_string().contains("no space left"), "{refused}");
        assert!(!*writable.borrow_and_update());
    }
    // Reads go on, and see nothing that was refused.
    let show = Command::Show {
        jobs: accepted.iter().copied().collect(),
    };
    let Reply::Jobs(jobs) = handle.call(show).await.unwrap() else {
        panic!()
    };
    assert_eq!(jobs.len(), accepted.len());
    // Nobody calls, and the index finds out by itself that there is room again.
    room.leave_none(false);
    writable.wait_for(|writable| *writable).await.unwrap();
    for n in 2_000..2_010 {
        accepted.insert(submit_one(&handle, n).await.unwrap());
    }
    cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(stored(&path).await, accepted);
}

#[tokio::test]
async fn the_index_goes_on_at_once_when_a_call_finds_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let (actor, store, handle) = start(&path).await;
    let room = store.room();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(actor.run(store, cancel.clone()));
    room.leave_none(true);
    let mut accepted = BTreeSet::new();
    fill(&handle, &mut accepted).await;
    room.leave_none(false);
    accepted.insert(submit_one(&handle, 2_000).await.unwrap());
    cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(stored(&path).await, accepted);
}

#[tokio::test]
async fn many_submits_share_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let (actor, store, handle) = start(&path).await;
    // They queue up before the actor takes its first turn.
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let handle = handle.clone();
            tokio::spawn(async move { submit_one(&handle, n).await })
        })
        .collect();
    while handle.queued() < 100 {
        tokio::task::yield_now().await;
    }
    let metrics = actor.metrics();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(actor.run(store, cancel.clone()));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(
        metrics
            .render()
            .contains("embermesh_index_commits_total 1\n"),
        "{}",
        metrics.render()
    );
    cancel.cancel();
    running.await.unwrap().unwrap();
}
