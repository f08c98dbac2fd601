//! Who gets what, who may speak of it, and what becomes of it when its worker is gone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use embermesh_crypto::{Digest, UnixMillis};
use embermesh_dialects::{
    Dialect, ErrorCode,
    port::{
        Principal,
        workers::{OfTask, Offer},
    },
};
use embermesh_job::{
    lifecycle::JobState,
    spec::{Input, JobSpec, Limits, Requirements, Runtime, Script, Work},
    units::Bytes,
};

use super::{Book, Known, MAX_LOST, SHUN, SILENCE, STOPPING, Task, name};

const NOW: UnixMillis = UnixMillis(1_000_000);

fn later(by: Duration) -> UnixMillis {
    NOW.saturating_add(by)
}

fn who(name: &str) -> Principal {
    Principal {
        dialect: Dialect::HiveMind,
        name: name.to_owned(),
    }
}

pub(crate) fn known(id: &str, owner: &str, cores: u32, gb: u64) -> Known {
    Known {
        owner: owner.to_owned(),
        offer: Offer {
            id: id.to_owned(),
            cores,
            memory: gb << 30,
            region: Some("here".to_owned()),
            ..Offer::default()
        },
        address: "192.0.2.1:50053".parse().unwrap(),
        heard: Some(NOW),
        shunned: None,
    }
}

fn worker(book: &mut Book, id: &str, owner: &str, cores: u32, gb: u64) {
    let id = (Dialect::HiveMind, id.to_owned());
    let known = known(&id.1, owner, cores, gb);
    book.enroll(id, known).unwrap();
}

pub(crate) fn task(gb: u64, region: Option<&str>) -> Task {
    let program = Input {
        digest: Digest::of(b"print(1)"),
        size: 8,
    };
    let spec = JobSpec {
        name: "t".to_owned(),
        work: Work::Script(Script {
            runtime: Runtime::Python,
            program,
            entry: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: None,
            inputs: BTreeMap::new(),
            outputs: Vec::new(),
            archive: true,
            cpu: None,
            fuel: None,
        }),
        requires: Requirements {
            region: region.map(str::to_owned),
            ..Requirements::default()
        },
        limits: Limits {
            memory: Bytes(gb << 30),
            ..Limits::default()
        },
        attempts: 1,
    };
    Task {
        owner: who("ada"),
        spec: Arc::new(spec),
        package: String::new(),
        attempt: 0,
        lost: 0,
        lease: None,
        result: None,
    }
}

fn of(number: i64, attempt: u32) -> OfTask {
    OfTask {
        worker: None,
        task: name(number, attempt),
    }
}

#[test]
fn a_worker_takes_what_it_has_cores_and_memory_for() {
    let mut book = Book::default();
    worker(&mut book, "big", "bob", 2, 4);
    worker(&mut book, "small", "bob", 8, 1);
    for number in 1..=4 {
        book.add(number, task(2, None), NOW);
    }
    book.add(5, task(1, Some("there")), NOW);
    book.add(6, task(1, None), NOW);
    let mut given = |number| book.grant(number, NOW).map(|grant| grant.worker.id);
    assert_eq!(given(1).as_deref(), Some("big"));
    assert_eq!(given(1), None, "it has it already");
    assert_eq!(given(2).as_deref(), Some("big"));
    assert_eq!(given(3), None, "there is no memory for a third");
    assert_eq!(given(5), None, "nobody is there");
    assert_eq!(given(6).as_deref(), Some("small"));
    assert_eq!(book.waiting(), [3, 4, 5]);
}

#[test]
fn one_that_is_silent_or_shunned_gets_nothing() {
    let mut book = Book::default();
    worker(&mut book, "w", "bob", 4, 0);
    book.add(1, task(1, None), NOW);
    let silent = later(SILENCE + Duration::from_millis(1));
    assert!(book.grant(1, silent).is_none());
    assert!(!book.workers(Dialect::HiveMind, silent)[0].live);
    assert!(book.workers(Dialect::Zisk, NOW).is_empty());
    let grant = book.grant(1, later(SILENCE)).unwrap();
    assert!(book.refused(1, grant.attempt, NOW));
    assert!(!book.refused(1, grant.attempt, NOW), "it waits again");
    book.heard(&who("bob"), "w", later(SHUN)).unwrap();
    assert!(
        book.grant(1, later(SHUN - Duration::from_millis(1)))
            .is_none()
    );
    let again = book.grant(1, later(SHUN)).unwrap();
    assert!(again.attempt > grant.attempt);
}

