//! More adverts come than anybody can take: half of the senders send noise, half of them
//! adverts that are well signed, by keys that nobody knows. One that is turned away comes back
//! under another name.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_crypto::ids::NetworkName;
use embermesh_mesh::memory::{Fabric, Manners, RawPeer};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use super::{
    Crowd, SwarmError, hostile, member,
    meter::{most, percentile, resident_mib},
    report::{Chart, Form, Report, thin},
    scenario::{Flood, Scenario},
};

/// A sender sends this often.
const BEAT: Duration = Duration::from_millis(10);
const BEATS_PER_SECOND: usize = 100;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(500);
/// Bytes of noise: as many as an advert has.
const NOISE: usize = 400;
/// How long a sender waits to be let in before it tries with another name.
const LET_IN: Duration = Duration::from_secs(1);

/// One who floods.
struct Sender {
    fabric: Fabric,
    dial: Vec<String>,
    ports: std::ops::Range<u64>,
    each_beat: usize,
    end: Instant,
    rng: ChaCha8Rng,
    newcomers: Vec<Vec<u8>>,
    offered: Arc<AtomicU64>,
    names: Arc<AtomicU64>,
}

pub(super) async fn run(
    scenario: &Scenario,
    flood: &Flood,
    report: &mut Report,
) -> Result<(), SwarmError> {
    let mut crowd = Crowd::settled(scenario).await?;
    let newcomers = newcomers(scenario, flood);
    let before = resident_mib();
    let (offered, names) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let end = began + Duration::from_secs(flood.span_s);
    let mut senders = JoinSet::new();
    for newcomers in newcomers {
        let first = crowd.port() << 16;
        let sender = Sender {
            fabric: crowd.fabric.clone(),
            dial: vec![format!(
                "/memory/{}",
                crowd.members[scenario.bootstrap].port
            )],
            ports: first..first + (1 << 16),
            each_beat: (flood.per_second / flood.senders / BEATS_PER_SECOND).max(1),
            end,
            rng: ChaCha8Rng::seed_from_u64(first),
            newcomers,
            offered: Arc::clone(&offered),
            names: Arc::clone(&names),
        };
        senders.spawn(sender.run());
    }
    let memory = tokio::spawn(memory(began, end));
    let honest = honest(&mut crowd, end).await;
    senders.join_all().await;
    let (memory, honest) = (memory.await.unwrap_or_default(), honest?);
    let highest = most(&memory.iter().map(|(_, mib)| *mib).collect::<Vec<f64>>());
    let tables = crowd.members.iter().map(|member| member.seen(0) as f64);
    report.measure("table_max", most(&tables.collect::<Vec<f64>>()));
    report.measure("offered", offered.load(Ordering::Relaxed) as f64);
    let rate = offered.load(Ordering::Relaxed) as f64 / flood.span_s as f64;
    report.measure("offered_per_s", rate);
    report.measure("names_used", names.load(Ordering::Relaxed) as f64);
    report.measure("mib_before", before);
    report.measure("grown_mib", highest - before);
    report.measure("honest_changes", honest.len() as f64);
    let waits: Vec<f64> = honest.iter().map(|(_, wait)| *wait).collect();
    report.measure("honest_p50_s", percentile(&waits, 0.5));
    report.measure("honest_max_s", most(&waits));
    charts(report, before, memory, honest);
    crowd.end().await;
    Ok(())
}

fn charts(report: &mut Report, before: f64, memory: Vec<(f64, f64)>, honest: Vec<(f64, f64)>) {
    let mut limit = report.limit("grown_mib", "limit", false);
    if let Some(limit) = &mut limit {
        limit.at += before;
    }
    report.chart(Chart {
        file: "flood-memory",
        title: format!("Memory of {} meshes in a flood of adverts", report.nodes),
        x: "seconds",
        y: "MiB resident, of all together",
        form: Form::Lines(vec![("memory".to_owned(), thin(memory))]),
        limits: limit.into_iter().collect(),
    });
    let limit = report.limit("honest_max_s", "limit", false);
    report.chart(Chart {
        file: "flood-honest",
        title: "Honest adverts in a flood: until the last mesh knows".to_owned(),
        x: "seconds",
        y: "seconds until everybody knows it",
        form: Form::Lines(vec![("honest adverts".to_owned(), thin(honest))]),
        limits: limit.into_iter().collect(),
    });
}

/// Signed beforehand, for each sender: signing takes longer than sending.
fn newcomers(scenario: &Scenario, flood: &Flood) -> Vec<Vec<Vec<u8>>> {
    let seconds = usize::try_from(flood.span_s).unwrap_or(usize::MAX);
    let each = flood.per_second.saturating_mul(seconds) / flood.senders;
    let of_sender = |sender: usize| {
        let each = if sender.is_multiple_of(2) { each } else { 0 };
        let numbers = (sender * each..).take(each);
        let one = |number| hostile::newcomer(&member::key(!scenario.seed, number as u64));
        numbers.map(one).collect()
    };
    (0..flood.senders).map(of_sender).collect()
}

async fn memory(began: Instant, end: Instant) -> Vec<(f64, f64)> {
    let mut samples = Vec::new();
    while Instant::now() < end {
        samples.push((began.elapsed().as_secs_f64(), resident_mib()));
        tokio::time::sleep(SAMPLE).await;
    }
    samples
}

/// Honest adverts change until the end: when each did, and how long it took to be known.
async fn honest(crowd: &mut Crowd, end: Instant) -> Result<Vec<(f64, f64)>, SwarmError> {
    let began = Instant::now();
    let mut waits = Vec::new();
    let mut round = 0;
    while Instant::now() < end {
        round += 1;
        let author = crowd.rng.random_range(0..crowd.members.len());
        let author = crowd.members[author].clone();
        let changed = Instant::now();
        author.change(round).await?;
        let id = author.id();
        let known = crowd.every(
            "an honest advert arriving in a flood",
            changed,
            move |member| member.round_of(&id) == Some(round),
        );
        waits.push(((changed - began).as_secs_f64(), most(&known.await?)));
    }
    Ok(waits)
}

impl Sender {
    async fn run(mut self) {
        while Instant::now() < self.end {
            let Some(port) = self.ports.next() else {
                return;
            };
            let manners = Manners::Hostile(NetworkName::default());
            let key = member::key(2, port);
            let started = RawPeer::start(&key, &manners, &self.fabric, port, &self.dial);
            let Ok(peer) = started else {
                return;
            };
            self.names.fetch_add(1, Ordering::Relaxed);
            let mut listeners = peer.listeners();
            let let_in = listeners.wait_for(|count| *count > 0);
            if matches!(tokio::time::timeout(LET_IN, let_in).await, Ok(Ok(_))) {
                self.flood(&peer).await;
            }
        }
    }

    /// Sends until it is turned away.
    async fn flood(&mut self, peer: &RawPeer) {
        let mut beat = tokio::time::interval(BEAT);
        while *peer.connected().borrow() > 0 && Instant::now() < self.end {
            beat.tick().await;
            for _ in 0..self.each_beat {
                let newcomer = self.newcomers.pop();
                let bytes = newcomer.unwrap_or_else(|| self.noise());
                if !peer.publish(bytes).await {
                    break;
                }
                self.offered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; NOISE];
        self.rng.fill(bytes.as_mut_slice());
        bytes
    }
}
