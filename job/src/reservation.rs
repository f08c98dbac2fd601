//! Nodes that are taken for a time: for so long a node takes the jobs of one client
//! alone.
//!
//! - [`book`]: the rules, over all reservations that are open.
//! - [`refused`]: why something was not done.
//!
//! A reservation costs the node's price for its whole time, which is set aside when it
//! is made and when it is extended. Who releases it early pays for the time until
//! then, and gets the rest back; so does whoever's node falls silent.
//!
//! The rules do no IO, read no clock and move no money: they say what is to be set
//! aside, and what is owed.

pub mod book;
pub mod refused;

#[cfg(test)]
mod tests;

use std::{fmt, num::ParseIntError, str::FromStr};

use embermesh_crypto::{ids::PeerId, time::UnixMillis};
use serde::{Deserialize, Serialize};

pub use self::{
    book::{Book, Draft, Extension, Kept, Offer, ReserveAsk},
    refused::Refused,
};
use crate::units::{MicroUnits, Millis};

/// The shortest reservation.
pub const MIN_LENGTH: Millis = Millis(10 * 60_000);

/// The most time that may lie ahead of a reservation, when it is made and when it is
/// extended.
pub const MAX_AHEAD: Millis = Millis(1_440 * 60_000);

/// The number of a reservation, counted from 1 by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReservationId(pub u64);

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReservationId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// The node is the client's.
    Active,
    /// Its client gave it back before its time was over.
    Released,
    /// Its time is over.
    Expired,
    /// Its node fell silent for good; paid is the time until then.
    Lost,
}

impl ReservationState {
    /// The word for it, in output and on disk.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for ReservationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node taken for a time. Amounts are millionths of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its number.
    pub id: ReservationId,
    /// Whose jobs the node takes.
    pub client: PeerId,
    /// The node.
    pub node: PeerId,
    /// Where it stands.
    pub state: ReservationState,
    /// When it began.
    pub starts_at: UnixMillis,
    /// When it is over, by the index's clock.
    pub ends_at: UnixMillis,
    /// What an hour costs, as agreed at the start.
    pub price: MicroUnits,
    /// All that was set aside for it.
    pub held: MicroUnits,
    /// When it came to its end, once it has.
    pub closed_at: Option<UnixMillis>,
    /// What the node's owner was paid at the end; the rest of `held` went back.
    pub paid: MicroUnits,
}

impl Reservation {
    /// How long it is in all.
    #[must_use]
    pub fn length(&self) -> Millis {
        millis_between(self.starts_at, self.ends_at)
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self, now: UnixMillis) -> Millis {
        match self.state {
            ReservationState::Active => millis_between(now, self.ends_at),
            _ => Millis(0),
        }
    }

    /// What went back to the client, once it has come to its end.
    #[must_use]
    pub fn refunded(&self) -> MicroUnits {
        match self.state {
            ReservationState::Active => MicroUnits(0),
            _ => MicroUnits(self.held.0.saturating_sub(self.paid.0)),
        }
    }
}

/// The time from one moment to a later one.
fn millis_between(from: UnixMillis, to: UnixMillis) -> Millis {
    Millis(to.0.saturating_sub(from.0))
}
