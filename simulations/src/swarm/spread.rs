//! Adverts change in a mesh that stands, and as many messages of the same size go through
//! stock gossip: how fast, and how many copies each costs.

use std::time::{Duration, Instant};

use embermesh_mesh::{
    GossipTraffic, MeshError,
    memory::{Fabric, Manners, RawPeer},
};
use rand::{Rng as _, SeedableRng as _, seq::IteratorRandom as _};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::{
    Crowd, SwarmError, member,
    meter::{Usage, most, percentile, processor_s, traffic},
    report::{Chart, Form, Report, share_until},
    scenario::{Scenario, Spread},
};

/// Adverts that change before anything is counted, so that the mesh of gossip stands.
const WARM_UP: usize = 2;

/// What one kind of gossip did.
struct Outcome {
    /// From a publication until a node had it, of every publication and node.
    times: Vec<f64>,
    /// From a publication until the last node had it.
    last: Vec<f64>,
    received: u64,
    delivered: u64,
    processor_s: f64,
}

pub(super) async fn run(
    scenario: &Scenario,
    spread: &Spread,
    report: &mut Report,
) -> Result<(), SwarmError> {
    let mut crowd = Crowd::start(scenario).await?;
    crowd.whole(Instant::now()).await?;
    let bytes = crowd.members[0].mesh.adverts()[0].bytes().len();
    report.measure("advert_bytes", bytes as f64);
    let ours = ours(&mut crowd, spread).await?;
    crowd.end().await;
    let stock = stock(scenario, spread, bytes).await?;
    for (prefix, outcome) in [("", &ours), ("stock_", &stock)] {
        let mut tell = |name: &str, value| report.measure(&format!("{prefix}{name}"), value);
        tell("receives_per_delivery", outcome.copies());
        tell("each_node_p50_s", percentile(&outcome.times, 0.5));
        tell("each_node_p99_s", percentile(&outcome.times, 0.99));
        tell("all_nodes_p50_s", percentile(&outcome.last, 0.5));
        tell("all_nodes_max_s", most(&outcome.last));
        let deliveries = outcome.delivered as f64;
        tell(
            "cpu_us_per_delivery",
            outcome.processor_s * 1e6 / deliveries,
        );
    }
    charts(&ours, &stock, report);
    Ok(())
}

impl Outcome {
    fn copies(&self) -> f64 {
        self.received as f64 / self.delivered as f64
    }
}

fn charts(ours: &Outcome, stock: &Outcome, report: &mut Report) {
    let named = |name: &str, outcome: &Outcome| (name.to_owned(), share_until(&outcome.times));
    let limit = report.limit("all_nodes_max_s", "limit", true);
    report.chart(Chart {
        file: "reach",
        title: format!("How an advert spreads in a mesh of {}", report.nodes),
        x: "seconds after it was published",
        y: "nodes that have it, %",
        form: Form::Lines(vec![
            named("embermesh", ours),
            named("stock gossipsub", stock),
        ]),
        limits: limit.into_iter().collect(),
    });
    let limit = report.limit("receives_per_delivery", "aim", false);
    report.chart(Chart {
        file: "copies",
        title: format!(
            "Copies that a node receives of each advert, {} nodes",
            report.nodes
        ),
        x: "",
        y: "messages received for each delivered",
        form: Form::Bars(vec![
            ("embermesh".to_owned(), ours.copies()),
            ("stock gossipsub".to_owned(), stock.copies()),
        ]),
        limits: limit.into_iter().collect(),
    });
}

async fn ours(crowd: &mut Crowd, spread: &Spread) -> Result<Outcome, SwarmError> {
    let mut outcome = Outcome::new();
    let mut before = (traffic(crowd), Usage::now(Some(crowd)));
    let authors = 0..crowd.members.len();
    let authors = authors.choose_multiple(&mut crowd.rng, WARM_UP + spread.messages);
    for (number, author) in authors.into_iter().enumerate() {
        if number == WARM_UP {
            before = (traffic(crowd), Usage::now(Some(crowd)));
        }
        let author = crowd.members[author].clone();
        let began = Instant::now();
        author.change(1).await?;
        let id = author.id();
        let times = crowd.every("an advert reaching everybody", began, move |member| {
            member.round_of(&id) == Some(1)
        });
        let times = times.await?;
        if number >= WARM_UP {
            outcome.add(times);
        }
        tokio::time::sleep(Duration::from_millis(spread.every_ms)).await;
    }
    let after = traffic(crowd);
    outcome.received = after.received - before.0.received;
    outcome.delivered = after.delivered - before.0.delivered;
    outcome.processor_s = before.1.until_now(crowd).processor_s;
    Ok(outcome)
}

