//! Leases: renewed, lapsed, fenced.

use super::*;

fn running(world: &mut World, node: &Keypair) -> JobId {
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let report = world.started(task(job, 1));
    assert!(world.report(node, task(job, 1), report).unwrap());
    job
}

#[test]
fn heartbeats_keep_a_task_and_write_nothing() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = running(&mut world, &node);
    world.writes();
    for _ in 0..20 {
        world.wait(Duration::from_millis(100));
        let pulse = world.heartbeat(&node, &[task(job, 1)]);
        assert!(pulse.stop.is_empty() && !pulse.register);
        assert!(world.writes().is_empty());
    }
    assert_eq!(world.state_of(job), JobState::Running);
}

#[test]
fn a_lapsed_lease_raises_the_epoch_and_orders_the_task_elsewhere() {
    let mut world = World::new();
    let (first, second) = (key(1), key(2));
    world.register(&first, 1);
    let job = running(&mut world, &first);
    world.register(&second, 1);
    let checkpoint = embermesh_job::address::Checkpoint {
        blob: embermesh_job::address::BlobRef {
            digest: Digest::of(b"weights"),
            size: 7,
            holders: Vec::new(),
        },
        step: 4,
        seq: 3,
    };
    world
        .report(&first, task(job, 1), Report::Checkpoint(checkpoint.clone()))
        .unwrap();
    world.orders();
    for _ in 0..5 {
        world.wait(Duration::from_millis(100));
        world.heartbeat(&second, &[]);
    }
    let orders = world.orders();
    let (to, assignment) = run_order(&orders).expect("the second node is ordered to run");
    assert_eq!(to, second.peer_id());
    assert_eq!(assignment.epoch, Epoch(2));
    let resume = orders.iter().find_map(|(_, order)| match order {
        Order::Run(run) => run.resume.clone(),
        _ => None,
    });
    assert_eq!(resume, Some(checkpoint));

    // The first node comes back: it is told to stop, and is not believed.
    let pulse = world.heartbeat(&first, &[task(job, 1)]);
    assert_eq!(pulse.stop, [task(job, 1)]);
    let late = world.finished(&first, task(job, 1), Outcome::Succeeded);
    assert!(!world.report(&first, task(job, 1), late).unwrap());
    assert_ne!(world.state_of(job), JobState::Succeeded);
}

#[test]
fn a_token_that_nobody_presents_makes_way() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    for _ in 0..3 {
        world.wait(Duration::from_millis(110));
        world.heartbeat(&node, &[]);
    }
    let (to, assignment) = run_order(&world.orders()).expect("the second attempt is ordered");
    assert_eq!(to, node.peer_id());
    assert_eq!((assignment.job, assignment.epoch), (job, Epoch(2)));
}

#[test]
fn attempts_run_out_with_a_reason() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    for epoch in 1..=3 {
        assert_ne!(world.state_of(job), JobState::Failed);
        let failed = Report::AttemptFailed {
            code: "device".to_owned(),
            message: "the device went away".to_owned(),
        };
        assert!(world.report(&node, task(job, epoch), failed).unwrap());
        // With each loss the same node is given the job later.
        for _ in 0..1 << (epoch - 1) {
            assert_ne!(world.state_of(job), JobState::Assigned);
            world.wait(Duration::from_millis(100));
            world.heartbeat(&node, &[]);
        }
    }
    assert_eq!(world.state_of(job), JobState::Failed);
    let journal = &world.state.job(&job).unwrap().journal;
    let reason = journal.last().unwrap().reason.clone();
    assert!(reason.contains("the device went away"), "{reason}");
    assert_eq!(world.state.assigned() + world.state.queued(), 0);
}

#[test]
fn orders_not_taken_up_come_again_with_the_stream() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let failed = Report::AttemptFailed {
        code: "busy".to_owned(),
        message: String::new(),
    };
    world.report(&node, task(job, 1), failed).unwrap();
    assert!(
        run_order(&world.orders()).is_none(),
        "not at once on the node that failed"
    );
    world.wait(Duration::from_millis(100));
    assert!(run_order(&world.orders()).is_some());
    for _ in 0..2 {
        let Reply::Orders(orders) = world
            .handle(Command::Orders {
                node: node.peer_id(),
            })
            .unwrap()
        else {
            panic!()
        };
        assert!(
            orders.iter().any(|order| matches!(order, Order::Run(_))),
            "{orders:?}"
        );
    }
    let report = world.started(task(job, 2));
    world.report(&node, task(job, 2), report).unwrap();
    let Reply::Orders(orders) = world
        .handle(Command::Orders {
            node: node.peer_id(),
        })
        .unwrap()
    else {
        panic!()
    };
    assert!(
        !orders.iter().any(|order| matches!(order, Order::Run(_))),
        "{orders:?}"
    );
    let stranger = key(9).peer_id();
    let refused = world
        .handle(Command::Orders { node: stranger })
        .unwrap_err();
    assert!(matches!(refused, Refused::NotRegistered(_)));
}

