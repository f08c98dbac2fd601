//! All reservations that are open, and the newest that are over.
//!
//! What costs money is done in two steps: a draft says what is to be set aside, and is
//! entered once it has been.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use embermesh_crypto::{ids::PeerId, time::UnixMillis};

use super::{
    MAX_AHEAD, MIN_LENGTH, Refused, Reservation, ReservationId, ReservationState, millis_between,
};
use crate::{
    ledger::{Caller, HoldId},
    price::cost,
    units::{MicroUnits, Millis},
};

/// The most open reservations of one client.
pub const PER_CLIENT: usize = 64;

/// The most open reservations.
pub const ALL: usize = 1 << 14;

/// How often a reservation can be extended: each extension has a hold of its own.
pub const EXTENSIONS: usize = 64;

/// The newest idempotency keys that are remembered; the oldest is forgotten first. A
/// retry comes seconds after its request.
pub const KEYS_KEPT: usize = 1 << 16;

/// The newest reservations that are over and kept in memory.
pub const CLOSED_KEPT: usize = 1 << 10;

/// A reservation with what only its keeper needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What everybody sees.
    pub reservation: Reservation,
    /// What was set aside for it, the oldest first.
    pub holds: Vec<HoldId>,
    /// The client's name for the request that made it.
    pub key: [u8; 16],
    /// The length that was asked for then.
    pub asked: Millis,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReserveAsk {
    /// The client's name for the request.
    pub key: [u8; 16],
    /// The node.
    pub node: PeerId,
    /// For how long.
    pub length: Millis,
    /// What an hour may cost at most.
    pub max_price: Option<MicroUnits>,
}

/// A node as it stands when somebody wants to reserve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What an hour costs.
    pub price: MicroUnits,
    /// Whether it is registered and has been heard of lately.
    pub live: bool,
    /// Whether it is about to stop.
    pub draining: bool,
    /// How many jobs of others it has.
    pub others: usize,
}

/// What a request to reserve comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draft {
    /// It made this reservation before.
    Earlier(ReservationId),
    /// It is to be entered once what it costs was set aside.
    New(Box<Kept>),
}

/// What a request to extend comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Which reservation.
    pub id: ReservationId,
    /// When it will be over.
    pub ends_at: UnixMillis,
    /// What is to be set aside beside what was before.
    pub more: MicroUnits,
}

/// The reservations of an index.
#[derive(Debug, Default)]
pub struct Book {
    open: BTreeMap<ReservationId, Kept>,
    by_node: BTreeMap<PeerId, ReservationId>,
    due: BTreeSet<(UnixMillis, ReservationId)>,
    of_client: BTreeMap<PeerId, usize>,
    closed: BTreeMap<ReservationId, Reservation>,
    closed_order: VecDeque<ReservationId>,
    keys: BTreeMap<(PeerId, [u8; 16]), (ReservationId, PeerId, Millis)>,
    key_order: VecDeque<(PeerId, [u8; 16])>,
    last: u64,
    changes: BTreeMap<ReservationId, Kept>,
}

impl Book {
    /// Goes on from what was kept, the oldest first.
    #[must_use]
    pub fn restore(kept: Vec<Kept>) -> Self {
        let mut book = Self::default();
        for kept in kept {
            book.last = book.last.max(kept.reservation.id.0);
            book.remember_key(&kept);
            if kept.reservation.state == ReservationState::Active {
                book.insert(kept);
            } else {
                book.remember_closed(kept.reservation);
            }
        }
        book
    }

