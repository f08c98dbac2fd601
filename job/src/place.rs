//! Which node a job goes to: first a filter, then a score, and for every node
//! that was passed over the reason why.

use embermesh_crypto::{
    PeerId,
    statement::{Advert, DeviceKind, Runtime, Runtimes},
};

use crate::{
    price::cost,
    spec::{Limits, Requirements, Work},
    units::{Bytes, MicroUnits, Millis},
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
    /// Whose jobs alone it takes, while it is reserved.
    pub reserved_for: Option<PeerId>,
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
            reserved_for: None,
        }
    }

    /// What an hour costs a client: nothing where the client has reserved the node,
    /// which is paid for already.
    #[must_use]
    pub fn price_for(&self, client: &PeerId) -> MicroUnits {
        if self.reserved_for.as_ref() == Some(client) || self.peer == *client {
            return MicroUnits(0);
        }
        self.price
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
    /// It asks something and the job has no budget.
    #[error(
        "asks {asks} an hour and the job has no budget: submit it with one, or wait for a node that asks nothing"
    )]
    NoBudget {
        /// What it asks.
        asks: MicroUnits,
    },
    /// The job may cost more there than its budget has.
    #[error(
        "may cost {costs} in the {wall} that the job may take, and its budget is {budget}: give it more, or lower `limits.wall`"
    )]
    OverBudget {
        /// What it may cost.
        costs: MicroUnits,
        /// For how long.
        wall: Millis,
        /// What the budget has.
        budget: MicroUnits,
    },
    /// Another client has it for a time.
    #[error("is reserved for another client")]
    Reserved,
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
            Self::NoBudget { .. } => "no_budget",
            Self::OverBudget { .. } => "over_budget",
            Self::Reserved => "reserved",
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
    /// More than all others together: a client's reserved node stands paid for.
    pub(super) const RESERVED: f64 = 1_000.0;
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

/// How a job pays for its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pays {
    /// With nothing: only nodes that ask nothing will do.
    Nothing,
    /// With so much at most, for all the time that the job may take.
    AtMost(MicroUnits),
    /// Nobody counts: a price is a reason to prefer others, and no more.
    Uncounted,
}

/// Who wants a node, and how he pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buyer {
    /// The client.
    pub client: PeerId,
    /// How he pays.
    pub pays: Pays,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the job takes of a node.
    pub takes: Takes,
    /// Which nodes will do.
    pub requires: &'a Requirements,
    /// What the job may use there.
    pub limits: &'a Limits,
    /// What its work needs beside a device
    /// ([`JobSpec::runtime`](crate::spec::JobSpec::runtime)).
    pub runtime: Option<Runtime>,
    /// Who wants it; without one there is nobody to count money or keep nodes for.
    pub buyer: Option<Buyer>,
}

/// Finds the nodes for a job that takes a slot, where nobody counts money: filter, then
/// score. `runtime` is what its work needs beside a device; for the rest see [`place_as`].
#[must_use]
pub fn place(
    requires: &Requirements,
    limits: &Limits,
    runtime: Option<Runtime>,
    nodes: &[NodeView],
    avoid: &[PeerId],
    tie_break: u64,
) -> Placement {
    let wanted = Wanted {
        takes: Takes::Slot,
        requires,
        limits,
        runtime,
        buyer: None,
    };
    place_as(&wanted, nodes, avoid, tie_break)
}

/// The same for whatever is wanted, by whomever. `avoid` adds to the nodes that the job
/// avoids; `tie_break` decides between equals, so that they share the load. The same
/// arguments give the same answer.
#[must_use]
pub fn place_as(
    wanted: &Wanted<'_>,
    nodes: &[NodeView],
    avoid: &[PeerId],
    tie_break: u64,
) -> Placement {
    let mut placement = Placement::default();
    for node in nodes {
        match fit(wanted, node, avoid) {
            Ok(device) => placement.ranked.push(Ranked {
                peer: node.peer,
                score: score(node, device, wanted.buyer.as_ref()),
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
    wanted: &Wanted<'_>,
    node: &'a NodeView,
    avoid: &[PeerId],
) -> Result<&'a DeviceView, Why> {
    let requires = wanted.requires;
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
    let asks = match &wanted.buyer {
        Some(buyer) => node.price_for(&buyer.client),
        None => node.price,
    };
    if let Some(pays) = requires.max_price
        && asks > pays
    {
        return Err(Why::TooDear { asks, pays });
    }
    if let Some(wants) = wanted.runtime
        && !node.runtimes.has(wants)
    {
        return Err(Why::NoRuntime { wants });
    }
    let device = fit_device(requires, wanted.limits, node)?;
    if let Some(buyer) = &wanted.buyer {
        must_be_had(buyer, asks, wanted.limits.wall, node)?;
    }
    // Last, so that the other reasons are told first: these pass.
    match wanted.takes {
        Takes::Slot if node.free_slots == 0 => Err(Why::Busy),
        Takes::Residence if node.free_residents == 0 => Err(Why::NoResidents),
        _ => Ok(device),
    }
}

/// Whether the node is the buyer's to have, for what he pays.
fn must_be_had(buyer: &Buyer, asks: MicroUnits, wall: Millis, node: &NodeView) -> Result<(), Why> {
    if node
        .reserved_for
        .is_some_and(|client| client != buyer.client)
    {
        return Err(Why::Reserved);
    }
    match buyer.pays {
        Pays::Nothing if asks > MicroUnits(0) => Err(Why::NoBudget { asks }),
        Pays::AtMost(budget) => {
            let costs = cost(asks, wall);
            if costs > budget {
                return Err(Why::OverBudget {
                    costs,
                    wall,
                    budget,
                });
            }
            Ok(())
        }
        Pays::Nothing | Pays::Uncounted => Ok(()),
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

fn score(node: &NodeView, device: &DeviceView, buyer: Option<&Buyer>) -> f64 {
    let reserved = buyer.is_some_and(|buyer| node.reserved_for == Some(buyer.client));
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
        + if reserved { weight::RESERVED } else { 0.0 }
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
mod tests;
