//! Where jobs are placed.

use embermesh_crypto::Keypair;

use super::*;

fn peer(seed: u8) -> PeerId {
    Keypair::from_seed(&[seed; 32]).peer_id()
}

fn node(seed: u8) -> NodeView {
    NodeView {
        peer: peer(seed),
        devices: vec![DeviceView {
            kind: DeviceKind::Cpu,
            memory: Bytes(8 << 30),
            mflops: 100_000,
            usable: true,
        }],
        slots: 2,
        free_slots: 2,
        free_residents: 1,
        queued: 0,
        region: "eu".into(),
        price: MicroUnits(100),
        latency_ms: Some(10),
        reputation: 0.5,
        live: true,
        draining: false,
        runtimes: Runtimes::default(),
        reserved_for: None,
    }
}

fn place_on(requires: &Requirements, nodes: &[NodeView]) -> Placement {
    place(requires, &Limits::default(), None, nodes, &[], 0)
}

fn why(requires: &Requirements, change: impl Fn(&mut NodeView)) -> &'static str {
    let mut changed = node(1);
    change(&mut changed);
    let placement = place_on(requires, &[changed]);
    placement
        .passed_over
        .first()
        .map_or("fits", |passed| passed.why.code())
}

#[test]
fn each_reason_has_its_code() {
    let any = Requirements::default();
    assert_eq!(why(&any, |_| {}), "fits");
    assert_eq!(why(&any, |n| n.live = false), "not_live");
    assert_eq!(why(&any, |n| n.draining = true), "draining");
    assert_eq!(why(&any, |n| n.free_slots = 0), "busy");
    let mut full = node(1);
    full.free_slots = 0;
    let resident = |node: &NodeView| {
        let nodes = std::slice::from_ref(node);
        let wanted = Wanted {
            takes: Takes::Residence,
            requires: &any,
            limits: &Limits::default(),
            runtime: None,
            buyer: None,
        };
        place_as(&wanted, nodes, &[], 0)
    };
    // A resident model takes no slot, and has places of its own.
    assert_eq!(resident(&full).ranked.len(), 1);
    full.free_residents = 0;
    assert_eq!(resident(&full).passed_over[0].why.code(), "no_residents");
    assert_eq!(why(&any, |n| n.devices[0].usable = false), "no_device");
    assert_eq!(
        why(&any, |n| n.devices[0].memory = Bytes(1)),
        "too_little_memory"
    );
    let requires = |change: fn(&mut Requirements)| {
        let mut requires = Requirements::default();
        change(&mut requires);
        requires
    };
    assert_eq!(
        why(&requires(|r| r.avoid = vec![peer(1)]), |_| {}),
        "avoided"
    );
    assert_eq!(
        why(&requires(|r| r.nodes = vec![peer(2)]), |_| {}),
        "not_named"
    );
    assert_eq!(
        why(&requires(|r| r.region = Some("us".into())), |_| {}),
        "wrong_region"
    );
    assert_eq!(
        why(&requires(|r| r.max_price = Some(MicroUnits(99))), |_| {}),
        "too_dear"
    );
    assert_eq!(
        why(&requires(|r| r.device = Some(DeviceKind::Cuda)), |_| {}),
        "no_device"
    );
    assert_eq!(
        why(&requires(|r| r.min_memory = Bytes(9 << 30)), |_| {}),
        "too_little_memory"
    );
}

#[test]
fn a_node_without_the_runtime_is_passed_over() {
    let mut offers = node(2);
    offers.runtimes = Runtimes::from_iter([Runtime::Python]);
    let nodes = [node(1), offers];
    let on = |runtime| {
        let (any, limits) = (Requirements::default(), Limits::default());
        place(&any, &limits, runtime, &nodes, &[], 0)
    };
    assert_eq!(on(None).ranked.len(), 2);
    let python = on(Some(Runtime::Python));
    assert_eq!(python.ranked[0].peer, peer(2));
    assert_eq!(python.passed_over[0].why.code(), "no_runtime");
    let wasm = on(Some(Runtime::Wasm));
    assert!(wasm.ranked.is_empty());
    let why = wasm.passed_over[1].why.to_string();
    assert!(why.contains("wasm programs"), "{why}");
}