    /// What a request to reserve comes to. Nothing is changed.
    ///
    /// # Errors
    /// When the rules do not allow it.
    pub fn draft(
        &self,
        client: PeerId,
        ask: &ReserveAsk,
        offer: &Offer,
        now: UnixMillis,
    ) -> Result<Draft, Refused> {
        let node = ask.node;
        if let Some((id, before, asked)) = self.keys.get(&(client, ask.key)) {
            if (*before, *asked) != (node, ask.length) {
                return Err(Refused::KeyReused(*id));
            }
            return Ok(Draft::Earlier(*id));
        }
        if !(MIN_LENGTH..=MAX_AHEAD).contains(&ask.length) {
            return Err(Refused::Length);
        }
        if !offer.live {
            return Err(Refused::NotLive(node));
        }
        if offer.draining {
            return Err(Refused::Draining(node));
        }
        if self.by_node.contains_key(&node) {
            return Err(Refused::AlreadyReserved(node));
        }
        if offer.others > 0 {
            let jobs = offer.others;
            return Err(Refused::Busy { node, jobs });
        }
        if let Some(pays) = ask.max_price.filter(|pays| offer.price > *pays) {
            let asks = offer.price;
            return Err(Refused::TooDear { node, asks, pays });
        }
        if self
            .of_client
            .get(&client)
            .is_some_and(|n| *n >= PER_CLIENT)
        {
            return Err(Refused::TooMany { most: PER_CLIENT });
        }
        if self.open.len() >= ALL {
            return Err(Refused::Full { most: ALL });
        }
        // Nobody pays himself.
        let price = if client == node {
            MicroUnits(0)
        } else {
            offer.price
        };
        Ok(Draft::New(Box::new(Kept {
            reservation: Reservation {
                id: ReservationId(self.last + 1),
                client,
                node,
                state: ReservationState::Active,
                starts_at: now,
                ends_at: UnixMillis(now.0.saturating_add(ask.length.0)),
                price,
                held: cost(price, ask.length),
                closed_at: None,
                paid: MicroUnits(0),
            },
            holds: Vec::new(),
            key: ask.key,
            asked: ask.length,
        })))
    }

    /// Enters a new reservation, for which `hold` was set aside.
    pub fn enter(&mut self, mut new: Kept, hold: Option<HoldId>) -> Reservation {
        new.holds.extend(hold);
        self.last = self.last.max(new.reservation.id.0);
        self.remember_key(&new);
        self.changes.insert(new.reservation.id, new.clone());
        let reservation = new.reservation.clone();
        self.insert(new);
        reservation
    }

    /// What a request to extend comes to; nothing when it is as long already.
    ///
    /// # Errors
    /// When the rules do not allow it.
    pub fn draft_extension(
        &self,
        caller: Caller,
        id: ReservationId,
        length: Millis,
        now: UnixMillis,
    ) -> Result<Option<Extension>, Refused> {
        self.owned(caller, id)?;
        let kept = self.open.get(&id).ok_or(Refused::Over(id))?;
        let reservation = &kept.reservation;
        if reservation.ends_at <= now {
            return Err(Refused::Over(id));
        }
        if length < reservation.length() {
            return Err(Refused::Shorter(id));
        }
        if length == reservation.length() {
            return Ok(None);
        }
        let ends_at = UnixMillis(reservation.starts_at.0.saturating_add(length.0));
        if millis_between(now, ends_at) > MAX_AHEAD {
            return Err(Refused::Length);
        }
        if kept.holds.len() > EXTENSIONS {
            let most = EXTENSIONS;
            return Err(Refused::TooManyExtensions { id, most });
        }
        let whole = cost(reservation.price, length);
        Ok(Some(Extension {
            id,
            ends_at,
            more: MicroUnits(whole.0.saturating_sub(reservation.held.0)),
        }))
    }

    /// Enters an extension, for which `hold` was set aside.
    pub fn extend(&mut self, extension: Extension, hold: Option<HoldId>) {
        let Some(kept) = self.open.get_mut(&extension.id) else {
            return;
        };
        let reservation = &mut kept.reservation;
        self.due.remove(&(reservation.ends_at, extension.id));
        self.due.insert((extension.ends_at, extension.id));
        reservation.ends_at = extension.ends_at;
        reservation.held.0 = reservation.held.0.saturating_add(extension.more.0);
        kept.holds.extend(hold);
        self.changes.insert(extension.id, kept.clone());
    }

