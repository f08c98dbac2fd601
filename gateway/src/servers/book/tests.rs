//! Who gets what, who may speak of it, and what becomes of it when its server is gone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis, statement::DeviceKind};
use embermesh_dialects::{
    Dialect, ErrorCode, Failure,
    port::{
        Principal,
        servers::{OfServed, Package, ServerBeat, ServerDevice, ServerOffer},
    },
};
use embermesh_job::{
    spec::{Input, JobSpec, Limits, Requirements, Runtime, Script, Work},
    units::{Bytes as Size, MicroUnits},
};

use super::{
    Book, Given, Known, Lapsed, Lease, MAX_LOST, PLACES, SHUN, SILENCE, STOPPING, Spoken, Task,
    UNHEARD,
};

const NOW: UnixMillis = UnixMillis(1_000_000);
const FREE: MicroUnits = MicroUnits(0);

fn later(by: Duration) -> UnixMillis {
    NOW.saturating_add(by)
}

fn who(name: &str) -> Principal {
    Principal {
        dialect: Dialect::CyxWiz,
        name: name.to_owned(),
    }
}

pub(crate) fn known(owner: &str) -> Known {
    Known {
        owner: owner.to_owned(),
        offer: ServerOffer {
            port: 50052,
            assign_port: 50055,
            memory: 8 << 30,
            devices: vec![ServerDevice {
                kind: Some(DeviceKind::Cpu),
                name: "cpu".to_owned(),
                memory: 8 << 30,
                score: 0.0,
            }],
            region: "here".to_owned(),
            ..ServerOffer::default()
        },
        host: [192, 0, 2, 1].into(),
        heard: Some(NOW),
        kept: NOW,
        shunned: None,
        free_memory: None,
        stops: BTreeMap::new(),
    }
}

pub(crate) fn task(id: &str) -> Task {
    let program = Input {
        digest: Digest::of(b"print(1)"),
        size: 8,
    };
    Task {
        owner: who("ada"),
        id: id.to_owned(),
        spec: Arc::new(JobSpec {
            name: id.to_owned(),
            // What it is matters to whoever runs it, and nobody here.
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
            requires: Requirements::default(),
            limits: Limits {
                memory: Size(1 << 30),
                ..Limits::default()
            },
            attempts: 1,
        }),
        package: Package {
            config: Bytes::from_static(b"config"),
            data: Some(Digest::of(b"data")),
        },
        budget: None,
        hold: None,
        key: "0123".to_owned(),
        attempt: 0,
        lost: 0,
        lease: None,
    }
}

pub(crate) fn lease(server: &str, name: &str) -> Lease {
    Lease {
        server: server.to_owned(),
        name: name.to_owned(),
        given: NOW,
        taken: None,
        seen: NOW,
        port: 50052,
        price: FREE,
    }
}

fn requiring(id: &str, how: impl FnOnce(&mut Requirements)) -> Task {
    let mut task = task(id);
    how(&mut Arc::make_mut(&mut task.spec).requires);
    task
}

fn of(server: &str, job: &str) -> OfServed {
    OfServed {
        server: server.to_owned(),
        job: job.to_owned(),
    }
}

fn with_servers(ids: &[(&str, &str)]) -> Book {
    let mut book = Book::default();
    for (id, owner) in ids {
        book.enroll((*id).to_owned(), known(owner)).unwrap();
    }
    book
}

fn granted(book: &mut Book, number: i64, now: UnixMillis) -> Option<(String, String)> {
    let grant = book.grant(number, FREE, now)?;
    Some((grant.lease.server, grant.lease.name))
}

fn named(server: &str, name: &str) -> Option<(String, String)> {
    Some((server.to_owned(), name.to_owned()))
}

fn beat(book: &mut Book, who_: &str, server: &str, jobs: &[&str], now: UnixMillis) -> Vec<String> {
    let beat = ServerBeat {
        free_memory: Some(1),
        jobs: jobs.iter().map(|job| (*job).to_owned()).collect(),
    };
    book.beat(&who(who_), server, beat, now).unwrap()
}

fn code(spoken: Result<Spoken, Failure>) -> Result<Spoken, ErrorCode> {
    spoken.map_err(|failure| failure.code)
}

