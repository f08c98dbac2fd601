//! What placement costs beside the least that could be done: a scan that
//! applies the same filter and keeps the best, without order and reasons.
//!
//! `cargo bench -p embermesh-job --bench place`. Both must name the same best
//! score before anything is measured.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use embermesh_crypto::{Keypair, PeerId, statement::DeviceKind};
use embermesh_job::{
    place::{DeviceView, NodeView, place},
    spec::{Limits, Requirements},
    units::{Bytes, MicroUnits},
};

const SIZES: [usize; 2] = [1_000, 100_000];
const REGIONS: [&str; 4] = ["eu", "us", "ap", "sa"];

/// Numbers that differ from node to node and not from run to run
/// (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

/// A mesh of which about a quarter fits [`requires`].
fn nodes(count: usize) -> Vec<NodeView> {
    let mut numbers = Numbers(1);
    (0..count as u64)
        .map(|number| {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let cpu = DeviceView {
                kind: DeviceKind::Cpu,
                memory: Bytes((1 + numbers.below(64)) << 30),
                mflops: 10_000 + numbers.below(400_000),
                usable: true,
            };
            let gpu = DeviceView {
                kind: DeviceKind::Wgpu,
                memory: Bytes((4 + numbers.below(20)) << 30),
                mflops: 1_000_000 + numbers.below(20_000_000),
                usable: numbers.below(10) != 0,
            };
            let slots = 1 + numbers.below(4);
            NodeView {
                peer: Keypair::from_seed(&seed).peer_id(),
                devices: vec![cpu, gpu],
                slots: slots as u32,
                free_slots: numbers.below(slots + 1) as u32,
                free_residents: 0,
                queued: numbers.below(3) as u32,
                region: REGIONS[numbers.below(2) as usize].to_owned(),
                price: MicroUnits(numbers.below(500_000)),
                latency_ms: Some(numbers.below(200) as u32),
                reputation: numbers.below(1000) as f64 / 1000.0,
                live: numbers.below(20) != 0,
                draining: numbers.below(50) == 0,
                runtimes: embermesh_crypto::statement::Runtimes::default(),
                reserved_for: None,
            }
        })
        .collect()
}

fn requires() -> Requirements {
    Requirements {
        region: Some("eu".to_owned()),
        max_price: Some(MicroUnits(450_000)),
        min_memory: Bytes(4 << 30),
        ..Requirements::default()
    }
}

/// The peer: one pass, one best.
fn naive(requires: &Requirements, limits: &Limits, nodes: &[NodeView]) -> Option<(PeerId, f64)> {
    let needs = requires.min_memory.max(limits.memory);
    let mut best: Option<(PeerId, f64)> = None;
    for node in nodes {
        let fits = node.live
            && !node.draining
            && node.free_slots > 0
            && requires
                .region
                .as_ref()
                .is_none_or(|region| *region == node.region)
            && requires.max_price.is_none_or(|pays| node.price <= pays);
        if !fits {
            continue;
        }
        let speed = node
            .devices
            .iter()
            .filter(|device| device.usable && device.memory >= needs)
            .filter(|device| requires.device.is_none_or(|kind| kind == device.kind))
            .map(|device| device.mflops)
            .max();
        let Some(speed) = speed else { continue };
        let free = f64::from(node.free_slots) / f64::from(node.slots);
        let score = (speed as f64).log10() + 1.5 * free + 2.0 * node.reputation
            - 0.25 * f64::from(node.queued)
            - 0.5 * f64::from(node.latency_ms.unwrap_or(0)) / 100.0
            - 0.1 * (node.price.0 as f64 + 1.0).log10();
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((node.peer, score));
        }
    }
    best
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("place");
    let (requires, limits) = (requires(), Limits::default());
    for size in SIZES {
        let nodes = nodes(size);
        let placement = place(&requires, &limits, None, &nodes, &[], 1);
        let (_, highest) = naive(&requires, &limits, &nodes).expect("some node fits");
        assert!((placement.ranked[0].score - highest).abs() < 1e-9);
        println!("{size} nodes: {} fit", placement.ranked.len());

        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("place", size), |b| {
            b.iter(|| place(&requires, &limits, None, black_box(&nodes), &[], 1));
        });
        group.bench_function(BenchmarkId::new("naive scan", size), |b| {
            b.iter(|| naive(&requires, &limits, black_box(&nodes)));
        });
    }
    group.finish();
    criterion.final_summary();
}
