//! Taking on, waiting, placing, cancelling.

use super::*;

#[test]
fn a_job_goes_to_a_free_node_with_a_token_for_its_owner() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let assigned = world.submit(spec("one")).unwrap();
    let assignment = assigned.assignment.unwrap();
    assert_eq!(assigned.job.job.state, JobState::Assigned);
    assert_eq!(assignment.node.peer, node.peer_id());
    assert_eq!(assignment.epoch, Epoch::FIRST);
    assert!(
        run_order(&world.orders()).is_none(),
        "the client presents the first attempt"
    );
    let writes = world.writes();
    assert_eq!(writes.jobs.len(), 1);
    assert_eq!(writes.specs.len(), 1);
    assert_eq!(writes.jobs[0].journal.first().unwrap().number, 1);
    assert!(world.writes().is_empty(), "nothing is written twice");
}

#[test]
fn a_job_waits_for_a_node_and_says_why() {
    let mut world = World::new();
    let nobody = world.submit(spec("early")).unwrap();
    assert!(nobody.assignment.is_none());
    assert_eq!(nobody.job.job.state, JobState::Queued);
    assert!(
        nobody.job.reason.contains("no live node"),
        "{}",
        nobody.job.reason
    );

    let mut big = spec("big");
    big.requires = memory(1 << 40);
    let big = world.submit(big).unwrap();
    world.register(&key(1), 1);
    assert_eq!(
        world.state_of(nobody.job.job.id),
        JobState::Assigned,
        "placed when a node came"
    );
    let id = big.job.job.id;
    assert_eq!(world.state_of(id), JobState::Queued);
    let watch = Command::Watch {
        job: id,
        caller: world.client.peer_id(),
        known: None,
    };
    let Reply::Assigned(seen) = world.handle(watch).unwrap() else {
        panic!()
    };
    assert_eq!(seen.job.passed_over.len(), 1);
    assert_eq!(seen.job.passed_over[0].node, key(1).peer_id());
    assert!(!seen.job.passed_over[0].code.is_empty());
}

#[test]
fn a_freed_slot_goes_to_the_job_that_waited_longest() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let first = world.submit(spec("a")).unwrap().job.job.id;
    let second = world.submit(spec("b")).unwrap().job.job.id;
    world.now = world.now.saturating_add(Duration::from_millis(5));
    let third = world.submit(spec("c")).unwrap().job.job.id;
    assert_eq!(world.state.queued(), 2);
    let report = world.finished(&node, task(first, 1), Outcome::Succeeded);
    assert!(world.report(&node, task(first, 1), report).unwrap());
    assert_eq!(world.state_of(first), JobState::Succeeded);
    assert_eq!(world.state_of(second), JobState::Assigned);
    assert_eq!(world.state_of(third), JobState::Queued);
}

#[test]
fn a_submit_sent_again_is_the_same_job() {
    let mut world = World::new();
    world.register(&key(1), 4);
    let client = world.client.peer_id();
    let first = world.submit_as(client, spec("one"), [9; 16]).unwrap();
    let again = world.submit_as(client, spec("one"), [9; 16]).unwrap();
    assert_eq!(first.job.job.id, again.job.job.id);
    assert_eq!(again.assignment.unwrap().epoch, Epoch::FIRST);
    let other = world
        .submit_as(key(101).peer_id(), spec("one"), [9; 16])
        .unwrap();
    assert_ne!(
        first.job.job.id, other.job.job.id,
        "a key is the client's own"
    );
    let refused = world.submit_as(client, spec("two"), [9; 16]).unwrap_err();
    assert!(matches!(refused, Refused::KeyReused { job } if job == first.job.job.id));
}

