//! Several indexes: a client that goes elsewhere, nodes that have no room for what one
//! index sends because of what another has sent.

use super::{
    restarting::{Memory, restart},
    *,
};

fn watch(world: &mut World, job: JobId, caller: PeerId) {
    let watch = Command::Watch {
        job,
        caller,
        known: None,
    };
    world.handle(watch).unwrap();
}

/// Lets the first assignment lapse while the node lives.
fn lapse(world: &mut World, node: &Keypair) {
    for _ in 0..4 {
        world.wait(Duration::from_millis(110));
        world.heartbeat(node, &[]);
    }
}

fn busy() -> Report {
    Report::AttemptFailed {
        code: "busy".to_owned(),
        message: "every slot of this node is taken".to_owned(),
    }
}

#[test]
fn a_tentative_job_that_nobody_comes_for_is_never_ordered_and_is_cancelled() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = world.submit_tentatively(spec("a")).unwrap().job.job.id;
    assert_eq!(world.state_of(job), JobState::Assigned);
    // Somebody else who looks at it is not its client.
    watch(&mut world, job, key(50).peer_id());
    lapse(&mut world, &node);
    assert!(run_order(&world.orders()).is_none());
    assert_eq!(world.state_of(job), JobState::Cancelled);
    let journal = &world.state.job(&job).unwrap().journal;
    let reason = &journal.last().unwrap().reason;
    assert!(reason.contains("elsewhere"), "{reason}");
    // Its slot is free for the next, as soon as the node says so.
    world.heartbeat(&node, &[]);
    assert!(world.submit(spec("b")).unwrap().assignment.is_some());
}

#[test]
fn a_tentative_job_whose_client_is_heard_of_is_like_every_other() {
    for heard_by in ["watch", "renewal"] {
        let mut world = World::new();
        let node = key(1);
        world.register(&node, 1);
        let job = world.submit_tentatively(spec("a")).unwrap().job.job.id;
        let caller = world.client.peer_id();
        if heard_by == "watch" {
            watch(&mut world, job, caller);
        } else {
            let epoch = Epoch(1);
            let renew = Command::Renew { job, epoch, caller };
            world.handle(renew).unwrap();
        }
        lapse(&mut world, &node);
        let (_, assignment) = run_order(&world.orders()).expect("it is ordered again");
        assert_eq!((assignment.job, assignment.epoch), (job, Epoch(2)));
    }
}

#[test]
fn a_tentative_job_that_its_client_has_started_moves_when_its_node_dies() {
    let mut world = World::new();
    let (first, second) = (key(1), key(2));
    world.register(&first, 1);
    let job = world.submit_tentatively(spec("a")).unwrap().job.job.id;
    assert!(world.heartbeat(&first, &[task(job, 1)]).stop.is_empty());
    world.register(&second, 1);
    world.orders();
    for _ in 0..5 {
        world.wait(Duration::from_millis(100));
        world.heartbeat(&second, &[]);
    }
    let (to, _) = run_order(&world.orders()).expect("it is ordered elsewhere");
    assert_eq!(to, second.peer_id());
}

#[test]
fn who_has_yet_to_be_heard_of_is_known_after_a_restart() {
    let mut world = World::new();
    let mut store = Memory::default();
    let node = key(1);
    world.register(&node, 2);
    let left = world.submit_tentatively(spec("a")).unwrap().job.job.id;
    let claimed = world.submit_tentatively(spec("b")).unwrap().job.job.id;
    let client = world.client.peer_id();
    watch(&mut world, claimed, client);
    restart(&mut world, &mut store, Duration::from_secs(1));
    world.register(&node, 2);
    for _ in 0..20 {
        world.wait(Duration::from_millis(100));
        world.heartbeat(&node, &[]);
    }
    assert_eq!(world.state_of(left), JobState::Cancelled);
    assert_ne!(world.state_of(claimed), JobState::Cancelled);
    let ordered = world
        .orders()
        .into_iter()
        .filter_map(|(_, order)| match order {
            Order::Run(run) => Some(run.assignment.job),
            _ => None,
        });
    assert!(ordered.into_iter().all(|job| job == claimed));
}

#[test]
fn what_a_node_has_no_room_for_goes_elsewhere_and_is_never_used_up() {
    let mut world = World::new();
    let (full, other) = (key(1), key(2));
    world.register(&full, 1);
    let job = world.submit_tentatively(spec("a")).unwrap().job.job.id;
    // Its client has come, and another index was first: more often than a job has
    // attempts.
    let mut epoch = 1;
    for _ in 0..7 {
        assert!(world.report(&full, task(job, epoch), busy()).unwrap());
        assert_eq!(world.state_of(job), JobState::Queued);
        world.wait(settings().heartbeat_interval);
        world.heartbeat(&full, &[]);
        epoch += 1;
        let (to, assignment) = run_order(&world.orders()).expect("it is asked again");
        assert_eq!((to, assignment.epoch), (full.peer_id(), Epoch(epoch)));
    }
    world.report(&full, task(job, epoch), busy()).unwrap();
    world.register(&other, 1);
    let (to, assignment) = run_order(&world.orders()).expect("the other node has room");
    assert_eq!(to, other.peer_id());
    let end = world.finished(&other, task(job, assignment.epoch.0), Outcome::Succeeded);
    assert!(
        world
            .report(&other, task(job, assignment.epoch.0), end)
            .unwrap()
    );
    assert_eq!(world.state_of(job), JobState::Succeeded);
}

#[test]
fn slots_that_others_have_taken_are_not_given_away() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 2);
    let say = |world: &mut World, sequence: u64, free: u32, running: &[TaskKey]| {
        let advert = Some(world.advert(&node, sequence, 2, free));
        let running = running.iter().map(|key| TaskHeartbeat {
            key: *key,
            latest: None,
            paused: false,
        });
        let heartbeat = Command::Heartbeat {
            node: node.peer_id(),
            advert,
            running: running.collect(),
            draining: false,
        };
        world.handle(heartbeat).unwrap();
    };
    // One slot is another index's.
    say(&mut world, 2, 1, &[]);
    let first = world.submit(spec("a")).unwrap().job.job.id;
    assert_eq!(world.state_of(first), JobState::Assigned);
    let second = world.submit(spec("b")).unwrap().job.job.id;
    assert_eq!(world.state_of(second), JobState::Queued);
    // Ours runs, and theirs goes on.
    say(&mut world, 3, 0, &[task(first, 1)]);
    assert_eq!(world.state_of(second), JobState::Queued);
    // Theirs has ended.
    say(&mut world, 4, 1, &[task(first, 1)]);
    assert_eq!(world.state_of(second), JobState::Assigned);
}
