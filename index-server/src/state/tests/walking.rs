//! Queues that are longer than one pass of placement.

use super::*;
use crate::state::settings::PLACEMENTS_PER_PASS;

/// Submits so many jobs that need no more than any node has.
fn submit_many(world: &mut World, jobs: usize) -> Vec<JobId> {
    (0..jobs)
        .map(|_| world.submit(spec("a")).unwrap().job.job.id)
        .collect()
}

/// Submits jobs that no node fits, enough of them to fill a pass of placement.
fn submit_hopeless(world: &mut World) {
    for _ in 0..PLACEMENTS_PER_PASS {
        let mut hopeless = spec("hopeless");
        hopeless.requires = memory(1 << 40);
        world.submit(hopeless).unwrap();
    }
}

/// Ticks for as long as the state machine says that there is something to do.
fn settle(world: &mut World) {
    for _ in 0..100 {
        if world.state.next_tick() > world.now {
            return;
        }
        world.handle(Command::Tick).unwrap();
    }
    panic!("the index does not come to rest");
}

#[test]
fn a_long_queue_is_first_come_first_served() {
    let mut world = World::new();
    let jobs = submit_many(&mut world, 1_100);
    let node = key(1);
    world.register(&node, 1);
    for (n, job) in jobs.iter().enumerate() {
        settle(&mut world);
        assert_eq!(world.state_of(*job), JobState::Assigned, "job {n}");
        let report = world.finished(&node, task(*job, 1), Outcome::Succeeded);
        assert!(world.report(&node, task(*job, 1), report).unwrap());
    }
}

#[test]
fn a_long_queue_is_walked_to_its_end() {
    let mut world = World::new();
    submit_hopeless(&mut world);
    let last = submit_many(&mut world, 3);
    world.register(&key(1), 2);
    settle(&mut world);
    let placed = |job: &JobId| world.state_of(*job) == JobState::Assigned;
    assert_eq!(
        last.iter().map(placed).collect::<Vec<_>>(),
        [true, true, false]
    );
}

#[test]
fn who_comes_while_the_queue_is_walked_comes_last() {
    let mut world = World::new();
    submit_hopeless(&mut world);
    let waits = submit_many(&mut world, 1)[0];
    world.register(&key(1), 1);
    assert_eq!(world.state_of(waits), JobState::Queued, "not reached yet");
    let comes = world.submit(spec("a")).unwrap().job.job.id;
    settle(&mut world);
    assert_eq!(world.state_of(waits), JobState::Assigned);
    assert_eq!(world.state_of(comes), JobState::Queued);
}

#[test]
fn what_becomes_free_all_the_time_does_not_keep_a_walk_at_the_front() {
    let mut world = World::new();
    submit_hopeless(&mut world);
    let waits = submit_many(&mut world, 1)[0];
    for n in 1..=3 {
        world.register(&key(n), 1);
    }
    world.handle(Command::Tick).unwrap();
    assert_eq!(world.state_of(waits), JobState::Assigned);
    settle(&mut world);
}