#[test]
fn a_node_that_fell_silent_is_passed_over() {
    let mut world = World::new();
    world.register(&key(1), 4);
    world.wait(LEASE);
    assert!(world.submit(spec("a")).unwrap().assignment.is_none());
    assert_eq!(world.state.registry().live(), 0);
    world.heartbeat(&key(1), &[]);
    assert_eq!(world.state.queued(), 0, "placed when the node spoke again");
}

#[test]
fn a_leap_of_the_clock_punishes_nobody() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = running(&mut world, &node);
    world.now = world.now.saturating_add(Duration::from_secs(3_600));
    world.handle(Command::Grace).unwrap();
    world.handle(Command::Tick).unwrap();
    assert_eq!(world.state_of(job), JobState::Running);
    world.heartbeat(&node, &[task(job, 1)]);
    assert_eq!(world.state.job(&job).unwrap().epoch, Epoch::FIRST);
}

#[test]
fn a_leap_of_the_clock_leaves_the_nodes_alive() {
    for leap in [3_600_000, -3_600_000] {
        let mut world = World::new();
        world.register(&key(1), 1);
        world.now = UnixMillis(world.now.0.saturating_add_signed(leap));
        world.handle(Command::Grace).unwrap();
        assert_eq!(world.state.registry().live(), 1, "{leap}");
        world.wait(LEASE - Duration::from_millis(1));
        assert_eq!(world.state.registry().live(), 1, "{leap}");
        world.wait(Duration::from_millis(1));
        assert_eq!(world.state.registry().live(), 0, "{leap}");
    }
}

#[test]
fn a_clock_set_back_freezes_no_lease() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 2);
    let unpresented = world.submit(spec("b")).unwrap().job.job.id;
    let runs = running(&mut world, &node);
    world.now = UnixMillis(world.now.0 - 3_600_000);
    world.handle(Command::Grace).unwrap();
    let grace = settings().reregistration_grace;
    world.wait(LEASE + grace - Duration::from_millis(1));
    assert_eq!(
        world.state_of(runs),
        JobState::Running,
        "nobody is punished"
    );
    world.wait(Duration::from_millis(1));
    assert_eq!(world.state_of(runs), JobState::Queued);
    assert_eq!(world.state_of(unpresented), JobState::Queued);
}

#[test]
fn a_clock_set_back_freezes_no_retry() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let failed = Report::AttemptFailed {
        code: "busy".to_owned(),
        message: String::new(),
    };
    world.report(&node, task(job, 1), failed).unwrap();
    assert_eq!(world.state_of(job), JobState::Queued);
    world.now = UnixMillis(world.now.0 - 3_600_000);
    world.handle(Command::Grace).unwrap();
    world.wait(settings().heartbeat_interval);
    assert_eq!(world.state_of(job), JobState::Assigned);
}

#[test]
fn a_leap_of_the_clock_shortens_no_lease() {
    let mut world = World::with(Settings {
        assign_grace: Duration::from_secs(60),
        ..settings()
    });
    let node = key(1);
    world.register(&node, 2);
    let jobs = [
        world.submit(spec("a")).unwrap().job.job.id,
        running(&mut world, &node),
    ];
    let leases =
        |world: &World| jobs.map(|job| world.state.job(&job).unwrap().attempts[0].lease_until);
    let before = leases(&world);
    world.now = world.now.saturating_add(Duration::from_secs(5));
    world.handle(Command::Grace).unwrap();
    assert_eq!(leases(&world), before);
}

#[test]
fn an_idle_index_notices_who_is_dead_and_forgets_who_is_gone() {
    let mut world = World::new();
    let began = world.now;
    world.register(&key(1), 1);
    // Only what the state machine itself asks for wakes it.
    world.now = world.state.next_tick();
    assert_eq!(world.now, began.saturating_add(LEASE));
    world.handle(Command::Tick).unwrap();
    assert_eq!(world.state.registry().live(), 0);
    assert_eq!(world.state.registry().len(), 1);
    world.now = world.state.next_tick();
    assert_eq!(world.now, began.saturating_add(Duration::from_secs(300)));
    world.handle(Command::Tick).unwrap();
    assert!(world.state.registry().is_empty());
    assert!(world.heartbeat(&key(1), &[]).register);
}

