//! Followers miss nothing and hear nothing twice, however slow they are.

use embermesh_job::event::{Event, EventKind, Outcome};

use super::*;
use crate::store::tests::{event, key, open_in};

async fn collect(mut follow: Follow) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Some(update) = follow.next().await {
        if let RunUpdate::Event(event) = update.unwrap() {
            seen.push(event.seq);
            // Some are slower than others.
            if seen.len().is_multiple_of(100) {
                tokio::task::yield_now().await;
            }
        }
    }
    seen
}

/// A node that does not stop.
fn open() -> CancellationToken {
    CancellationToken::new()
}

fn last(seq: u64) -> Event {
    Event {
        kind: EventKind::Finished {
            outcome: Outcome::Succeeded,
            receipt: Vec::new(),
            message: String::new(),
        },
        ..event(seq, 1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_from_anywhere_hear_every_event_once() {
    const EVENTS: u64 = 3 * IN_MEMORY as u64;
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let log = Log::new(store.clone(), key(1, 1), 0, None);
    let starts = [0, 1, 100, EVENTS - 1, EVENTS];
    let early: Vec<_> = starts
        .map(|after| tokio::spawn(collect(log.follow(after, &open()))))
        .into();
    let asleep = log.follow(0, &open());
    for seq in 1..=EVENTS {
        log.append(event(seq, 1)).await.unwrap();
        if seq == EVENTS / 2 {
            log.notify(Notice::Paused(true));
        }
    }
    let late = tokio::spawn(collect(log.follow(7, &open())));
    store.append(key(1, 1), &[last(EVENTS + 1)]).await.unwrap();
    log.show(last(EVENTS + 1), Some(AttemptEnd::Finished));
    for (after, follower) in starts.iter().zip(early) {
        assert_eq!(
            follower.await.unwrap(),
            (after + 1..=EVENTS + 1).collect::<Vec<_>>()
        );
    }
    assert_eq!(late.await.unwrap(), (8..=EVENTS + 1).collect::<Vec<_>>());
    // One that had not looked once until the end.
    assert_eq!(collect(asleep).await, (1..=EVENTS + 1).collect::<Vec<_>>());
    // One that has everything hears nothing.
    assert_eq!(collect(log.follow(EVENTS + 1, &open())).await, [0_u64; 0]);
}

#[tokio::test]
async fn an_attempt_that_ended_without_its_task_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let log = Log::new(store, key(1, 1), 0, None);
    log.append(event(1, 1)).await.unwrap();
    let mut follow = log.follow(0, &open());
    log.show_end(AttemptEnd::Gone {
        code: "drained".to_owned(),
        message: "the node stops".to_owned(),
    });
    assert!(matches!(follow.next().await, Some(Ok(RunUpdate::Event(_)))));
    let Some(Ok(RunUpdate::Notice(Notice::AttemptEnded { code, .. }))) = follow.next().await else {
        panic!("the end is said");
    };
    assert_eq!(code, "drained");
    assert!(follow.next().await.is_none());
}

#[tokio::test]
async fn a_node_that_stops_says_everything_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let log = Log::new(store, key(1, 1), 0, None);
    let closing = CancellationToken::new();
    let mut follow = log.follow(0, &closing);
    log.append(event(1, 1)).await.unwrap();
    log.notify(Notice::Draining);
    log.show_end(AttemptEnd::Gone {
        code: "drained".to_owned(),
        message: "the node stops".to_owned(),
    });
    // A follower that is not looked at until the node has nothing else to do.
    closing.cancel();
    assert!(matches!(follow.next().await, Some(Ok(RunUpdate::Event(_)))));
    assert!(matches!(
        follow.next().await,
        Some(Ok(RunUpdate::Notice(Notice::Draining)))
    ));
    assert!(matches!(
        follow.next().await,
        Some(Ok(RunUpdate::Notice(Notice::AttemptEnded { .. })))
    ));
    assert!(follow.next().await.is_none());

    // An attempt that has not ended by then is not waited for.
    let log = Log::new(log.store.clone(), key(2, 1), 0, None);
    log.append(event(1, 1)).await.unwrap();
    let mut follow = log.follow(0, &closing);
    assert!(matches!(follow.next().await, Some(Ok(RunUpdate::Event(_)))));
    assert!(follow.next().await.is_none());
}
