//! Nodes that are reserved: for so long a node takes the jobs of one client alone. What
//! that costs is set aside and paid in the transaction of what is done.

use embermesh_crypto::{
    ids::{JobId, PeerId},
    time::UnixMillis,
};
use embermesh_job::{
    lifecycle::Input,
    reservation::{Draft, Offer, Reservation, ReservationId, ReservationState, ReserveAsk},
    units::{MicroUnits, Millis},
    wire::ReservationView,
};

use super::{
    Outputs, Refused, Reply, State,
    bills::own_key,
    settings::{HOLDS_PER_PASS, RESERVED_NODE_SILENCE, SILENCE_LOOK},
};

/// The word for an attempt that a reservation paid for and outlived it.
const RESERVATION_OVER: &str = "reservation_over";

impl State {
    /// Takes a node for a client.
    pub(super) fn reserve(
        &mut self,
        client: PeerId,
        ask: &ReserveAsk,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        // What is over can be had at once, not only after the next tick.
        self.expire_reservations(now, out);
        self.ledger.expire(now, HOLDS_PER_PASS);
        let offer = self.offer(client, &ask.node);
        let new = match self.reservations.draft(client, ask, &offer, now)? {
            Draft::Earlier(id) => return Ok(Reply::ReservedBefore(id)),
            Draft::New(new) => new,
        };
        let (id, held) = (new.reservation.id, new.reservation.held);
        let hold = self.hold_for(id, client, held, 0, now)?;
        let reservation = self.reservations.enter(*new, hold);
        self.registry.reserve(&ask.node, Some(client));
        self.placing_due = true;
        Ok(self.reserved(reservation))
    }

    /// Makes a reservation longer.
    pub(super) fn extend_reservation(
        &mut self,
        caller: PeerId,
        id: ReservationId,
        length: Millis,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        self.expire_reservations(now, out);
        self.ledger.expire(now, HOLDS_PER_PASS);
        let caller = self.caller(caller);
        let drafted = self.reservations.draft_extension(caller, id, length, now)?;
        let Some(extension) = drafted else {
            return Ok(Reply::ReservedBefore(id));
        };
        let payer = self.reservations.owned(caller, id)?.client;
        let holds = self
            .reservations
            .owed(id, now)
            .map_or(0, |(_, holds)| holds.len());
        let hold = self.hold_for(id, payer, extension.more, holds, now)?;
        self.reservations.extend(extension, hold);
        let extended = self.reservations.owned(caller, id)?.clone();
        Ok(self.reserved(extended))
    }

    /// Gives a reserved node back.
    pub(super) fn release_reservation(
        &mut self,
        caller: PeerId,
        id: ReservationId,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        self.expire_reservations(now, out);
        let caller = self.caller(caller);
        self.reservations.owned(caller, id)?;
        match self.close_reservation(id, ReservationState::Released, now, now, out) {
            Some(closed) => Ok(self.reserved(closed)),
            None => Ok(Reply::ReservedBefore(id)),
        }
    }

    /// Where nodes can be reached, and whether the caller is an administrator.
    pub(super) fn locate(&self, caller: PeerId, nodes: &[PeerId]) -> Reply {
        Reply::Located {
            administrator: self.administers(caller),
            addresses: nodes
                .iter()
                .filter_map(|node| Some((*node, self.registry.address(node)?)))
                .collect(),
        }
    }

    /// Ends the reservations whose time is over, the oldest first, and those whose
    /// node is gone.
    pub(super) fn tick_reservations(&mut self, now: UnixMillis, out: &mut Outputs) {
        self.expire_reservations(now, out);
        if self.silence_look_at > now {
            return;
        }
        self.silence_look_at = now.saturating_add(SILENCE_LOOK);
        let gone: Vec<_> = self
            .reservations
            .open()
            .filter_map(|one| Some((one.id, self.silent_since(&one.node, now)?)))
            .take(HOLDS_PER_PASS)
            .collect();
        for (id, since) in gone {
            self.close_reservation(id, ReservationState::Lost, since, now, out);
        }
    }

    /// When reservations next have something to do.
    pub(super) fn reservations_due(&self) -> Option<UnixMillis> {
        let (ends_at, _) = self.reservations.next_due()?;
        Some(ends_at.min(self.silence_look_at))
    }

