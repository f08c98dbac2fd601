//! The promise: what was acknowledged is there, whatever happens to the actor.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{digest::Digest, ids::JobId, keys::Keypair, time::UnixMillis};
use embermesh_job::{
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    metrics::Metrics,
    state::{Entropy, Settings, State, Submit},
    store::Store,
};

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
    }))
}

async fn start(path: &Path, full: bool) -> (Actor, Store, Handle) {
    let mut store = Store::open(path, key(1).peer_id()).await.unwrap();
    // The keys are written first, so that a full disk meets a working index.
    let settings = Settings::default();
    let mut entropy = Entropy::from_seed([3; 32]);
    if full {
        let snapshot = store.load().await.unwrap();
        let now = UnixMillis::now();
        let mut state =
            State::restore(settings.clone(), key(1), snapshot, now, &mut entropy).unwrap();
        store.commit(&state.take_writes()).await.unwrap();
        store.leave_no_room(true).await;
    }
    Actor::start(settings, key(1), store, entropy, Metrics::new())
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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_actor_being_dropped_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let mut acknowledged = BTreeSet::new();
    for round in 0..20u64 {
        let (actor, store, handle) = start(&path, false).await;
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
        // Any moment will do; a different one each round.
        sleep(Duration::from_micros(1_000 + round * 1_700)).await;
        running.abort();
        let _ = running.await;
        while let Some(job) = heard.recv().await {
            acknowledged.insert(job);
        }
    }
    let stored = stored(&path).await;
    assert!(
        acknowledged.len() > 100,
        "only {} submits were made",
        acknowledged.len()
    );
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(
        lost.is_empty(),
        "{} of {} were lost",
        lost.len(),
        acknowledged.len()
    );
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_index_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let (actor, store, handle) = start(&path, true).await;
    let cancel = CancellationToken::new();
    let running = tokio::spawn(actor.run(store, cancel.clone()));
    let mut refused = None;
    let mut accepted = BTreeSet::new();
    for n in 0..200 {
        match submit_one(&handle, n).await {
            Ok(job) => {
                accepted.insert(job);
            }
            Err(failed) => {
                refused = Some(failed);
                break;
            }
        }
    }
    let refused = refused.expect("the disk is full");
    assert!(matches!(refused, CallFailed::Store(_)));
    assert!(refused.to_string().contains("no space left"), "{refused}");
    // Reads go on, and see nothing that was refused.
    let Reply::Jobs(jobs) = handle
        .call(Command::Show {
            jobs: accepted.iter().copied().collect(),
        })
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(jobs.len(), accepted.len());
    cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(stored(&path).await, accepted);
}

#[tokio::test]
async fn many_submits_share_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let (actor, store, handle) = start(&path, false).await;
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
