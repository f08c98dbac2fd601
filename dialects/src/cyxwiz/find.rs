//! Which nodes a search means, and in which order.

use embermesh_crypto::statement::{Advert, DeviceKind};

use super::code;
use crate::{
    Failure,
    port::{nodes::NodeView, servers::ServerView},
};

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
pub(super) type Key = (u8, u64, String);

/// Who it is that can be found.
pub(super) enum Of {
    /// A node of the mesh.
    Mesh(Box<NodeView>),
    /// A server node of the system.
    Server(Box<ServerView>),
}

/// What is known of somebody who can be found.
pub(super) struct Candidate {
    /// His id.
    pub(super) id: String,
    /// Whether he has been heard of lately.
    pub(super) live: bool,
    /// What he says of himself; nothing where only his place is known.
    pub(super) facts: Option<Facts>,
    /// Who it is.
    pub(super) of: Of,
}

/// What somebody says of himself.
pub(super) struct Facts {
    /// What an hour costs, in micro-units.
    pub(super) price: u64,
    /// Where he is.
    pub(super) region: String,
    /// What he computes on.
    pub(super) devices: Vec<Usable>,
    /// How many more jobs he would take now.
    pub(super) free: u32,
}

/// A device that can be used.
pub(super) struct Usable {
    kind: Option<DeviceKind>,
    memory: u64,
    mflops: u64,
}

impl Facts {
    /// The speed of the fastest device, in millions of operations a second.
    pub(super) fn fastest(&self) -> u64 {
        let speeds = self.devices.iter().map(|device| device.mflops);
        speeds.max().unwrap_or(0)
    }

    fn of_advert(advert: &Advert) -> Self {
        let usable = advert
            .devices
            .iter()
            .filter(|device| device.fault.is_none());
        Self {
            price: advert.price_micros_per_hour,
            region: advert.region.clone(),
            devices: usable
                .map(|device| Usable {
                    kind: Some(device.kind),
                    memory: device.memory_bytes,
                    mflops: device.mflops,
                })
                .collect(),
            free: advert.free_slots,
        }
    }

    fn of_server(server: &ServerView) -> Self {
        let devices = server.offer.devices.iter();
        Self {
            price: server.price,
            region: server.offer.region.clone(),
            devices: devices
                .map(|device| Usable {
                    kind: device.kind,
                    memory: device.memory,
                    mflops: mflops(device.score),
                })
                .collect(),
            free: server.free_places,
        }
    }
}

impl From<NodeView> for Candidate {
    fn from(node: NodeView) -> Self {
        Self {
            id: node.address.peer.to_string(),
            live: node.live,
            facts: node.advert.as_ref().map(Facts::of_advert),
            of: Of::Mesh(Box::new(node)),
        }
    }
}

impl From<ServerView> for Candidate {
    fn from(server: ServerView) -> Self {
        Self {
            id: server.offer.id.clone(),
            live: server.live,
            facts: Some(Facts::of_server(&server)),
            of: Of::Server(Box::new(server)),
        }
    }
}

impl Search {
    /// Those who are meant, in order, each with his place.
    pub(super) fn among(&self, all: Vec<Candidate>) -> Vec<(Key, Candidate)> {
        let mut found: Vec<_> = all
            .into_iter()
            .filter(|one| self.means(one))
            .map(|one| (self.key(&one), one))
            .collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }

    fn means(&self, one: &Candidate) -> bool {
        if self.live && !one.live {
            return false;
        }
        let Some(facts) = &one.facts else {
            // Nothing is known of it but where it is.
            return self.asks_nothing();
        };
        facts.price >= self.prices.0
            && self.prices.1.is_none_or(|most| facts.price <= most)
            && (self.regions.is_empty() || self.regions.contains(&facts.region))
            && !self.blocked.contains(&facts.region)
            && (self.asks_no_device() || facts.devices.iter().any(|device| self.fits(device)))
    }

    fn asks_no_device(&self) -> bool {
        self.device.is_none() && self.memory == 0 && self.vram == 0 && self.score <= 0.0
    }

    fn asks_nothing(&self) -> bool {
        self.asks_no_device() && self.prices == (0, None) && self.regions.is_empty()
    }

    fn fits(&self, device: &Usable) -> bool {
        let is_apart = device.kind.is_some_and(|kind| kind != DeviceKind::Cpu);
        self.device.is_none_or(|kind| device.kind == Some(kind))
            && device.memory >= self.memory
            && (self.vram == 0 || (is_apart && device.memory >= self.vram))
            && score(device.mflops) >= self.score
    }

    fn key(&self, one: &Candidate) -> Key {
        let facts = one.facts.as_ref();
        let value = match self.order {
            Order::Price => facts.map_or(u64::MAX, |facts| facts.price),
            Order::Performance => u64::MAX - facts.map_or(0, Facts::fastest),
            Order::Availability => u64::MAX - facts.map_or(0, |facts| facts.free.into()),
        };
        let value = if self.descending {
            u64::MAX - value
        } else {
            value
        };
        let is_preferred =
            !self.preferred.is_empty() && facts.is_some_and(|facts| facts.region == self.preferred);
        (u8::from(!is_preferred), value, one.id.clone())
    }
}

/// The speed that a score of the wire says.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is out of range is the nearest there is"
)]
fn mflops(score: f64) -> u64 {
    (score * 1e3) as u64
}

/// The speed of a device in the unit of the wire: thousands of millions of operations a
/// second, as measured.
#[allow(clippy::cast_precision_loss, reason = "the wire has doubles")]
pub(super) fn score(mflops: u64) -> f64 {
    mflops as f64 / 1e3
}

/// The place of a node as a page's token.
pub(super) fn token((preferred, value, id): &Key) -> String {
    format!("{preferred}.{value}.{id}")
}

/// The place that a token names.
pub(super) fn place(token: &str) -> Result<Option<Key>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let mut parts = token.splitn(3, '.');
    let mut part = || parts.next().unwrap_or_default();
    let key = (|| {
        let (preferred, value) = (part().parse().ok()?, part().parse().ok()?);
        let id = Some(part().to_owned()).filter(|id| !id.is_empty())?;
        Some((preferred, value, id))
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