#[test]
fn a_full_registry_makes_room_for_who_speaks_but_not_at_the_cost_of_the_living() {
    let mut world = World::with(Settings {
        nodes: 2,
        ..settings()
    });
    world.register(&key(1), 1);
    world.register(&key(2), 1);
    let advert = world.advert(&key(3), 1, 1, 1);
    let heard_of = advert.open().unwrap();
    let third = Command::Register {
        node: key(3).peer_id(),
        advert,
    };
    let refused = world.handle(third).unwrap_err();
    assert!(matches!(refused, Refused::TooManyNodes { most: 2 }));
    world.now = world.now.saturating_add(LEASE);
    // Hearsay is no reason to forget anyone.
    world.handle(Command::Adverts(vec![heard_of])).unwrap();
    assert!(world.state.registry().node(&key(3).peer_id()).is_none());
    world.register(&key(3), 1);
    world.register(&key(4), 1);
    assert_eq!(world.state.registry().len(), 2);
    assert_eq!(world.state.registry().live(), 2);
    assert!(world.heartbeat(&key(1), &[]).register);
}

#[test]
fn nodes_that_are_gone_leave_their_places() {
    let mut world = World::new();
    for n in 1..=20 {
        world.register(&key(n), 1);
        world.now = world.now.saturating_add(Duration::from_secs(60));
    }
    // An advert is good for five minutes, and so is the memory of who made it.
    assert_eq!(world.state.registry().len(), 5);
}

#[test]
fn a_node_whose_clock_is_far_ahead_is_forgotten_too() {
    let mut world = World::new();
    world.now = world.now.saturating_add(Duration::from_secs(1 << 30));
    let advert = world.advert(&key(1), 1, 1, 1);
    world.now = UnixMillis(world.now.0 - (1_000 << 30));
    let register = Command::Register {
        node: key(1).peer_id(),
        advert,
    };
    world.handle(register).unwrap();
    world.wait(Duration::from_secs(331));
    assert!(world.state.registry().is_empty());
}

#[test]
fn a_node_with_a_task_is_not_forgotten() {
    let mut world = World::with(Settings {
        assign_grace: Duration::from_secs(3_600),
        ..settings()
    });
    world.register(&key(1), 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    world.wait(Duration::from_secs(3_599));
    assert!(world.state.registry().address(&key(1).peer_id()).is_some());
    world.wait(Duration::from_secs(1));
    assert_eq!(world.state_of(job), JobState::Queued);
    world.handle(Command::Tick).unwrap();
    assert!(world.state.registry().is_empty());
}

#[test]
fn a_stop_that_was_not_obeyed_comes_again_with_the_stream() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = running(&mut world, &node);
    let caller = world.client.peer_id();
    world.handle(Command::Cancel { job, caller }).unwrap();
    let open = || Command::Orders {
        node: node.peer_id(),
    };
    let stops = |reply| match reply {
        Reply::Orders(orders) => orders.contains(&Order::Cancel(task(job, 1))),
        other => panic!("a stream was opened with {other:?}"),
    };
    assert!(stops(world.handle(open()).unwrap()));
    // Once a heartbeat does not name it, there is nothing left to stop.
    world.heartbeat(&node, &[]);
    assert!(!stops(world.handle(open()).unwrap()));
}

#[test]
fn a_node_cannot_keep_anothers_task() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = running(&mut world, &node);
    let thief = key(2);
    world.register(&thief, 1);
    let pulse = world.heartbeat(&thief, &[task(job, 1)]);
    assert_eq!(pulse.stop, [task(job, 1)]);
}

#[test]
fn a_node_that_never_begins_what_it_is_ordered_is_passed_over() {
    let mut world = World::new();
    // It claims many slots and begins nothing; it is the first choice all the same.
    let (boaster, honest) = (key(1), key(2));
    world.register(&boaster, 32);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    world.register(&honest, 1);
    let speak = |world: &mut World| {
        world.heartbeat(&key(1), &[]);
        world.heartbeat(&key(2), &[]);
    };
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(world.state.job(&job).unwrap().attempts.last().unwrap().node);
        if nodes.last() == Some(&honest.peer_id()) {
            break;
        }
        // Each has spoken, and the lease of the attempt lapses.
        for _ in 0..5 {
            speak(&mut world);
            world.wait(Duration::from_millis(100));
        }
    }
    let ignored = nodes.iter().filter(|node| **node == boaster.peer_id());
    assert!(ignored.count() <= 2, "an order and a token at most");
    assert_eq!(nodes.last(), Some(&honest.peer_id()), "{nodes:?}");
}
