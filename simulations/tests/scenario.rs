//! The scenario holds for many seeds, and a seed decides everything.

use embermesh_simulations::{Scenario, Violation, run, world::EPOCH};

fn scenario(seed: u64, nodes: usize, jobs: usize) -> Scenario {
    Scenario { seed, nodes, jobs }
}

fn must_hold(scenario: Scenario) -> embermesh_simulations::Summary {
    run(scenario).unwrap_or_else(|violation| panic!("{scenario:?}: {violation}"))
}

#[test]
fn a_hundred_nodes_lose_a_third_and_no_job() {
    let seed = std::env::var("EMBERMESH_SIM_SEED").map_or(1, |seed| seed.parse().unwrap());
    let summary = must_hold(scenario(seed, 100, 60));
    assert!(summary.whole_table.as_secs() <= 5, "{summary:?}");
    assert!(
        summary.more_attempts > 0,
        "some job must have moved: {summary:?}"
    );
    assert!(
        summary.fenced > 0,
        "some late report must have been refused: {summary:?}"
    );
}

#[test]
fn thirty_nodes_hold_for_twelve_seeds() {
    for seed in 1..=12 {
        must_hold(scenario(seed, 30, 25));
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let first = must_hold(scenario(5, 30, 20));
    assert_eq!(first, must_hold(scenario(5, 30, 20)));
    assert_ne!(first.trace, must_hold(scenario(6, 30, 20)).trace);
}

#[test]
fn the_checker_sees_a_gap_and_names_the_moment() {
    let mut world = embermesh_simulations::World::new(1, 3, Default::default()).unwrap();
    let job = embermesh_crypto::JobId::v7(EPOCH, [1; 10]);
    world.client.saw(EPOCH, job, 1..=1).unwrap();
    let gap = world.client.saw(EPOCH, job, 5..=5).unwrap_err();
    assert!(
        gap.to_string().contains("event 5 came in the place of 2"),
        "{gap}"
    );
    assert!(
        world.check_all_done(1).is_err(),
        "a job that nobody knows is missed"
    );
    world.peers[0].alive = true;
    world.peers[1].alive = true;
    let violation: Violation = world.check_tables().unwrap_err();
    assert!(violation.to_string().contains("--seed 1"), "{violation}");
}
