//! The model beside what it is a model of: the deterministic world, and the reports of
//! real swarms that are kept.

use std::{path::Path, time::Duration};

use embermesh_crypto::{
    Keypair, NetworkName,
    statement::{Advert, sign},
};
use embermesh_mesh::protocol::MAX_LIFETIME;
use embermesh_simulations::{
    World,
    happening::Happening,
    scale::{
        Calibration, Outlook, limits, outlook,
        spread::{Graph, Kind, spread},
    },
    swarm::member::draft,
    world::EPOCH,
};
use serde_json::Value;

fn given() -> Calibration {
    Calibration::of_file().unwrap()
}

/// A measure of a swarm's report.
fn measure(report: &Value, name: &str) -> Option<f64> {
    let measures = report["measures"].as_array()?;
    let found = measures.iter().find(|measure| measure["name"] == name)?;
    found["value"].as_f64()
}

/// Whether a swarm missed what was asked of it: then the machine was busy with other
/// things, and its times say more of that than of gossip.
fn missed(report: &Value) -> bool {
    let measures = report["measures"].as_array();
    measures.into_iter().flatten().any(|measure| {
        let most = measure["at_most"].as_f64();
        most.is_some_and(|most| measure["value"].as_f64().is_some_and(|value| value > most))
    })
}

/// The reports of real swarms of one kind.
fn reports(kind: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scale");
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "json") {
                let text = std::fs::read_to_string(&path).unwrap();
                let report: Value = serde_json::from_str(&text).unwrap();
                if report["kind"] == kind && !missed(&report) {
                    found.push((path.display().to_string(), report));
                }
            }
        }
    }
    found
}

fn near(what: &str, said: f64, measured: f64, within: f64) {
    let apart = (said - measured).abs() / measured.abs();
    assert!(
        apart <= within,
        "{what}: the model says {said:.3}, {measured:.3} was measured"
    );
}

/// An advert on its way in a swarm: the model with the swarm's own delay and no loss.
#[test]
fn an_advert_spreads_in_real_swarms_as_the_model_says() {
    for (path, report) in reports("spread") {
        let nodes = report["nodes"].as_u64().unwrap() as u32;
        let mut given = given();
        given.network.delay_median_s = report["delay_ms"].as_f64().unwrap() / 1e3;
        given.network.delay_sigma = 0.0;
        given.network.loss = 0.0;
        let graph = Graph::new(nodes, given.gossip.degree, given.gossip.degree_high, 1);
        let all: Vec<_> = (0..10)
            .map(|n| spread(&graph, Kind::News, n, &given, 7 + u64::from(n)))
            .collect();
        let mean = |value: fn(&embermesh_simulations::scale::spread::Spread) -> f64| {
            all.iter().map(value).sum::<f64>() / all.len() as f64
        };
        if let Some(copies) = measure(&report, "receives_per_delivery") {
            // The model says more of them than there are.
            near(
                &format!("{path}: copies"),
                mean(|one| one.copies),
                copies,
                0.5,
            );
        }
        if let Some(time) = measure(&report, "each_node_p50_s") {
            near(&format!("{path}: time"), mean(|one| one.p50_s), time, 0.6);
        }
    }
}