#[test]
fn better_nodes_come_first() {
    let better: [fn(&mut NodeView); 4] = [
        |n| n.devices[0].mflops *= 2,
        |n| n.reputation = 0.9,
        |n| n.price = MicroUnits(1),
        |n| n.latency_ms = Some(1),
    ];
    for (case, change) in better.iter().enumerate() {
        let mut best = node(2);
        change(&mut best);
        let placement = place_on(&Requirements::default(), &[node(1), best, node(3)]);
        assert_eq!(placement.ranked[0].peer, peer(2), "case {case}");
    }
    let mut loaded = node(1);
    loaded.free_slots = 1;
    let placement = place_on(&Requirements::default(), &[loaded, node(2)]);
    assert_eq!(placement.ranked[0].peer, peer(2));
}

#[test]
fn the_faster_of_two_devices_is_taken() {
    let mut two = node(1);
    two.devices.push(DeviceView {
        kind: DeviceKind::Wgpu,
        memory: Bytes(16 << 30),
        mflops: 5_000_000,
        usable: true,
    });
    let placement = place_on(&Requirements::default(), &[two]);
    assert_eq!(placement.ranked[0].device, DeviceKind::Wgpu);
}

#[test]
fn equals_share_the_load_and_order_does_not_matter() {
    let nodes: Vec<_> = (1..20).map(node).collect();
    let mut reversed = nodes.clone();
    reversed.reverse();
    let mut winners = std::collections::BTreeSet::new();
    for draw in 0..200 {
        let limits = Limits::default();
        let a = place(&Requirements::default(), &limits, None, &nodes, &[], draw);
        let b = place(
            &Requirements::default(),
            &limits,
            None,
            &reversed,
            &[],
            draw,
        );
        assert_eq!(a.ranked, b.ranked);
        winners.insert(a.ranked[0].peer);
    }
    assert!(winners.len() > 12, "{}", winners.len());
}

/// What a client with peer 50's key is told of one node.
fn bought(pays: Pays, change: impl Fn(&mut NodeView)) -> &'static str {
    let mut changed = node(1);
    changed.price = MicroUnits(100);
    change(&mut changed);
    let wanted = Wanted {
        takes: Takes::Slot,
        requires: &Requirements::default(),
        limits: &Limits {
            wall: Millis(2 * 3_600_000),
            ..Limits::default()
        },
        runtime: None,
        buyer: Some(Buyer {
            client: peer(50),
            pays,
        }),
    };
    let placement = place_as(&wanted, &[changed], &[], 0);
    let passed = placement.passed_over.first();
    passed.map_or("fits", |passed| passed.why.code())
}

#[test]
fn a_budget_is_for_all_the_time_that_a_job_may_take() {
    let budget = |micros| Pays::AtMost(MicroUnits(micros));
    assert_eq!(bought(budget(200), |_| {}), "fits");
    assert_eq!(bought(budget(199), |_| {}), "over_budget");
    assert_eq!(bought(Pays::Nothing, |_| {}), "no_budget");
    assert_eq!(bought(Pays::Uncounted, |_| {}), "fits");
    let free: fn(&mut NodeView) = |n| n.price = MicroUnits(0);
    assert_eq!(bought(Pays::Nothing, free), "fits");
    assert_eq!(bought(budget(1), free), "fits");
    // Nobody pays himself.
    assert_eq!(bought(Pays::Nothing, |n| n.peer = peer(50)), "fits");
}

#[test]
fn a_reserved_node_takes_its_clients_jobs_alone_and_for_nothing_more() {
    let for_client = |n: u8| move |node: &mut NodeView| node.reserved_for = Some(peer(n));
    assert_eq!(bought(Pays::Nothing, for_client(50)), "fits");
    assert_eq!(bought(Pays::AtMost(MicroUnits(1)), for_client(50)), "fits");
    for pays in [
        Pays::Nothing,
        Pays::AtMost(MicroUnits(1_000)),
        Pays::Uncounted,
    ] {
        assert_eq!(bought(pays, for_client(51)), "reserved");
    }
}

#[test]
fn a_reserved_node_comes_first() {
    let mut reserved = node(1);
    reserved.reserved_for = Some(peer(50));
    reserved.price = MicroUnits(1_000_000);
    reserved.free_slots = 1;
    let mut fast = node(2);
    fast.devices[0].mflops *= 1_000;
    fast.price = MicroUnits(0);
    let wanted = Wanted {
        takes: Takes::Slot,
        requires: &Requirements::default(),
        limits: &Limits::default(),
        runtime: None,
        buyer: Some(Buyer {
            client: peer(50),
            pays: Pays::Nothing,
        }),
    };
    let placement = place_as(&wanted, &[fast, reserved], &[], 0);
    assert_eq!(placement.ranked[0].peer, peer(1));
    assert_eq!(placement.ranked.len(), 2);
}