#[test]
fn queues_are_bounded_for_one_and_for_all() {
    let mut world = World::with(Settings {
        open_jobs: 3,
        open_jobs_per_client: 2,
        ..settings()
    });
    world.submit(spec("a")).unwrap();
    let second = world.submit(spec("b")).unwrap().job.job.id;
    let refused = world.submit(spec("c")).unwrap_err();
    assert!(
        matches!(refused, Refused::ClientQueueFull { most: 2 }),
        "{refused}"
    );
    world
        .submit_as(key(101).peer_id(), spec("d"), [1; 16])
        .unwrap();
    let refused = world
        .submit_as(key(102).peer_id(), spec("e"), [1; 16])
        .unwrap_err();
    assert!(
        matches!(refused, Refused::QueueFull { most: 3 }),
        "{refused}"
    );
    let caller = world.client.peer_id();
    world
        .handle(Command::Cancel {
            job: second,
            caller,
        })
        .unwrap();
    world.submit(spec("f")).unwrap();
}

#[test]
fn specs_have_a_bound_in_bytes() {
    let len = spec("a").canonical().len();
    let mut world = World::with(Settings {
        open_spec_bytes: 2 * len,
        ..settings()
    });
    world.submit(spec("a")).unwrap();
    world.submit(spec("b")).unwrap();
    assert!(matches!(
        world.submit(spec("c")).unwrap_err(),
        Refused::SpecsFull { .. }
    ));
}

#[test]
fn a_queued_job_is_cancelled_at_once_and_only_by_its_owner() {
    let mut world = World::new();
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let stranger = key(101).peer_id();
    let refused = world
        .handle(Command::Cancel {
            job,
            caller: stranger,
        })
        .unwrap_err();
    assert!(matches!(refused, Refused::NotOwner { .. }));
    let caller = world.client.peer_id();
    world.handle(Command::Cancel { job, caller }).unwrap();
    assert_eq!(world.state_of(job), JobState::Cancelled);
    assert_eq!(world.state.queued(), 0);
    world.handle(Command::Cancel { job, caller }).unwrap();
    world.register(&key(1), 1);
    assert_eq!(world.state_of(job), JobState::Cancelled);
}

#[test]
fn a_running_job_is_cancelled_by_an_order() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let report = world.started(task(job, 1));
    world.report(&node, task(job, 1), report).unwrap();
    assert_eq!(world.state_of(job), JobState::Running);
    world.orders();
    let caller = world.client.peer_id();
    world.handle(Command::Cancel { job, caller }).unwrap();
    let orders = world.orders();
    assert!(
        orders.iter().any(|(to, order)| *to == node.peer_id()
            && matches!(order, Order::Cancel(key) if *key == task(job, 1))),
        "{orders:?}"
    );
}

#[test]
fn slots_are_counted_between_adverts() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 3);
    // Two of the three are taken by others.
    let advert = world.advert(&node, 2, 3, 1);
    let command = Command::Heartbeat {
        node: node.peer_id(),
        advert: Some(advert),
        running: Vec::new(),
        draining: false,
    };
    world.handle(command).unwrap();
    assert!(world.submit(spec("a")).unwrap().assignment.is_some());
    assert!(world.submit(spec("b")).unwrap().assignment.is_none());
}

#[test]
fn a_draining_node_gets_nothing_new() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 3);
    let command = Command::Heartbeat {
        node: node.peer_id(),
        advert: None,
        running: Vec::new(),
        draining: true,
    };
    world.handle(command).unwrap();
    assert!(world.submit(spec("a")).unwrap().assignment.is_none());
}

#[test]
fn adverts_are_checked_against_their_bearer_and_the_network() {
    let mut world = World::new();
    let (node, other) = (key(1), key(2));
    let advert = world.advert(&node, 1, 1, 1);
    let stolen = Command::Register {
        node: other.peer_id(),
        advert: advert.clone(),
    };
    assert!(matches!(world.handle(stolen), Err(Refused::Advert { .. })));
    world.now = world.now.saturating_add(Duration::from_secs(3_600));
    let late = Command::Register {
        node: node.peer_id(),
        advert,
    };
    assert!(matches!(world.handle(late), Err(Refused::Advert { .. })));
    let mut content = (*world.advert(&node, 1, 1, 1).open().unwrap()).clone();
    content.network = "elsewhere".parse().unwrap();
    let foreign = Command::Register {
        node: node.peer_id(),
        advert: statement::sign(&content, &node).unwrap(),
    };
    let refused = world.handle(foreign).unwrap_err();
    assert!(refused.to_string().contains("elsewhere"), "{refused}");
}