#[test]
fn jobs_are_spread_over_servers_that_have_room() {
    let mut book = with_servers(&[("a", "bob"), ("b", "bob")]);
    for number in 1..=10 {
        book.add(number, task(&format!("t{number}")), NOW);
    }
    let places = i64::from(PLACES);
    let mut had = BTreeMap::new();
    for number in 1..=2 * places {
        let (server, _) = granted(&mut book, number, NOW).unwrap();
        *had.entry(server).or_insert(0) += 1;
    }
    assert_eq!(had.into_values().collect::<Vec<_>>(), [places, places]);
    assert_eq!(granted(&mut book, 2 * places + 1, NOW), None);
    assert_eq!(granted(&mut book, 1, NOW), None, "somebody has it");
    // Memory is room too.
    let mut book = with_servers(&[("a", "bob")]);
    for number in 1..=2 {
        let mut large = task(&format!("t{number}"));
        Arc::make_mut(&mut large.spec).limits.memory = Size(5 << 30);
        book.add(number, large, NOW);
    }
    assert!(granted(&mut book, 1, NOW).is_some());
    assert_eq!(granted(&mut book, 2, NOW), None);
}

#[test]
fn a_server_is_given_what_it_fits_and_what_pays_for_it() {
    let dear = MicroUnits(3_600_000);
    let paying = |most: u64| {
        let mut task = requiring("t", |requires| requires.max_price = Some(MicroUnits(most)));
        task.budget = Some(MicroUnits(1));
        task
    };
    for (task, price, fits) in [
        (task("t"), FREE, true),
        (task("t"), dear, false),
        (paying(3_600_000), dear, true),
        (paying(3_599_999), dear, false),
        (
            requiring("t", |r| r.device = Some(DeviceKind::Cpu)),
            FREE,
            true,
        ),
        (
            requiring("t", |r| r.device = Some(DeviceKind::Cuda)),
            FREE,
            false,
        ),
        (
            requiring("t", |r| r.region = Some("here".to_owned())),
            FREE,
            true,
        ),
        (
            requiring("t", |r| r.region = Some("there".to_owned())),
            FREE,
            false,
        ),
    ] {
        let mut book = with_servers(&[("a", "bob")]);
        let requires = task.spec.requires.clone();
        book.add(1, task, NOW);
        assert_eq!(book.grant(1, price, NOW).is_some(), fits, "{requires:?}");
    }
    // What it says itself goes before what is usual.
    let mut own = known("bob");
    own.offer.price = Some(0);
    let mut book = Book::default();
    book.enroll("a".to_owned(), own).unwrap();
    book.add(1, task("t"), NOW);
    assert_eq!(book.grant(1, dear, NOW).unwrap().lease.price, FREE);
    // Nobody gets anything who is not there.
    let mut book = with_servers(&[("a", "bob")]);
    book.add(1, task("t"), NOW);
    let gone = later(SILENCE + Duration::from_millis(1));
    assert_eq!(granted(&mut book, 1, gone), None);
    assert!(granted(&mut book, 1, later(SILENCE)).is_some());
}

#[test]
fn a_server_speaks_of_what_it_has_and_of_nothing_else() {
    let mut book = with_servers(&[("a", "bob"), ("b", "eve")]);
    book.add(1, task("t"), NOW);
    book.add(2, task("u"), NOW);
    let speaks =
        |book: &mut Book, name: &str, of: OfServed| code(book.speaks(&who(name), &of, NOW));
    assert_eq!(
        speaks(&mut book, "bob", of("a", "t")),
        Err(ErrorCode::NotFound),
        "one that waits is nobody's"
    );
    assert_eq!(granted(&mut book, 1, NOW), named("a", "t"));
    for (name, of, said) in [
        ("bob", of("a", "t"), Ok(Spoken::Has(1))),
        ("bob", of("a", "u"), Err(ErrorCode::NotFound)),
        ("eve", of("a", "t"), Err(ErrorCode::Denied)),
        ("ada", of("a", "t"), Err(ErrorCode::Denied)),
        ("eve", of("b", "t"), Err(ErrorCode::NotFound)),
        ("bob", of("b", "t"), Err(ErrorCode::Denied)),
        ("bob", of("c", "t"), Err(ErrorCode::NotFound)),
    ] {
        assert_eq!(speaks(&mut book, name, of.clone()), said, "{name} {of:?}");
    }
    for (name, server, refusal) in [
        ("eve", "a", ErrorCode::Denied),
        ("bob", "c", ErrorCode::NotFound),
    ] {
        let refused = book.beat(&who(name), server, ServerBeat::default(), NOW);
        assert_eq!(refused.unwrap_err().code, refusal, "{name} {server}");
    }
}

