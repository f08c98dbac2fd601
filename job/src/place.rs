//! Which node a job goes to: first a filter, then a score, and for every node
//! that was passed over the reason why.

use embermesh_crypto::{
    PeerId,
    statement::{Advert, DeviceKind, Runtime, Runtimes},
};

use crate::{
    spec::{Limits, Requirements, Work},
    units::{Bytes, MicroUnits},
};

/// A node, as placement sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Who it is.
    pub peer: PeerId,
    /// What it offers.
    pub devices: Vec<DeviceView>,
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many more it would take.
    pub free_slots: u32,
    /// How many more resident models it would take.
    pub free_residents: u32,
    /// How many wait there.
    pub queued: u32,
    /// Where it is.
    pub region: String,
    /// What an hour costs.
    pub price: MicroUnits,
    /// Round trip from whoever asks, if it is known.
    pub latency_ms: Option<u32>,
    /// Share of the attempts that ended well, 0 to 1.
    pub reputation: f64,
    /// Whether it has been heard of lately.
    pub live: bool,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Which programs of clients it runs.
    pub runtimes: Runtimes,
}

/// A device of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceView {
    /// The backend.
    pub kind: DeviceKind,
    /// Memory that a job can have.
    pub memory: Bytes,
    /// Measured speed, in millions of operations per second.
    pub mflops: u64,
    /// Whether it is offered.
    pub usable: bool,
}

impl NodeView {
    /// The view that an advert gives: live, without latency, with a neutral
    /// reputation.
    #[must_use]
    pub fn of(advert: &Advert) -> Self {
        Self {
            peer: advert.peer,
            devices: advert
                .devices
                .iter()
                .map(|device| DeviceView {
                    kind: device.kind,
                    memory: Bytes(device.memory_bytes),
                    mflops: device.mflops,
                    usable: device.fault.is_none(),
                })
                .collect(),
            slots: advert.slots,
            free_slots: advert.free_slots,
            free_residents: advert.free_residents,
            queued: advert.queued,
            region: advert.region.clone(),
            price: MicroUnits(advert.price_micros_per_hour),
            latency_ms: None,
            reputation: 0.5,
            live: true,
            draining: advert.draining,
            runtimes: advert.runtimes,
        }
    }
}

/// Why a node was passed over.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Why {
    /// It has not been heard of lately.
    #[error("has not been heard of lately")]
    NotLive,
    /// It is about to stop.
    #[error("is about to stop and takes no new jobs")]
    Draining,
    /// The job does not want it.
    #[error("the job avoids it")]
    Avoided,
    /// The job names others.
    #[error("the job names other nodes")]
    NotNamed,
    /// It is in another region.
    #[error("is in region `{has}`, the job wants `{wants}`")]
    WrongRegion {
        /// Where it is.
        has: String,
        /// Where it should be.
        wants: String,
    },
    /// It costs more than the job pays.
    #[error("costs {asks} an hour, the job pays {pays} at most")]
    TooDear {
        /// What it costs.
        asks: MicroUnits,
        /// What the job pays.
        pays: MicroUnits,
    },
    /// It has no device of the kind.
    #[error("has no usable {}", wants.map_or("device", DeviceKind::as_str))]
    NoDevice {
        /// The kind, if one is asked for.
        wants: Option<DeviceKind>,
    },
    /// Its devices of the kind are too small.
    #[error("has {has} of memory on its largest fitting device, the job needs {needs}")]
    TooLittleMemory {
        /// The most it has.
        has: Bytes,
        /// What is needed.
        needs: Bytes,
    },
    /// It does not run such programs.
    #[error(
        "does not run {wants} programs: its owner has not allowed them, or they do not work there"
    )]
    NoRuntime {
        /// The runtime that is asked for.
        wants: Runtime,
    },
    /// It has no slot free now.
    #[error("has no slot free now")]
    Busy,
    /// It keeps as many resident models as it may, or none.
    #[error("keeps no more resident models: its `residents` are taken, or 0")]
    NoResidents,
}

impl Why {
    /// The stable word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotLive => "not_live",
            Self::Draining => "draining",
            Self::Avoided => "avoided",
            Self::NotNamed => "not_named",
            Self::WrongRegion { .. } => "wrong_region",
            Self::TooDear { .. } => "too_dear",
            Self::NoDevice { .. } => "no_device",
            Self::TooLittleMemory { .. } => "too_little_memory",
            Self::NoRuntime { .. } => "no_runtime",
            Self::Busy => "busy",
            Self::NoResidents => "no_residents",
        }
    }
}

/// A node that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Who.
    pub peer: PeerId,
    /// How well, larger is better.
    pub score: f64,
    /// On which of its devices.
    pub device: DeviceKind,
}

/// A node that does not, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct PassedOver {
    /// Who.
    pub peer: PeerId,
    /// Why.
    pub why: Why,
}

/// What placement says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// The nodes that fit, best first.
    pub ranked: Vec<Ranked>,
    /// The others, in the order in which they were given.
    pub passed_over: Vec<PassedOver>,
}

/// How much each quality weighs. Speed counts by its order of magnitude, so
/// that a device ten times as fast is worth one unit.
mod weight {
    pub(super) const SPEED: f64 = 1.0;
    pub(super) const FREE_SHARE: f64 = 1.5;
    pub(super) const REPUTATION: f64 = 2.0;
    pub(super) const QUEUED: f64 = 0.25;
    /// For each 100 ms of round trip.
    pub(super) const LATENCY: f64 = 0.5;
    /// By the order of magnitude of the price in micro-units.
    pub(super) const PRICE: f64 = 0.1;
}