    /// What is owed for an open reservation that ends at `at`, and what was set aside.
    #[must_use]
    pub fn owed(&self, id: ReservationId, at: UnixMillis) -> Option<(MicroUnits, &[HoldId])> {
        let kept = self.open.get(&id)?;
        let reservation = &kept.reservation;
        let used = millis_between(reservation.starts_at, at.min(reservation.ends_at));
        let owed = cost(reservation.price, used).min(reservation.held);
        Some((owed, &kept.holds))
    }

    /// Ends an open reservation, for which `paid` was paid.
    pub fn close(
        &mut self,
        id: ReservationId,
        state: ReservationState,
        at: UnixMillis,
        paid: MicroUnits,
    ) -> Option<Reservation> {
        let mut kept = self.open.remove(&id)?;
        let reservation = &mut kept.reservation;
        self.due.remove(&(reservation.ends_at, id));
        self.by_node.remove(&reservation.node);
        if let Some(count) = self.of_client.get_mut(&reservation.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_client.remove(&reservation.client);
            }
        }
        reservation.state = state;
        reservation.closed_at = Some(at);
        reservation.paid = paid;
        let closed = reservation.clone();
        self.changes.insert(id, kept);
        self.remember_closed(closed.clone());
        Some(closed)
    }

    /// A reservation that the caller may change: his own, or any for an administrator.
    ///
    /// # Errors
    /// When it is not known here, or another's.
    pub fn owned(&self, caller: Caller, id: ReservationId) -> Result<&Reservation, Refused> {
        let open = self.open.get(&id).map(|kept| &kept.reservation);
        let found = open.or_else(|| self.closed.get(&id));
        let found = found.ok_or(Refused::Unknown(id))?;
        if found.client != caller.peer && !caller.administrator {
            return Err(Refused::NotOwner(id));
        }
        Ok(found)
    }

    /// The open reservations, by number.
    pub fn open(&self) -> impl Iterator<Item = &Reservation> {
        self.open.values().map(|kept| &kept.reservation)
    }

    /// An open reservation.
    #[must_use]
    pub fn open_one(&self, id: ReservationId) -> Option<&Reservation> {
        self.open.get(&id).map(|kept| &kept.reservation)
    }

    /// The open reservation of a node.
    #[must_use]
    pub fn of_node(&self, node: &PeerId) -> Option<&Reservation> {
        let id = self.by_node.get(node)?;
        Some(&self.open.get(id)?.reservation)
    }

    /// The reservation whose time is over first, and when that is.
    #[must_use]
    pub fn next_due(&self) -> Option<(UnixMillis, ReservationId)> {
        self.due.first().copied()
    }

    /// What must be made durable since this was last asked.
    pub fn take_changes(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.changes).into_values().collect()
    }

    fn insert(&mut self, kept: Kept) {
        let Reservation {
            id,
            node,
            client,
            ends_at,
            ..
        } = kept.reservation;
        self.by_node.insert(node, id);
        self.due.insert((ends_at, id));
        *self.of_client.entry(client).or_default() += 1;
        self.open.insert(id, kept);
    }

    fn remember_key(&mut self, kept: &Kept) {
        let reservation = &kept.reservation;
        let name = (reservation.client, kept.key);
        let what = (reservation.id, reservation.node, kept.asked);
        if self.keys.insert(name, what).is_none() {
            self.key_order.push_back(name);
        }
        while self.key_order.len() > KEYS_KEPT {
            if let Some(oldest) = self.key_order.pop_front() {
                self.keys.remove(&oldest);
            }
        }
    }

    fn remember_closed(&mut self, closed: Reservation) {
        self.closed_order.push_back(closed.id);
        self.closed.insert(closed.id, closed);
        while self.closed_order.len() > CLOSED_KEPT {
            if let Some(oldest) = self.closed_order.pop_front() {
                self.closed.remove(&oldest);
            }
        }
    }
}