#[test]
fn a_worker_speaks_of_what_it_has_and_of_nothing_else() {
    let mut book = Book::default();
    worker(&mut book, "w", "bob", 4, 0);
    book.add(1, task(1, None), NOW);
    book.add(2, task(1, None), NOW);
    let code = |book: &mut Book, name: &str, of: &OfTask| {
        book.speaks(&who(name), of, NOW)
            .map_err(|failure| failure.code)
    };
    // One that waits is nobody's to speak of, whatever name is guessed.
    assert_eq!(code(&mut book, "bob", &of(1, 0)), Err(ErrorCode::Denied));
    let grant = book.grant(1, NOW).unwrap();
    assert_eq!(code(&mut book, "bob", &of(1, grant.attempt)), Ok(1));
    for (name, of, refusal) in [
        ("ada", of(1, grant.attempt), ErrorCode::Denied),
        ("bob", of(1, grant.attempt + 1), ErrorCode::Denied),
        ("bob", of(2, 1), ErrorCode::Denied),
        ("bob", of(3, 1), ErrorCode::NotFound),
        (
            "bob",
            OfTask {
                worker: None,
                task: "task-001".to_owned(),
            },
            ErrorCode::NotFound,
        ),
        (
            "bob",
            OfTask {
                worker: Some("other".to_owned()),
                ..of(1, grant.attempt)
            },
            ErrorCode::Denied,
        ),
    ] {
        assert_eq!(code(&mut book, name, &of), Err(refusal), "{name} {of:?}");
    }
    let stranger = book.heard(&who("ada"), "w", NOW).unwrap_err();
    assert_eq!(stranger.code, ErrorCode::Denied);
    let unknown = book.heard(&who("bob"), "v", NOW).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
}

#[test]
fn a_task_of_a_worker_that_is_gone_begins_anew_and_the_old_word_is_refused() {
    let mut book = Book::default();
    worker(&mut book, "w", "bob", 4, 0);
    book.add(1, task(1, None), NOW);
    let mut at = NOW;
    for round in 1..=MAX_LOST {
        book.heard(&who("bob"), "w", at).unwrap();
        let grant = book.grant(1, at).unwrap();
        assert!(book.lapse(at.saturating_add(SILENCE)).is_empty());
        at = at.saturating_add(SILENCE + Duration::from_millis(1));
        let lapsed = book.lapse(at);
        assert_eq!(lapsed, [(1, "w".to_owned(), round < MAX_LOST)]);
        book.heard(&who("bob"), "w", at).unwrap();
        let late = book.speaks(&who("bob"), &of(1, grant.attempt), at);
        assert_eq!(late.unwrap_err().code, ErrorCode::Denied);
    }
}

#[test]
fn a_stopped_task_stays_with_its_worker_and_keeps_its_first_reason() {
    let mut book = Book::default();
    worker(&mut book, "w", "bob", 4, 0);
    book.add(1, task(1, None), NOW);
    assert_eq!(book.stop(1, NOW, JobState::Cancelled, "first"), None);
    let grant = book.grant(1, NOW).unwrap();
    for reason in ["first", "second"] {
        let attempt = book.stop(1, NOW, JobState::Cancelled, reason);
        assert_eq!(attempt, Some(grant.attempt));
    }
    assert!(book.lapse(later(STOPPING + SILENCE)).is_empty());
    let lease = book.close(1).unwrap().lease.unwrap();
    assert_eq!(lease.stopping.unwrap().message, "first");
    assert!(book.close(1).is_none(), "it ends once");
}

#[test]
fn what_was_kept_has_the_usual_time_to_be_heard_of() {
    let mut book = Book::default();
    worker(&mut book, "w", "bob", 4, 0);
    let mut first = Book::default();
    worker(&mut first, "w", "bob", 4, 0);
    first.add(1, task(1, None), NOW);
    let kept = first.grant(1, NOW).unwrap().task;
    let back = later(Duration::from_secs(3600));
    book.add(1, kept, back);
    assert!(book.lapse(back.saturating_add(SILENCE)).is_empty());
    assert_eq!(book.speaks(&who("bob"), &of(1, 1), back).ok(), Some(1));
}
