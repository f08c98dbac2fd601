//! What must be remembered, and what must not be admitted.

use embermesh_crypto::{
    Keypair,
    digest::Digest,
    ids::{Epoch, JobId, PeerId, TaskIndex, TokenId},
    time::UnixMillis,
    token::{
        self, Assignment, Authority, Bearer, Ceilings, Claims, Expectation, IssuerTrust, Method,
        Methods, TaskRef,
    },
};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::TaskKey,
    event::{Artifact, Event, EventKind, Outcome},
    order::Report,
};

use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

pub(crate) struct Everybody;

impl IssuerTrust for Everybody {
    fn authority(&self, issuer: &PeerId, _: UnixMillis) -> Option<Authority> {
        Some(Authority {
            identity: *issuer,
            min_revocation_epoch: 0,
        })
    }

    fn is_revoked(&self, _: &PeerId, _: &TokenId) -> bool {
        false
    }
}

pub(crate) fn peer(seed: u8) -> PeerId {
    Keypair::from_seed(&[seed; 32]).peer_id()
}

pub(crate) fn key(number: u8, epoch: u64) -> TaskKey {
    TaskKey {
        job: JobId::v7(NOW, [number; 10]),
        task: TaskIndex(0),
        epoch: Epoch(epoch),
    }
}

fn task(number: u8) -> TaskRef {
    TaskRef {
        job: key(number, 1).job,
        task: TaskIndex(0),
    }
}

fn assignment(number: u8, epoch: u64) -> Assignment {
    let client = Keypair::from_seed(&[2; 32]);
    let claims = Claims {
        issuer: client.peer_id(),
        client: client.peer_id(),
        node: peer(1),
        job: key(number, 1).job,
        task: TaskIndex(0),
        epoch: Epoch(epoch),
        spec: Digest::of(b"spec"),
        methods: Methods::all(),
        ceilings: Ceilings {
            memory_bytes: 1000,
            wall_ms: 1000,
            output_bytes: 1000,
        },
        token_id: TokenId([number; 16]),
        issued_at: NOW.as_secs(),
        not_before: NOW.as_secs(),
        expires_at: NOW.as_secs().saturating_add(60),
        revocation_epoch: 0,
    };
    let text = token::issue(&claims, &client).unwrap();
    token::verify(
        &text,
        &Expectation {
            node: peer(1),
            bearer: Bearer::Peer(client.peer_id()),
            method: Method::Run,
            task: None,
            spec: None,
            now: NOW,
            trust: &Everybody,
        },
    )
    .unwrap()
}

async fn admit(
    store: &Store,
    number: u8,
    epoch: u64,
    resume_after: u64,
) -> Result<(), NotAdmitted> {
    let assignment = assignment(number, epoch);
    let new = NewAttempt {
        assignment: &assignment,
        asked: Ceilings {
            memory_bytes: 10,
            wall_ms: 10,
            output_bytes: 10,
        },
        reports_to: Some(peer(9)),
        resume_after,
        kind: "train",
        name: "digits",
    };
    store.admit(&new, NOW).await
}

fn refusal(result: Result<(), NotAdmitted>) -> &'static str {
    match result.unwrap_err() {
        NotAdmitted::Refused(refusal) => refusal.code(),
        NotAdmitted::Store(error) => panic!("{error}"),
    }
}

pub(crate) fn event(seq: u64, epoch: u64) -> Event {
    Event {
        seq,
        epoch: Epoch(epoch),
        at: NOW,
        kind: EventKind::Artifact(Artifact {
            name: format!("artifact {seq}"),
            digest: Digest::of(&seq.to_le_bytes()),
            size: seq,
        }),
    }
}

pub(crate) async fn open_in(dir: &std::path::Path) -> Store {
    Store::open(&dir.join("node.db"), peer(1)).await.unwrap()
}

fn failed(code: &str) -> Report {
    Report::AttemptFailed {
        code: code.to_owned(),
        message: String::new(),
    }
}

#[tokio::test]
async fn an_attempt_is_admitted_once_whatever_happens_between() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    admit(&store, 1, 2, 0).await.unwrap();
    assert_eq!(refusal(admit(&store, 1, 2, 0).await), "replayed");
    assert_eq!(refusal(admit(&store, 1, 1, 0).await), "stale_epoch");
    admit(&store, 2, 1, 0).await.unwrap();
    store.close().await;
    drop(store);
    let store = open_in(dir.path()).await;
    assert_eq!(refusal(admit(&store, 1, 2, 0).await), "replayed");
    admit(&store, 1, 3, 0).await.unwrap();
    let newest = store.attempt(task(1)).await.unwrap().unwrap();
    assert_eq!((newest.key, newest.end), (key(1, 3), None));
    assert_eq!(store.open_attempts().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_later_attempt_keeps_the_events_before_its_checkpoint_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    admit(&store, 1, 1, 0).await.unwrap();
    let events: Vec<Event> = (1..=9).map(|seq| event(seq, 1)).collect();
    store.append(key(1, 1), &events).await.unwrap();
    // Written twice is written once.
    store.append(key(1, 1), &events[..3]).await.unwrap();
    admit(&store, 1, 2, 5).await.unwrap();
    assert_eq!(store.last_event(task(1)).await.unwrap(), 5);
    assert_eq!(store.whole_until(task(1)).await.unwrap(), 5);
    let after = store.events(task(1), 2, 2).await.unwrap();
    assert_eq!(after, events[2..4]);
    // A log with a hole is not whole from the start.
    store.append(key(1, 2), &[event(8, 2)]).await.unwrap();
    assert_eq!(store.whole_until(task(1)).await.unwrap(), 0);
}

