//! Whoever asks for an attempt may go away at any moment.

use std::{future::poll_fn, pin::pin, task::Poll};

use embermesh_crypto::{
    Keypair,
    digest::Digest,
    ids::{Epoch, TaskIndex, TokenId},
    token::{self, Bearer, Ceilings, Claims, Expectation, Method, Methods},
};
use embermesh_job::{
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Requirements, Train},
    units::{Bytes, Millis},
};

use super::*;
use crate::{
    site::tests::site_in,
    store::tests::{Everybody, key},
};

/// Longer than any way through the start of an attempt.
const MOST_AWAITS: u8 = 100;

/// A training whose data nobody has.
fn spec() -> JobSpec {
    let model = Model {
        input: vec![1, 8, 8],
        layers: [Op::flatten(), Op::dense(10)].map(Layer::new).into(),
    };
    let data = Dataset::DigitsCsv {
        file: Input {
            digest: Digest::of(b"absent"),
            size: 6,
        },
        classes: 10,
    };
    JobSpec {
        name: String::new(),
        work: Work::Train(Train::new(model, data)),
        requires: Requirements::default(),
        limits: Limits {
            memory: Bytes(1 << 20),
            wall: Millis(1000),
            output: Bytes(1 << 20),
            ..Limits::default()
        },
        attempts: 1,
    }
}

fn order(site: &Site, number: u8) -> TaskOrder {
    let client = Keypair::from_seed(&[2; 32]);
    let spec = spec();
    let now = UnixMillis::now();
    let claims = Claims {
        issuer: client.peer_id(),
        client: client.peer_id(),
        node: site.me(),
        job: key(number, 1).job,
        task: TaskIndex(0),
        epoch: Epoch(1),
        spec: spec.digest(),
        methods: Methods::all(),
        ceilings: Ceilings {
            memory_bytes: 1 << 30,
            wall_ms: 1000,
            output_bytes: 1 << 30,
        },
        token_id: TokenId([number; 16]),
        issued_at: now.as_secs(),
        not_before: now.as_secs(),
        expires_at: now.as_secs().saturating_add(60),
        revocation_epoch: 0,
    };
    let text = token::issue(&claims, &client).unwrap();
    let expected = Expectation {
        node: site.me(),
        bearer: Bearer::Peer(client.peer_id()),
        method: Method::Run,
        task: None,
        spec: None,
        now,
        trust: &Everybody,
    };
    TaskOrder {
        assignment: token::verify(&text, &expected).unwrap(),
        reports_to: None,
        rank: embermesh_job::turns::Rank::Guest,
        canonical: String::from_utf8(spec.canonical()).unwrap(),
        spec,
        resume: None,
        inputs: Vec::new(),
    }
}

/// Goes on with something until it has had to wait so often, and drops it there; `None`
/// then.
async fn until_await<T>(awaits: usize, run: impl Future<Output = T>) -> Option<T> {
    let mut run = pin!(run);
    let mut left = awaits;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        match run.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => {
                left -= 1;
                if left == 0 {
                    return Poll::Ready(None);
                }
                Poll::Pending
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_is_admitted_runs_wherever_the_one_who_asked_has_gone_away() {
    let dir = tempfile::tempdir().unwrap();
    let site = site_in(dir.path()).await;
    let tasks = Tasks::new(Arc::clone(&site));
    // Dropped before it was begun, the token is as good as it was.
    assert!(until_await(0, tasks.start(order(&site, 0))).await.is_none());
    for awaits in 1..=MOST_AWAITS {
        let started = until_await(awaits.into(), tasks.start(order(&site, awaits))).await;
        let task = task_of(key(awaits, 1));
        let found = tasks.find(task, Epoch(1)).await.unwrap();
        let running = found.and_then(|found| found.running);
        let running = running.unwrap_or_else(|| panic!("dropped at await {awaits}, it was lost"));
        running.stop(StopWhy::Cancelled).await;
        if started.is_some() {
            return;
        }
    }
    panic!("the start never came to its end");
}

#[tokio::test]
async fn a_stop_waits_for_what_is_being_started_and_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    let site = site_in(dir.path()).await;
    let tasks = Tasks::new(Arc::clone(&site));
    // Begun, and not yet admitted: it waits for its turn, which the test has.
    let turn = tasks.inner.starting.lock().await;
    assert!(until_await(1, tasks.start(order(&site, 1))).await.is_none());
    tokio::task::yield_now().await;
    let mut stopping = pin!(tasks.stop_all());
    assert!(until_await(1, stopping.as_mut()).await.is_none());
    drop(turn);
    assert!(stopping.await, "there was one to stop");
    assert!(tasks.all().is_empty());
    let attempt = site.store.attempt(task_of(key(1, 1))).await.unwrap();
    assert!(attempt.unwrap().end.is_some());
}

#[tokio::test]
async fn whoever_has_read_the_end_finds_nothing_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let site = site_in(dir.path()).await;
    let tasks = Tasks::new(Arc::clone(&site));
    let handle = tasks.start(order(&site, 1)).await.unwrap();
    let task = task_of(handle.key());
    // Said, while the attempt is still among those that run.
    handle.log().show_end(AttemptEnd::Finished);
    assert!(tasks.find_running(task).is_some());
    let found = tasks.find_now(task).await.unwrap().unwrap();
    assert!(found.running.is_none());
    handle.stop(StopWhy::Cancelled).await;
}