/// The world's gossip, which stands in for gossipsub, floods over all connections at once.
/// The model with the same settings says how long that takes and what it costs.
#[test]
fn an_advert_spreads_in_the_world_as_the_model_says() {
    const NODES: usize = 200;
    const AUTHORS: usize = 10;
    let mut world =
        World::new(1, NODES, embermesh_index_server::state::Settings::default()).unwrap();
    for peer in 0..NODES {
        let at = Duration::from_millis(20 * peer as u64);
        world.schedule(at, Happening::Join(peer));
    }
    // Late enough that what the joins brought has been repeated, and over before the first is
    // renewed.
    let start = EPOCH.saturating_add(Duration::from_secs(25));
    world.run_until(start).unwrap();
    let (mut halves, mut copies) = (Vec::new(), Vec::new());
    for author in (0..NODES).step_by(NODES / AUTHORS) {
        let copies_before = world.copies();
        let told = world.tell_news(author).unwrap();
        let begun = world.now;
        let end = begun.saturating_add(Duration::from_secs(3));
        while world.knowers(author, told) * 2 < NODES && world.now < end {
            world
                .run_until(world.now.saturating_add(Duration::from_millis(5)))
                .unwrap();
        }
        halves.push(world.now.since(begun).as_secs_f64());
        world.run_until(end).unwrap();
        copies.push((world.copies() - copies_before) as f64 / (NODES - 1) as f64);
    }
    let half = halves.iter().sum::<f64>() / halves.len() as f64;
    let copies = copies.iter().sum::<f64>() / copies.len() as f64;

    let mut given = given();
    given.gossip.pause_s = 0.0;
    given.gossip.lazy = 0;
    given.gossip.connections = 0;
    given.network.delay_median_s = 0.062;
    given.network.delay_sigma = 0.6;
    given.network.loss = 0.05;
    let mean_degree = world.mean_degree();
    let degree = mean_degree.round() as usize;
    let graph = Graph::new(NODES as u32, degree, degree + 4, 1);
    let all: Vec<_> = (0..10)
        .map(|n| spread(&graph, Kind::News, n, &given, 5 + u64::from(n)))
        .collect();
    let mean = |value: fn(&embermesh_simulations::scale::spread::Spread) -> f64| {
        all.iter().map(value).sum::<f64>() / all.len() as f64
    };
    let per_degree = mean(|one| one.copies) / graph.mean_degree();
    near(
        "copies for each neighbour",
        per_degree,
        copies / mean_degree,
        0.25,
    );
    // Within a factor of two: the world has two nodes that know everybody, and shorter ways.
    near("time to half", mean(|one| one.p50_s), half, 1.0);
}

/// The bytes of the file beside those of the world's own adverts.
#[test]
fn an_advert_is_as_large_as_the_model_says() {
    let node = Keypair::from_seed(&[1; 32]);
    let draft = draft(0);
    let advert = Advert {
        peer: node.peer_id(),
        network: NetworkName::default(),
        sequence: EPOCH.0,
        issued_at: EPOCH,
        expires_at: EPOCH.saturating_add(MAX_LIFETIME),
        role: draft.role,
        version: draft.version,
        // What a node that others reach says: TCP, and QUIC beside it.
        mesh_addresses: vec![
            "/ip4/192.0.2.17/tcp/4001".to_owned(),
            "/ip4/192.0.2.17/udp/4001/quic-v1".to_owned(),
        ],
        tls_addresses: draft.tls_addresses,
        region: draft.region,
        price_micros_per_hour: draft.price_micros_per_hour,
        devices: draft.devices,
        slots: draft.slots,
        free_slots: draft.free_slots,
        queued: draft.queued,
        draining: draft.draining,
        runtimes: draft.runtimes,
        models: draft.models,
        free_residents: draft.free_residents,
        missing_fences: draft.missing_fences,
    };
    let bytes = sign(&advert, &node).unwrap().bytes().len() as f64;
    near("bytes of an advert", given().advert.bytes, bytes, 0.1);
    for (path, report) in reports("spread") {
        if let Some(measured) = measure(&report, "advert_bytes") {
            near(&path, given().advert.bytes, measured, 0.35);
        }
    }
}

fn at(nodes: u32) -> Outlook {
    outlook(nodes, 1, &given())
}

#[test]
fn an_idle_mesh_costs_what_the_model_says() {
    for (path, report) in reports("idle") {
        let nodes = report["nodes"].as_u64().unwrap() as u32;
        if let Some(measured) = measure(&report, "kb_per_s_per_node") {
            near(&path, at(nodes).full.bytes_per_s / 1e3, measured, 0.6);
        }
    }
}

#[test]
fn one_seed_gives_one_outlook() {
    let json = |seed| serde_json::to_string(&outlook(500, seed, &given())).unwrap();
    assert_eq!(json(1), json(1));
    assert_ne!(json(1), json(2));
}

#[test]
fn what_breaks_first_does_not_depend_on_what_is_measured_where() {
    let of = at(20_000);
    let all = limits(&of, &given());
    assert!(all.windows(2).all(|pair| pair[0].nodes <= pair[1].nodes));
    let bandwidth = all
        .iter()
        .find(|limit| limit.what.contains("knowing every other"));
    let nodes = bandwidth.unwrap().nodes;
    // There the model must say that the budget is spent, and not far below.
    let of_budget = |nodes: f64| at(nodes as u32).full.bytes_per_s / given().budget.bytes_per_s;
    assert!((0.9..=1.1).contains(&of_budget(nodes)), "{nodes}");
    assert!(of_budget(nodes / 2.0) < 0.6, "{nodes}");
}
