//! What a job is billed.

use embermesh_crypto::{Digest, JobId, TokenId, keys::Keypair};

use super::*;
use crate::lifecycle::{AttemptEnd, Input};

const HOUR: u64 = 3_600_000;

fn peer(n: u8) -> PeerId {
    Keypair::from_seed(&[n; 32]).peer_id()
}

fn at(ms: u64) -> UnixMillis {
    UnixMillis(1_790_000_000_000 + ms)
}

fn terms() -> Terms {
    Terms {
        epoch: Epoch(1),
        at: at(0),
        price: MicroUnits(HOUR),
        at_most: MicroUnits(HOUR),
        under: None,
    }
}

/// A job of peer 1 on peer 2 that started after 10 ms and is cancelled after 100.
fn cancelled() -> Job {
    let mut job = placed();
    let started = Input::Started { epoch: Epoch(1) };
    job.handle(started, at(10)).unwrap();
    job.handle(Input::Cancel { by: peer(1) }, at(100)).unwrap();
    job
}

fn placed() -> Job {
    let id = JobId::v7(at(0), [1; 10]);
    let mut job = Job::new(id, "job".into(), peer(1), Digest::of(b"spec"), 3, at(0));
    let assign = Input::Assign {
        node: peer(2),
        token_id: TokenId([7; 16]),
        lease_until: at(1_000),
    };
    job.handle(assign, at(0)).unwrap();
    job
}

fn owed(job: &Job, budget: u64, wall: u64, ran: Option<u64>) -> u64 {
    let owed = terms().owed(job, MicroUnits(budget), Millis(wall), ran.map(Millis));
    owed.map_or(0, |(to, amount)| {
        assert_eq!(to, peer(2));
        amount.0
    })
}

#[test]
fn what_ran_is_paid_and_no_more_than_budget_limit_and_clock_allow() {
    let job = cancelled();
    assert_eq!(owed(&job, 1_000, HOUR, None), 90);
    assert_eq!(owed(&job, 80, HOUR, None), 80);
    assert_eq!(owed(&job, 1_000, 50, None), 50);
    // A node that signs for more time than went by is not believed.
    assert_eq!(owed(&job, 1_000, HOUR, Some(60)), 60);
    assert_eq!(owed(&job, 1_000, HOUR, Some(HOUR)), 100);
}

#[test]
fn what_never_started_costs_nothing() {
    let mut job = placed();
    job.handle(Input::Cancel { by: peer(1) }, at(100)).unwrap();
    assert_eq!(owed(&job, 1_000, HOUR, None), 0);
}

#[test]
fn what_the_node_lost_costs_nothing() {
    for code in ["lease_lapsed", "node_restarted", "out_of_memory"] {
        let mut job = cancelled();
        job.attempts[0].ended = Some(AttemptEnd {
            at: at(100),
            code: code.to_owned(),
            message: String::new(),
        });
        assert_eq!(owed(&job, 1_000, HOUR, None), 0, "{code}");
    }
    let mut later = terms();
    later.epoch = Epoch(2);
    let none = later.owed(&cancelled(), MicroUnits(1_000), Millis(HOUR), None);
    assert_eq!(none, None);
}

#[test]
fn a_node_that_gives_up_is_not_paid_by_calling_it_an_end() {
    for code in ["finished", "cancelled"] {
        let mut job = placed();
        job.handle(Input::Started { epoch: Epoch(1) }, at(10))
            .unwrap();
        let failed = Input::AttemptFailed {
            epoch: Epoch(1),
            code: code.to_owned(),
            message: String::new(),
        };
        job.handle(failed, at(100)).unwrap();
        job.handle(Input::Cancel { by: peer(1) }, at(101)).unwrap();
        assert_eq!(owed(&job, 1_000, HOUR, None), 0, "{code}");
    }
}

#[test]
fn nobody_pays_himself() {
    let mut job = cancelled();
    job.attempts[0].node = peer(1);
    let none = terms().owed(&job, MicroUnits(1_000), Millis(HOUR), None);
    assert_eq!(none, None);
}

#[test]
fn a_quote_spans_the_cheapest_and_the_dearest() {
    let mut quote = Quote::default();
    for price in [30, 10, 20] {
        quote.add(MicroUnits(price), Millis(2 * HOUR));
    }
    let (least, most) = (MicroUnits(20), MicroUnits(60));
    assert_eq!(
        quote,
        Quote {
            nodes: 3,
            least,
            most
        }
    );
}
