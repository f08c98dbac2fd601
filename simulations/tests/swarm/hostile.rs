//! Peers that do not keep to the rules, beside production meshes.

use embermesh_simulations::swarm::{
    Scenario,
    scenario::{Flood, Sybils, What},
};

use crate::support::{run, small, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_hostile_is_passed_on_and_its_senders_are_turned_away() {
    const IDENTITIES: usize = 18;
    let sybils = Sybils {
        identities: IDENTITIES,
        adverts_each: 700,
        victim_connections: 128,
        honest_changes: 4,
    };
    let scenario = Scenario {
        what: What::Sybils(sybils),
        ..small("sybils", 24, 111)
    };
    let report = run(&scenario).await;
    let hostile = IDENTITIES as f64;
    assert_eq!(value(&report, "forwarded"), 0.0, "{report}");
    assert_eq!(value(&report, "believed"), 0.0, "{report}");
    assert_eq!(value(&report, "sybils_let_in"), hostile, "{report}");
    // One in six is silent, and breaks no rule.
    let senders = hostile * 5.0 / 6.0;
    assert_eq!(value(&report, "sybils_turned_away"), senders, "{report}");
    assert!(
        value(&report, "honest_peers_at_the_victim") >= 3.0,
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_every_door_of_a_victim_does_not_cut_it_off() {
    let sybils = Sybils {
        identities: 60,
        adverts_each: 3,
        victim_connections: 16,
        honest_changes: 4,
    };
    let scenario = Scenario {
        what: What::Sybils(sybils),
        patience_s: 30,
        ..small("sybils", 16, 112)
    };
    let report = run(&scenario).await;
    assert_eq!(value(&report, "forwarded"), 0.0, "{report}");
    assert!(
        value(&report, "honest_peers_at_the_victim") >= 1.0,
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_adverts_arrive_in_a_flood() {
    let flood = Flood {
        per_second: 2_000,
        span_s: 3,
        senders: 4,
    };
    let scenario = Scenario {
        what: What::Flood(flood),
        ..small("flood", 10, 113)
    };
    let report = run(&scenario).await;
    assert!(value(&report, "offered") > 500.0, "{report}");
    assert!(value(&report, "honest_changes") >= 1.0, "{report}");
    assert!(value(&report, "table_max") <= 4_096.0, "{report}");
}
