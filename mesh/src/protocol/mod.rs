//! How adverts spread, as a pure state machine: `handle(input, now, rng)` gives
//! outputs, and a timer is one of them. The swarm in [`crate::net`] is one driver
//! of it, a simulation is another.
//!
//! - [`Table`] decides: what gossip is passed on, whom to ask for a table, who is
//!   answered, when the own advert is numbered and signed anew.
//! - [`roster`] holds the adverts: the highest number wins, whatever the order in
//!   which they arrive.
//! - [`own`] is the schedule of the own advert.
//! - [`exchange`] keeps track of the tables asked for.
//! - [`wire`] is the form of a table exchange on a stream.
//! - [`forwarders`] bounds what is passed on in vain.
//! - [`bucket`] bounds a rate.
//!
//! **Verdicts.** What every honest peer would refuse (a bad signature, another
//! network, a life too long) is rejected, which costs its sender score. What
//! honest peers can differ about, because their clocks or tables differ (expired,
//! from the future, older than what is known), is ignored, which costs nothing up to
//! a rate ([`forwarders::IGNORED_RATE`]), and trust beyond it.

use std::time::Duration;

pub mod bucket;
pub mod exchange;
pub mod forwarders;
pub mod own;
pub mod roster;
mod table;
pub mod wire;

pub use own::Ticket;
pub use roster::{Equivocation, Known};
pub use table::{
    GOSSIP_TIME, Input, LATE, Output, RELAY_RATE, RENEWAL_TIME, Reason, Table, Verdict,
};
pub use wire::Summary;

use embermesh_crypto::{
    statement::{Advert, MAX_ADVERT_LIFE, Statement as _},
    time::UnixMillis,
};

/// Adverts held at most; the one that expires soonest makes room.
pub const MAX_ADVERTS: usize = 4096;
/// The longest life of an advert that is believed.
pub const MAX_LIFETIME: Duration = MAX_ADVERT_LIFE;
/// How far the clocks of two peers may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// Bytes of one signed advert.
pub const MAX_ADVERT_BYTES: usize = Advert::MAX_LEN;

/// `now` plus a span, without wrapping.
pub(crate) fn after(now: UnixMillis, span: Duration) -> UnixMillis {
    UnixMillis(now.0.saturating_add(millis(span)))
}

/// A span in whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
