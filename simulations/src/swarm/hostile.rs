//! Adverts that no honest peer sends.

use std::time::{SystemTime, UNIX_EPOCH};

use embermesh_crypto::{
    UnixMillis,
    ids::{NetworkName, PeerId},
    keys::Keypair,
    statement::{Advert, Role, Runtimes, Statement as _},
};
use embermesh_mesh::protocol::MAX_LIFETIME;

/// How far back an expired advert lies, in milliseconds.
const HOUR: u64 = 3_600_000;
/// Letters of an address that make an advert with nine of them too large.
const LONG_ADDRESS: usize = 120;

/// What a hostile peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Sends adverts whose signature does not hold.
    Forges,
    /// Sends adverts of a key of its own that are older than one it sent before.
    Replays,
    /// Sends adverts that are over.
    Expired,
    /// Sends adverts that are larger than any may be.
    Oversized,
    /// Signs different adverts with one number.
    Equivocates,
    /// Takes a place among the neighbours and passes on nothing.
    Silent,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Forges,
        Self::Replays,
        Self::Expired,
        Self::Oversized,
        Self::Equivocates,
        Self::Silent,
    ];

    /// What it sends first, which may be passed on, and what it sends then, none of which
    /// may be.
    #[must_use]
    pub fn adverts(self, author: &Keypair, count: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let newest = now().0;
        let numbered = (1..).take(count);
        match self {
            Self::Forges => {
                let bad = numbered.map(|back| {
                    let mut bytes = signed(author, |advert| advert.sequence = newest - back);
                    bytes[7] ^= 1;
                    bytes
                });
                (Vec::new(), bad.collect())
            }
            Self::Replays => {
                let first = vec![signed(author, |advert| advert.sequence = newest)];
                let older =
                    numbered.map(|back| signed(author, |advert| advert.sequence = newest - back));
                (first, older.collect())
            }
            Self::Expired => {
                let bad = numbered.map(|back| {
                    signed(author, |advert| {
                        advert.issued_at.0 -= HOUR + back;
                        advert.expires_at.0 -= HOUR + back;
                    })
                });
                (Vec::new(), bad.collect())
            }
            Self::Oversized => {
                let bad = numbered.map(|back| {
                    signed(author, |advert| {
                        advert.sequence = newest - back;
                        advert.mesh_addresses = vec!["x".repeat(LONG_ADDRESS); 9];
                    })
                });
                (Vec::new(), bad.collect())
            }
            Self::Equivocates => {
                let same_number = |region: u64| {
                    signed(author, |advert| {
                        advert.sequence = newest;
                        advert.region = region.to_string();
                    })
                };
                // The second is the evidence, which everybody must hear.
                let first = (0..2).map(same_number).collect();
                (first, numbered.map(|more| same_number(more + 1)).collect())
            }
            Self::Silent => (Vec::new(), Vec::new()),
        }
    }
}

/// A well-formed advert of a key that nobody knows.
#[must_use]
pub fn newcomer(author: &Keypair) -> Vec<u8> {
    signed(author, |_| {})
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    UnixMillis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Signed by hand: `sign` refuses what breaks a rule.
fn signed(author: &Keypair, change: impl FnOnce(&mut Advert)) -> Vec<u8> {
    let mut advert = advert(author.peer_id());
    change(&mut advert);
    let payload = minicbor::to_vec(&advert).unwrap_or_default();
    let message = [Advert::DOMAIN.as_bytes(), &[0], &payload].concat();
    [author.sign(&message).as_slice(), &payload].concat()
}

fn advert(peer: PeerId) -> Advert {
    let now = now();
    let life = u64::try_from(MAX_LIFETIME.as_millis()).unwrap_or(u64::MAX);
    Advert {
        peer,
        network: NetworkName::default(),
        sequence: now.0,
        issued_at: now,
        expires_at: UnixMillis(now.0.saturating_add(life)),
        role: Role::Node,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mesh_addresses: Vec::new(),
        tls_addresses: Vec::new(),
        region: "nowhere".to_owned(),
        price_micros_per_hour: 1,
        devices: Vec::new(),
        slots: 1,
        free_slots: 1,
        queued: 0,
        draining: false,
        missing_fences: None,
        runtimes: Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
    }
}
