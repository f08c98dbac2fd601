//! Which nodes a search means, and in which order.

use embermesh_crypto::{
    PeerId,
    statement::{Advert, DeviceAdvert, DeviceKind},
};

use super::code;
use crate::{Failure, port::nodes::NodeView};

/// The most nodes of one answer.
pub(super) const MAX_NODES: usize = 1000;
/// How many an answer has that does not say.
const USUAL: usize = 50;

/// What is looked for.
#[derive(Default)]
pub(super) struct Search {
    /// A device of this kind.
    pub(super) device: Option<DeviceKind>,
    /// A device with so much memory, in bytes.
    pub(super) memory: u64,
    /// A device other than the processor with so much memory, in bytes.
    pub(super) vram: u64,
    /// A device of this score.
    pub(super) score: f64,
    /// What an hour may cost, in micro-units.
    pub(super) prices: (u64, Option<u64>),
    /// Only in these regions, where any are named.
    pub(super) regions: Vec<String>,
    /// Not in these.
    pub(super) blocked: Vec<String>,
    /// Those in this region first.
    pub(super) preferred: String,
    /// Only those that have been heard of lately.
    pub(super) live: bool,
    /// By what they are put in order.
    pub(super) order: Order,
    /// The other way round.
    pub(super) descending: bool,
}

/// By what nodes are put in order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// The cheapest first.
    #[default]
    Price,
    /// The fastest first.
    Performance,
    /// Those with most free slots first.
    Availability,
}

impl Order {
    /// The order that a number means.
    pub(super) fn of(code: i32) -> Result<Self, Failure> {
        match code {
            0 => Ok(Self::Price),
            1 => Ok(Self::Performance),
            3 => Ok(Self::Availability),
            2 => Err(unknown("sort_by: the reputation of nodes")),
            other => Err(Failure::invalid(format!("sort_by: {other} is no order"))),
        }
    }
}

/// A node in its place: what it is put in order by, then its id.
pub(super) type Key = (u8, u64, PeerId);

impl Search {
    /// The nodes that are meant, in order, each with its place.
    pub(super) fn among(&self, nodes: Vec<NodeView>) -> Vec<(Key, NodeView)> {
        let mut found: Vec<_> = nodes
            .into_iter()
            .filter(|node| self.means(node))
            .map(|node| (self.key(&node), node))
            .collect();
        found.sort_by_key(|(key, _)| *key);
        found
    }

    fn means(&self, node: &NodeView) -> bool {
        if self.live && !node.live {
            return false;
        }
        let Some(advert) = &node.advert else {
            // Nothing is known of it but where it is.
            return self.asks_nothing();
        };
        let price = advert.price_micros_per_hour;
        price >= self.prices.0
            && self.prices.1.is_none_or(|most| price <= most)
            && (self.regions.is_empty() || self.regions.contains(&advert.region))
            && !self.blocked.contains(&advert.region)
            && (self.asks_no_device() || advert.devices.iter().any(|device| self.fits(device)))
    }

    fn asks_no_device(&self) -> bool {
        self.device.is_none() && self.memory == 0 && self.vram == 0 && self.score <= 0.0
    }

    fn asks_nothing(&self) -> bool {
        self.asks_no_device() && self.prices == (0, None) && self.regions.is_empty()
    }

    fn fits(&self, device: &DeviceAdvert) -> bool {
        device.fault.is_none()
            && self.device.is_none_or(|kind| kind == device.kind)
            && device.memory_bytes >= self.memory
            && (self.vram == 0
                || (device.kind != DeviceKind::Cpu && device.memory_bytes >= self.vram))
            && score(device.mflops) >= self.score
    }

    fn key(&self, node: &NodeView) -> Key {
        let advert = node.advert.as_ref();
        let value = match self.order {
            Order::Price => advert.map_or(u64::MAX, |advert| advert.price_micros_per_hour),
            Order::Performance => u64::MAX - advert.map_or(0, fastest),
            Order::Availability => u64::MAX - advert.map_or(0, |advert| advert.free_slots.into()),
        };
        let value = if self.descending {
            u64::MAX - value
        } else {
            value
        };
        let is_preferred = !self.preferred.is_empty()
            && advert.is_some_and(|advert| advert.region == self.preferred);
        (u8::from(!is_preferred), value, node.address.peer)
    }
}

/// The speed of a device in the unit of the wire: thousands of millions of operations a
/// second, as measured.
#[allow(clippy::cast_precision_loss, reason = "the wire has doubles")]
pub(super) fn score(mflops: u64) -> f64 {
    mflops as f64 / 1e3
}

/// The speed of a node's fastest device, in millions of operations a second.
pub(super) fn fastest(advert: &Advert) -> u64 {
    let usable = advert
        .devices
        .iter()
        .filter(|device| device.fault.is_none());
    usable.map(|device| device.mflops).max().unwrap_or(0)
}

/// The place of a node as a page's token.
pub(super) fn token((preferred, value, peer): Key) -> String {
    format!("{preferred}.{value}.{peer}")
}

/// The place that a token names.
pub(super) fn place(token: &str) -> Result<Option<Key>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let mut parts = token.splitn(3, '.');
    let mut part = || parts.next().unwrap_or_default();
    let key = (|| {
        Some((
            part().parse().ok()?,
            part().parse().ok()?,
            part().parse().ok()?,
        ))
    })();
    key.map(Some)
        .ok_or_else(|| Failure::invalid("page_token: no answer gave this one"))
}

/// How many nodes an answer has.
pub(super) fn size(field: &str, asked: i32) -> Result<usize, Failure> {
    match usize::try_from(asked) {
        Ok(0) => Ok(USUAL),
        Ok(size) => Ok(size.min(MAX_NODES)),
        Err(_) => Err(Failure::invalid(format!("{field}: {asked} is no number"))),
    }
}

/// The least or most that an hour may cost; 0 leaves it open.
pub(super) fn price(field: &str, units: f64) -> Result<Option<u64>, Failure> {
    let micros =
        code::micros(units).map_err(|reason| Failure::invalid(format!("{field}: {reason}")))?;
    Ok((micros > 0).then_some(micros))
}

/// A condition on something that nobody here knows.
pub(super) fn unknown(what: &str) -> Failure {
    Failure::invalid(format!("{what} is not kept here: leave it out"))
}