    fn expire_reservations(&mut self, now: UnixMillis, out: &mut Outputs) {
        for _ in 0..HOLDS_PER_PASS {
            match self.reservations.next_due() {
                Some((at, id)) if at <= now => {
                    self.close_reservation(id, ReservationState::Expired, at, now, out);
                }
                _ => return,
            }
        }
    }

    /// When a reserved node spoke last, if that is too long ago. The time in which the
    /// index was away, or its clock wrong, is no silence.
    fn silent_since(&self, node: &PeerId, now: UnixMillis) -> Option<UnixMillis> {
        if self.registry.is_live(node) {
            return None;
        }
        let last = self.registry.node(node).map(|node| node.last_seen);
        let last = last.unwrap_or_default().max(self.listening_since);
        (last.saturating_add(RESERVED_NODE_SILENCE) <= now).then_some(last)
    }

    /// Ends a reservation at `at`: pays the node for the time until then, gives the
    /// rest back and stops what the reservation paid for.
    fn close_reservation(
        &mut self,
        id: ReservationId,
        state: ReservationState,
        at: UnixMillis,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Option<Reservation> {
        let (owed, holds) = self.reservations.owed(id, at)?;
        let (mut left, holds) = (owed, holds.to_vec());
        let node = self.reservations.open_one(id)?.node;
        for (number, hold) in holds.into_iter().enumerate() {
            let has = self.ledger.holds().get(&hold).map(|hold| hold.amount);
            let share = left.min(has.unwrap_or_default());
            let to = (share.0 > 0).then_some((node, share));
            if let Ok(key) = own_key(&format!("reservation/{id}/end/{number}")) {
                left.0 -= self.settle_hold(hold, to, key, now).0;
            }
        }
        let paid = MicroUnits(owed.0 - left.0);
        let closed = self.reservations.close(id, state, at, paid)?;
        self.registry.reserve(&node, None);
        self.placing_due = true;
        if closed.price.0 > 0 {
            self.withdraw_jobs_under(id, &node, state, now, out);
        }
        Some(closed)
    }

    /// Stops the jobs on a node that a reservation has paid for.
    fn withdraw_jobs_under(
        &mut self,
        id: ReservationId,
        node: &PeerId,
        state: ReservationState,
        now: UnixMillis,
        out: &mut Outputs,
    ) {
        let tasks = self.registry.node(node).map(|node| node.tasks.clone());
        let under = |job: &JobId| {
            let terms = self.jobs.get(job)?.terms.as_ref()?;
            (terms.under == Some(id)).then_some((*job, terms.epoch))
        };
        let tasks: Vec<_> = tasks.iter().flatten().filter_map(under).collect();
        for (job, epoch) in tasks {
            let input = Input::Withdrawn {
                epoch,
                code: RESERVATION_OVER,
                message: format!("reservation {id} of the node was {state}"),
            };
            if let Err(error) = self.step(job, input, now, out) {
                tracing::error!(%job, %error, "a job stays on a node whose reservation is over");
            }
        }
    }

    fn offer(&self, client: PeerId, node: &PeerId) -> Offer {
        let view = self.registry.view(node);
        let tasks = self.registry.node(node).map(|node| &node.tasks);
        let others = tasks.into_iter().flatten().filter(|job| {
            let record = self.jobs.get(job);
            record.is_some_and(|record| record.job.owner != client)
        });
        Offer {
            price: view.map(|view| view.price).unwrap_or_default(),
            live: view.is_some_and(|view| view.live),
            draining: view.is_some_and(|view| view.draining),
            others: others.count(),
        }
    }

    /// Sets aside what a reservation costs, the `number`th time.
    fn hold_for(
        &mut self,
        id: ReservationId,
        payer: PeerId,
        amount: MicroUnits,
        number: usize,
        now: UnixMillis,
    ) -> Result<Option<embermesh_job::ledger::HoldId>, Refused> {
        if amount.0 == 0 {
            return Ok(None);
        }
        let key = own_key(&format!("reservation/{id}/hold/{number}"))?;
        let subject = format!("reservation {id}");
        self.set_aside(payer, amount, &subject, key, now).map(Some)
    }

    fn reserved(&self, reservation: Reservation) -> Reply {
        let address = self.registry.address(&reservation.node);
        Reply::Reserved(Box::new(ReservationView {
            reservation,
            address,
        }))
    }
}