impl Outcome {
    fn new() -> Self {
        Self {
            times: Vec::new(),
            last: Vec::new(),
            received: 0,
            delivered: 0,
            processor_s: 0.0,
        }
    }

    fn add(&mut self, times: Vec<f64>) {
        self.last.push(most(&times));
        self.times.extend(times);
    }
}

async fn stock(scenario: &Scenario, spread: &Spread, bytes: usize) -> Result<Outcome, SwarmError> {
    let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
    let peers = stock_peers(scenario, spread, &mut rng)?;
    let mut outcome = Outcome::new();
    let mut before = (total(&peers), processor_s());
    for number in 0..WARM_UP + spread.messages {
        if number == WARM_UP {
            before = (total(&peers), processor_s());
        }
        let mut message = vec![0; bytes];
        rng.fill(message.as_mut_slice());
        let author = rng.random_range(0..peers.len());
        let times = publish(scenario, &peers, author, message).await?;
        if number >= WARM_UP {
            outcome.add(times);
        }
        tokio::time::sleep(Duration::from_millis(spread.every_ms)).await;
    }
    let after = total(&peers);
    outcome.received = after.received - before.0.received;
    outcome.delivered = ((peers.len() - 1) * spread.messages) as u64;
    outcome.processor_s = processor_s() - before.1;
    Ok(outcome)
}

fn total(peers: &[RawPeer]) -> GossipTraffic {
    let received = peers.iter().map(|peer| peer.traffic().received).sum();
    GossipTraffic {
        received,
        ..GossipTraffic::default()
    }
}

fn stock_peers(
    scenario: &Scenario,
    spread: &Spread,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<RawPeer>, MeshError> {
    let fabric = Fabric::new(scenario.delay());
    let first: u64 = rng.random_range(1 << 40..1 << 50);
    let mut peers: Vec<RawPeer> = Vec::with_capacity(scenario.nodes);
    for port in (first..).take(scenario.nodes) {
        let there = (first..port).choose_multiple(rng, spread.stock_dials);
        let dial: Vec<String> = there.iter().map(|port| format!("/memory/{port}")).collect();
        let key = member::key(scenario.seed, port);
        peers.push(RawPeer::start(&key, &Manners::Stock, &fabric, port, &dial)?);
    }
    Ok(peers)
}

/// Publishes, and says after how long each of the others had it.
async fn publish(
    scenario: &Scenario,
    peers: &[RawPeer],
    author: usize,
    message: Vec<u8>,
) -> Result<Vec<f64>, SwarmError> {
    let mut waits = JoinSet::new();
    let began = Instant::now();
    for (_, peer) in peers.iter().enumerate().filter(|(at, _)| *at != author) {
        let mut delivered = peer.delivered();
        let one_more = *delivered.borrow() + 1;
        waits.spawn(async move {
            // Fails when the peer is gone, which ends the wait as well.
            let _ = delivered.wait_for(|count| *count >= one_more).await;
            began.elapsed().as_secs_f64()
        });
    }
    let all = async {
        // Until it has a neighbour that listens.
        while !peers[author].publish(message.clone()).await {
            // Fails when the peer is gone: the patience ends that wait.
            let _ = peers[author].listeners().changed().await;
        }
        let mut times = Vec::new();
        while let Some(time) = waits.join_next().await {
            times.extend(time);
        }
        times
    };
    tokio::time::timeout(scenario.patience(), all)
        .await
        .map_err(|_| SwarmError::Patience {
            what: "a message of stock gossip reaching everybody".to_owned(),
            after: scenario.patience(),
            missing: 1,
            of: peers.len(),
        })
}