#[tokio::test]
async fn the_end_and_its_report_are_written_together_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    admit(&store, 1, 1, 0).await.unwrap();
    let last = Event {
        kind: EventKind::Finished {
            outcome: Outcome::Succeeded,
            receipt: vec![1, 2, 3],
            message: String::new(),
        },
        ..event(4, 1)
    };
    store.finish(key(1, 1), &last, Some(peer(9))).await.unwrap();
    // What comes after the end changes nothing of it.
    store
        .end_attempt(key(1, 1), "late", "", None, NOW)
        .await
        .unwrap();
    let attempt = store.attempt(task(1)).await.unwrap().unwrap();
    assert_eq!(attempt.end, Some(AttemptEnd::Finished));
    let waiting = store.next_report(peer(9)).await.unwrap().unwrap();
    assert_eq!(
        (waiting.key, waiting.report),
        (key(1, 1), Report::Event(Box::new(last)))
    );
    assert!(store.next_report(peer(8)).await.unwrap().is_none());
}

#[tokio::test]
async fn reports_wait_in_order_until_they_are_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let checkpoint = |seq| {
        Report::Checkpoint(Checkpoint {
            blob: BlobRef {
                digest: Digest::of(b"checkpoint"),
                size: 10,
                holders: Vec::new(),
            },
            step: seq,
            seq,
        })
    };
    for (kind, report) in [
        (ReportKind::Event, Report::Event(Box::new(event(1, 1)))),
        (ReportKind::Checkpoint, checkpoint(2)),
        (ReportKind::Checkpoint, checkpoint(3)),
        (ReportKind::End, failed("drained")),
    ] {
        store
            .post(peer(9), key(1, 1), kind, report, NOW)
            .await
            .unwrap();
    }
    store.close().await;
    drop(store);
    let store = open_in(dir.path()).await;
    let mut heard = Vec::new();
    while let Some(entry) = store.next_report(peer(9)).await.unwrap() {
        heard.push(entry.report);
        store.acknowledged(entry.id).await.unwrap();
    }
    assert_eq!(
        heard,
        [
            Report::Event(Box::new(event(1, 1))),
            checkpoint(3),
            failed("drained")
        ]
    );
    assert!(!store.any_report().await.unwrap());
}

#[tokio::test]
async fn ended_tasks_are_forgotten_after_their_time_and_running_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    for number in [1, 2] {
        admit(&store, number, 1, 0).await.unwrap();
        store.append(key(number, 1), &[event(1, 1)]).await.unwrap();
    }
    store
        .end_attempt(key(1, 1), "drained", "", None, NOW)
        .await
        .unwrap();
    assert!(store.forget_ended(NOW).await.unwrap().is_empty());
    let later = UnixMillis(NOW.0 + 1);
    let named = store.forget_ended(later).await.unwrap();
    assert_eq!(named, [event(1, 1)]);
    assert!(store.attempt(task(1)).await.unwrap().is_none());
    assert!(store.attempt(task(2)).await.unwrap().is_some());
    assert_eq!(store.last_event(task(2)).await.unwrap(), 1);
}

#[tokio::test]
async fn an_older_statement_never_replaces_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    store
        .keep_statement(peer(9), "key_set", 2, b"second")
        .await
        .unwrap();
    store
        .keep_statement(peer(9), "key_set", 1, b"first")
        .await
        .unwrap();
    assert_eq!(
        store.statements("key_set").await.unwrap(),
        [b"second".to_vec()]
    );
}

#[tokio::test]
async fn a_strangers_database_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_in(dir.path()).await);
    let path = dir.path().join("node.db");
    let other = Store::open(&path, peer(7)).await.err().unwrap();
    assert!(matches!(other, StoreError::OtherNode { .. }), "{other}");
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, [b'x'; 4096]).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&garbage, open).unwrap();
        let exposed = Store::open(&garbage, peer(1)).await.err().unwrap();
        assert!(exposed.to_string().contains("chmod 600"), "{exposed}");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&garbage, private).unwrap();
    }
    assert!(Store::open(&garbage, peer(1)).await.is_err());
    assert_eq!(std::fs::read(&garbage).unwrap(), [b'x'; 4096]);
}
