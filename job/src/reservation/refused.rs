//! Why a reservation was not made or changed: a closed list, each with a stable word
//! and a message that names the cure.

use embermesh_crypto::ids::PeerId;
use thiserror::Error;

use super::{MAX_AHEAD, MIN_LENGTH, ReservationId};
use crate::units::MicroUnits;

/// A refusal. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is no such reservation.
    #[error("there is no reservation {0}")]
    Unknown(ReservationId),
    /// It is another's.
    #[error("reservation {0} belongs to another key; use that key, or an administrator's")]
    NotOwner(ReservationId),
    /// It has come to its end.
    #[error("reservation {0} is over; make another")]
    Over(ReservationId),
    /// Too short, or too far ahead.
    #[error(
        "a reservation takes {MIN_LENGTH} at least, and {MAX_AHEAD} at most lie ahead of it; name a length between"
    )]
    Length,
    /// An extension that would make it shorter.
    #[error("reservation {0} is longer than that already; release it to end it early")]
    Shorter(ReservationId),
    /// The idempotency key names another reservation of the same client.
    #[error(
        "this idempotency key was used for another request, reservation {0}; make a new key for each"
    )]
    KeyReused(ReservationId),
    /// The node is not registered, or has been silent.
    #[error("the node {0} is not here now; choose one that `embermesh nodes ls` shows as live")]
    NotLive(PeerId),
    /// The node is about to stop.
    #[error("the node {0} is about to stop; choose another")]
    Draining(PeerId),
    /// The node has jobs of others.
    #[error(
        "the node {node} still runs {jobs} jobs of others; reserve it when they have ended, or choose another"
    )]
    Busy {
        /// The node.
        node: PeerId,
        /// How many.
        jobs: usize,
    },
    /// The node is reserved.
    #[error("the node {0} is reserved; choose another, or wait until it is free")]
    AlreadyReserved(PeerId),
    /// The node asks for more than the client pays.
    #[error(
        "the node {node} asks {asks} an hour, and {pays} is the most that was named; name more, or choose another"
    )]
    TooDear {
        /// The node.
        node: PeerId,
        /// What it asks.
        asks: MicroUnits,
        /// What the client pays.
        pays: MicroUnits,
    },
    /// Too many of one client.
    #[error("this key has {most} reservations and gets no more; release some")]
    TooMany {
        /// The bound.
        most: usize,
    },
    /// Too many of all clients.
    #[error("the index has {most} reservations and takes no more; try again when some are over")]
    Full {
        /// The bound.
        most: usize,
    },
    /// It was extended too often.
    #[error(
        "reservation {id} was extended {most} times and can be no more; make another when it is over"
    )]
    TooManyExtensions {
        /// Which.
        id: ReservationId,
        /// The bound.
        most: usize,
    },
}

impl Refused {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "no_reservation",
            Self::NotOwner(_) => "not_owner",
            Self::Over(_) => "reservation_over",
            Self::Length => "length",
            Self::Shorter(_) => "shorter",
            Self::KeyReused(_) => "key_reused",
            Self::NotLive(_) => "not_live",
            Self::Draining(_) => "draining",
            Self::Busy { .. } => "busy",
            Self::AlreadyReserved(_) => "already_reserved",
            Self::TooDear { .. } => "too_dear",
            Self::TooMany { .. } => "too_many_reservations",
            Self::Full { .. } => "reservations_full",
            Self::TooManyExtensions { .. } => "too_many_extensions",
        }
    }
}
