//! Storms hold for many seeds, a seed decides everything, and what is broken on purpose
//! is seen.

use embermesh_simulations::{
    faults::{Plan, Sabotage},
    storm::{Calm, weather, weather_broken},
};

fn plan() -> Plan {
    Plan::built_in().unwrap()
}

fn must_hold(plan: &Plan, seed: u64) -> Calm {
    weather(plan, seed).unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn storms_hold_for_many_seeds() {
    let first = std::env::var("EMBERMESH_SIM_SEED").map_or(1, |seed| seed.parse().unwrap());
    let plan = plan();
    let all: Vec<Calm> = (first..first + 10)
        .map(|seed| must_hold(&plan, seed))
        .collect();
    let sum = |count: fn(&Calm) -> u64| all.iter().map(count).sum::<u64>();
    // Each kind of trouble came about, or the storm was none.
    assert!(sum(|calm| calm.counts.lost) > 1_000);
    assert!(sum(|calm| calm.counts.duplicated) > 1_000);
    assert!(sum(|calm| calm.counts.crashes) > 20);
    assert!(
        sum(|calm| calm.counts.unanswered) > 0,
        "a crash between commit and answer"
    );
    assert!(
        sum(|calm| calm.counts.undone) > 0,
        "a crash before the commit"
    );
    assert!(sum(|calm| calm.counts.fenced) > 0);
    assert!(sum(|calm| calm.counts.replayed) > 0);
    assert!(sum(|calm| calm.counts.refused) > 100);
    assert!(sum(|calm| calm.more_attempts) > 20);
}

#[test]
fn one_seed_gives_one_trace() {
    let first = must_hold(&plan(), 5);
    assert_eq!(first, must_hold(&plan(), 5));
    assert_ne!(first.trace, must_hold(&plan(), 6).trace);
}

/// What the checks say of worlds that are broken on purpose: of one of a few seeds at
/// least.
fn seen(sabotage: Sabotage, says: &str) {
    seen_in(&plan(), sabotage, says);
}

fn seen_in(plan: &Plan, sabotage: Sabotage, says: &str) {
    let mut said = Vec::new();
    for seed in 1..=6 {
        if let Err(violation) = weather_broken(plan, seed, sabotage) {
            let text = violation.to_string();
            assert!(text.contains(&format!("--storm --seed {seed}")), "{text}");
            if text.contains(says) {
                return;
            }
            said.push(text);
        }
    }
    panic!("{sabotage:?} was not seen as {says:?}: {said:?}");
}

#[test]
fn an_attempt_that_begins_twice_is_seen() {
    seen(Sabotage::SkipFence, "was begun twice");
}

#[test]
fn an_answer_before_its_commit_is_seen() {
    seen(Sabotage::AnswerEarly, "has forgotten");
}

#[test]
fn a_hold_that_is_lost_is_seen() {
    seen(Sabotage::LoseHold, "the index does not start again");
}

#[test]
fn an_event_that_is_left_out_is_seen() {
    seen(Sabotage::SkipEvent, "event 18");
}

#[test]
fn a_table_that_keeps_what_is_over_is_seen() {
    // Longer than an advert lives after its last refresh, so that some are over.
    let plan = Plan {
        partition_s: 240,
        ..plan()
    };
    seen_in(&plan, Sabotage::StuckTable, "that is over");
}

#[test]
fn a_mesh_that_stays_in_two_is_seen() {
    seen(Sabotage::NoRedial, "does not know what node");
}

#[test]
fn an_advert_that_its_node_never_signed_is_seen() {
    seen(Sabotage::StolenKey, "was never signed");
}
