//! Lists of jobs and of nodes, and what is known of nodes beside their adverts.

use super::*;

#[test]
fn a_list_costs_no_placement() {
    let mut world = World::new();
    world.register(&key(1), 1);
    let runs = world.submit(spec("a")).unwrap().job.job.id;
    let mut big = spec("big");
    big.requires = memory(1 << 40);
    let waits = world.submit(big).unwrap();
    assert_eq!(waits.job.passed_over.len(), 1);
    let jobs = vec![waits.job.job.id, runs];
    let Reply::Jobs(jobs) = world.handle(Command::Show { jobs }).unwrap() else {
        panic!()
    };
    let reasons: Vec<_> = jobs.iter().map(|job| job.reason.as_str()).collect();
    assert_eq!(reasons, ["waits for a node", "placed"]);
    for job in jobs {
        assert!(job.passed_over.is_empty() && job.job.journal.is_empty());
    }
    assert!(!world.state.job(&runs).unwrap().journal.is_empty());
}

/// Every node that a test has.
const NODES: Command = Command::Nodes {
    after: None,
    most: 100,
};

#[test]
fn nodes_are_listed_by_key_from_any_of_them_on() {
    let mut world = World::new();
    let mut peers: Vec<PeerId> = (1..=7)
        .map(|n| {
            world.register(&key(n), 1);
            key(n).peer_id()
        })
        .collect();
    peers.sort_unstable();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = Command::Nodes { after, most: 3 };
        let Reply::Nodes(nodes) = world.handle(page).unwrap() else {
            panic!()
        };
        assert!(nodes.len() <= 3);
        let Some(last) = nodes.last() else { break };
        after = Some(last.address.peer);
        seen.extend(nodes.into_iter().map(|node| node.address.peer));
    }
    assert_eq!(seen, peers);
}

#[test]
fn of_equal_nodes_the_nearer_one_is_taken_while_it_is_known_to_be() {
    let mut world = World::new();
    let (near, far) = (key(1).peer_id(), key(2).peer_id());
    world.register(&key(1), 40);
    world.register(&key(2), 40);
    let ms = Duration::from_millis;
    let mut near_of_ten = |round_trips: &[(PeerId, Duration)]| {
        let round_trips = round_trips.iter().copied().collect();
        world.handle(Command::RoundTrips(round_trips)).unwrap();
        let nodes: Vec<PeerId> = (0..10)
            .map(|_| {
                let assigned = world.submit(spec("a")).unwrap();
                let node = assigned.assignment.unwrap().node.peer;
                let (job, caller) = (assigned.job.job.id, world.client.peer_id());
                world.handle(Command::Cancel { job, caller }).unwrap();
                world.heartbeat(&key(1), &[]);
                world.heartbeat(&key(2), &[]);
                node
            })
            .collect();
        nodes.iter().filter(|node| **node == near).count()
    };
    assert_eq!(near_of_ten(&[(near, ms(12)), (far, ms(180))]), 10);
    assert_eq!(near_of_ten(&[(near, ms(180)), (far, ms(12))]), 0);
    for equal in [&[(near, ms(1)), (far, ms(3))][..], &[]] {
        let near = near_of_ten(equal);
        assert!((1..10).contains(&near), "{near}: equals share the load");
    }
}

#[test]
fn a_node_only_heard_of_is_listed_and_given_nothing() {
    let mut world = World::new();
    let advert = world.advert(&key(1), 1, 4, 4).open().unwrap();
    world.handle(Command::Adverts(vec![advert])).unwrap();
    let Reply::Nodes(nodes) = world.handle(NODES).unwrap() else {
        panic!()
    };
    assert_eq!(nodes.len(), 1);
    assert!(!nodes[0].registered && nodes[0].live);
    assert!(world.submit(spec("a")).unwrap().assignment.is_none());
    world.wait(Duration::from_secs(600));
    let Reply::Nodes(nodes) = world.handle(NODES).unwrap() else {
        panic!()
    };
    assert!(nodes.is_empty());
}