/// What a job takes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One of its slots, until it is done.
    Slot,
    /// A place among its resident models, which does not use a slot up.
    Residence,
}

impl Takes {
    /// What a kind of work takes.
    #[must_use]
    pub fn of<I>(work: &Work<I>) -> Self {
        match work {
            Work::Serve(_) => Self::Residence,
            _ => Self::Slot,
        }
    }
}

/// Finds the nodes for a job that takes a slot: filter, then score. `runtime` is what
/// its work needs beside a device ([`JobSpec::runtime`](crate::spec::JobSpec::runtime));
/// `avoid` adds to the nodes that the job avoids; `tie_break` decides between equals, so
/// that they share the load. The same arguments give the same answer.
#[must_use]
pub fn place(
    requires: &Requirements,
    limits: &Limits,
    runtime: Option<Runtime>,
    nodes: &[NodeView],
    avoid: &[PeerId],
    tie_break: u64,
) -> Placement {
    place_as(
        Takes::Slot,
        requires,
        limits,
        runtime,
        nodes,
        avoid,
        tie_break,
    )
}

/// The same for what a job takes.
#[must_use]
pub fn place_as(
    takes: Takes,
    requires: &Requirements,
    limits: &Limits,
    runtime: Option<Runtime>,
    nodes: &[NodeView],
    avoid: &[PeerId],
    tie_break: u64,
) -> Placement {
    let mut placement = Placement::default();
    for node in nodes {
        match fit(takes, requires, limits, runtime, node, avoid) {
            Ok(device) => placement.ranked.push(Ranked {
                peer: node.peer,
                score: score(node, device),
                device: device.kind,
            }),
            Err(why) => placement.passed_over.push(PassedOver {
                peer: node.peer,
                why,
            }),
        }
    }
    placement.ranked.sort_unstable_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| lot(&a.peer, tie_break).cmp(&lot(&b.peer, tie_break)))
            .then_with(|| a.peer.cmp(&b.peer))
    });
    placement
}

/// The device that the job would have on this node.
fn fit<'a>(
    takes: Takes,
    requires: &Requirements,
    limits: &Limits,
    runtime: Option<Runtime>,
    node: &'a NodeView,
    avoid: &[PeerId],
) -> Result<&'a DeviceView, Why> {
    if requires.avoid.contains(&node.peer) || avoid.contains(&node.peer) {
        return Err(Why::Avoided);
    }
    if !requires.nodes.is_empty() && !requires.nodes.contains(&node.peer) {
        return Err(Why::NotNamed);
    }
    if !node.live {
        return Err(Why::NotLive);
    }
    if node.draining {
        return Err(Why::Draining);
    }
    if let Some(wants) = &requires.region
        && *wants != node.region
    {
        return Err(Why::WrongRegion {
            has: node.region.clone(),
            wants: wants.clone(),
        });
    }
    if let Some(pays) = requires.max_price
        && node.price > pays
    {
        return Err(Why::TooDear {
            asks: node.price,
            pays,
        });
    }
    if let Some(wants) = runtime
        && !node.runtimes.has(wants)
    {
        return Err(Why::NoRuntime { wants });
    }
    let device = fit_device(requires, limits, node)?;
    // Last, so that the other reasons are told first: these pass.
    match takes {
        Takes::Slot if node.free_slots == 0 => Err(Why::Busy),
        Takes::Residence if node.free_residents == 0 => Err(Why::NoResidents),
        _ => Ok(device),
    }
}

fn fit_device<'a>(
    requires: &Requirements,
    limits: &Limits,
    node: &'a NodeView,
) -> Result<&'a DeviceView, Why> {
    let needs = requires.min_memory.max(limits.memory);
    let wanted = |device: &&DeviceView| {
        device.usable && requires.device.is_none_or(|kind| kind == device.kind)
    };
    let fitting = node.devices.iter().filter(wanted);
    fitting
        .clone()
        .filter(|device| device.memory >= needs)
        .max_by_key(|device| device.mflops)
        .ok_or_else(|| match fitting.map(|device| device.memory).max() {
            Some(has) => Why::TooLittleMemory { has, needs },
            None => Why::NoDevice {
                wants: requires.device,
            },
        })
}

fn score(node: &NodeView, device: &DeviceView) -> f64 {
    let free = f64::from(node.free_slots) / f64::from(node.slots.max(1));
    let speed = (device.mflops.max(1) as f64).log10();
    let price = (node.price.0 as f64 + 1.0).log10();
    let latency = f64::from(node.latency_ms.unwrap_or(0)) / 100.0;
    weight::SPEED * speed
        + weight::FREE_SHARE * free.min(1.0)
        + weight::REPUTATION * node.reputation
        - weight::QUEUED * f64::from(node.queued)
        - weight::LATENCY * latency
        - weight::PRICE * price
}

/// A number that depends on the node and the draw alone (the finaliser of
/// MurmurHash3 over the key's first bytes).
fn lot(peer: &PeerId, tie_break: u64) -> u64 {
    let bytes = peer.as_bytes();
    let mut key = [0; 8];
    key.copy_from_slice(&bytes[..8]);
    let mut x = u64::from_le_bytes(key) ^ tie_break;
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests {
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
            place_as(
                Takes::Residence,
                &any,
                &Limits::default(),
                None,
                nodes,
                &[],
                0,
            )
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
}