#[test]
fn a_job_of_a_server_that_is_gone_begins_anew_and_late_words_are_refused() {
    let mut book = with_servers(&[("a", "bob")]);
    book.add(1, task("t"), NOW);
    let mut at = NOW;
    let mut names = Vec::new();
    for round in 1..=MAX_LOST {
        beat(&mut book, "bob", "a", &[], at);
        let (_, name) = granted(&mut book, 1, at).unwrap();
        assert!(!names.contains(&name), "each attempt has a name of its own");
        assert!(book.lapse(at.saturating_add(SILENCE)).is_empty());
        at = at.saturating_add(SILENCE + Duration::from_millis(1));
        let lapsed = Lapsed {
            number: 1,
            server: "a".to_owned(),
            again: round < MAX_LOST,
        };
        assert_eq!(book.lapse(at), [lapsed]);
        // It is back, and is told to stop whether it says that it has it or not.
        assert_eq!(
            beat(&mut book, "bob", "a", &[&name, "other"], at),
            book.stops("a")
        );
        assert!(book.stops("a").contains(&name));
        let late = book.speaks(&who("bob"), &of("a", &name), at);
        assert_eq!(code(late), Err(ErrorCode::Precondition));
        names.push(name);
    }
    assert_eq!(names[0], "t");
    // Another server has not heard the name.
    book.enroll("b".to_owned(), known("eve")).unwrap();
    beat(&mut book, "eve", "b", &[], at);
    beat(&mut book, "bob", "a", &[], at);
    assert_eq!(granted(&mut book, 1, at), named("b", "t"));
    let late = later(SILENCE + STOPPING * 2);
    assert!(beat(&mut book, "bob", "a", &[], late).is_empty());
}

#[test]
fn a_job_that_its_server_does_not_speak_of_is_not_with_it() {
    let mut book = with_servers(&[("a", "bob")]);
    book.add(1, task("t"), NOW);
    let grant = book.grant(1, FREE, NOW).unwrap();
    assert!(book.took(1, grant.attempt, NOW));
    let mut at = NOW;
    let step = SILENCE / 2;
    while at <= later(UNHEARD) {
        beat(&mut book, "bob", "a", &["t"], at);
        assert!(book.lapse(at).is_empty());
        at = at.saturating_add(step);
    }
    // It is there all the same, and has it no more.
    let until = at.saturating_add(UNHEARD);
    while at <= until {
        beat(&mut book, "bob", "a", &[], at);
        at = at.saturating_add(step);
    }
    assert_eq!(book.lapse(at).len(), 1);
}

#[test]
fn a_server_that_says_no_is_left_alone_for_a_while_and_may_have_the_job_later() {
    let mut book = with_servers(&[("a", "bob")]);
    book.add(1, task("t"), NOW);
    let grant = book.grant(1, FREE, NOW).unwrap();
    assert!(!book.refused(1, grant.attempt + 1, true, NOW));
    assert!(book.refused(1, grant.attempt, true, NOW));
    assert!(!book.took(1, grant.attempt, NOW));
    beat(&mut book, "bob", "a", &[], later(SILENCE));
    assert_eq!(granted(&mut book, 1, later(SILENCE)), None);
    let again = later(SHUN);
    assert!(beat(&mut book, "bob", "a", &["t"], again).is_empty());
    assert_eq!(granted(&mut book, 1, again), named("a", "t"));
    // One that did not answer may have begun: it shall stop that, and has another name.
    let attempt = book.task(1).unwrap().attempt;
    assert!(book.refused(1, attempt, false, again));
    let then = again.saturating_add(SHUN);
    assert_eq!(beat(&mut book, "bob", "a", &[], then), ["t"]);
    assert_eq!(granted(&mut book, 1, then), named("a", "t.1.3"));
}

#[test]
fn what_has_ended_is_answered_as_before() {
    let mut book = with_servers(&[("a", "bob")]);
    book.add(1, task("t"), NOW);
    book.grant(1, FREE, NOW).unwrap();
    let task = book.close(1).unwrap();
    let said = code(book.speaks(&who("bob"), &of("a", "t"), NOW));
    assert_eq!(said, Err(ErrorCode::Precondition), "not yet");
    book.ended(&task.lease.unwrap(), Some("7".to_owned()));
    let said = code(book.speaks(&who("bob"), &of("a", "t"), NOW));
    assert_eq!(said, Ok(Spoken::Ended(Some("7".to_owned()))));
}

#[test]
fn what_a_server_had_before_a_restart_is_still_its_own() {
    let mut book = Book::default();
    let mut before = known("bob");
    before.heard = None;
    book.enroll("a".to_owned(), before).unwrap();
    let given = Given {
        number: 1,
        at: NOW,
        end: None,
    };
    book.remember(("a".to_owned(), "t".to_owned()), given);
    let mut kept = task("t");
    (kept.attempt, kept.lease) = (1, Some(lease("a", "t")));
    let back = later(UNHEARD * 2);
    book.add(1, kept, back);
    assert!(book.lapse(back.saturating_add(SILENCE)).is_empty());
    let said = code(book.speaks(&who("bob"), &of("a", "t"), back));
    assert_eq!(said, Ok(Spoken::Has(1)));
    assert!(beat(&mut book, "bob", "a", &["t"], back).is_empty());
}
