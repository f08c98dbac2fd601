//! Nodes that one client has for a time.

use embermesh_job::{
    reservation::{Reservation, ReservationId, ReservationState, ReserveAsk},
    units::Millis,
};

use super::{
    restarting::{Memory, restart},
    *,
};
use crate::state::settings::RESERVED_NODE_SILENCE;

const MINUTE: u64 = 60_000;
const OTHER: u8 = 101;

/// A client with money, and a node that asks 60 millionths for an hour.
fn world() -> (World, Keypair) {
    let mut world = World::new();
    world.deposit(world.client.peer_id(), 1_000);
    world.price = 60;
    let node = key(1);
    world.register(&node, 2);
    (world, node)
}

impl World {
    fn changed(&mut self, command: Command) -> Result<Reservation, Refused> {
        match self.handle(command)? {
            Reply::Reserved(view) => Ok(view.reservation),
            other => panic!("a reservation was answered with {other:?}"),
        }
    }

    fn reserve_for(
        &mut self,
        caller: PeerId,
        node: &Keypair,
        minutes: u64,
    ) -> Result<Reservation, Refused> {
        self.submits += 1;
        let ask = ReserveAsk {
            key: self.submits.to_be_bytes(),
            node: node.peer_id(),
            length: Millis(minutes * MINUTE),
            max_price: None,
        };
        self.changed(Command::Reserve { caller, ask })
    }

    fn reserve(&mut self, node: &Keypair, minutes: u64) -> Reservation {
        self.reserve_for(self.client.peer_id(), node, minutes)
            .unwrap()
    }

    fn extend(&mut self, reservation: ReservationId, minutes: u64) -> Result<Reservation, Refused> {
        self.changed(Command::ExtendReservation {
            caller: self.client.peer_id(),
            reservation,
            length: Millis(minutes * MINUTE),
        })
    }

    fn release(&mut self, reservation: ReservationId) -> Result<Reservation, Refused> {
        self.changed(Command::ReleaseReservation {
            caller: self.client.peer_id(),
            reservation,
        })
    }

    /// Minutes pass, with the node alive and its tasks running.
    fn minutes(&mut self, node: &Keypair, running: &[TaskKey], minutes: u64) {
        for _ in 0..minutes {
            self.heartbeat(node, running);
            self.now = self.now.saturating_add(Duration::from_millis(MINUTE));
            // A minute is many leases here: nothing else is to lapse meanwhile.
            self.state.grace(self.now);
            self.heartbeat(node, running);
            self.handle(Command::Tick).unwrap();
        }
    }

    fn kept(&mut self) -> Vec<Reservation> {
        let kept = self.writes().reservations.into_iter();
        kept.map(|kept| kept.reservation).collect()
    }
}

fn word<T: std::fmt::Debug>(refused: Result<T, Refused>) -> &'static str {
    match refused.unwrap_err() {
        Refused::Reservation(refused) => refused.code(),
        Refused::Ledger(refused) => refused.code(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_reserved_node_takes_its_clients_jobs_alone_and_they_cost_nothing_more() {
    let (mut world, node) = world();
    let made = world.reserve(&node, 60);
    assert_eq!((made.state, made.held.0), (ReservationState::Active, 60));
    let own = world.client.peer_id();
    assert_eq!(world.funds(own), (940, 60));
    let other = key(OTHER).peer_id();
    world.deposit(other, 1_000);
    let budget = Some(MicroUnits(1_000));
    let stranger = world.submit_with(other, spec("other"), [9; 16], budget);
    let stranger = stranger.unwrap().job;
    assert_eq!(stranger.passed_over[0].code, "reserved");
    let assigned = world.submit(spec("own")).unwrap();
    assert!(assigned.assignment.is_some());
    let charge = assigned.job.charge.unwrap();
    assert_eq!(
        (charge.price.unwrap().0, charge.reservation),
        (0, Some(made.id))
    );
    let twice = world.reserve_for(other, &node, 60);
    assert_eq!(word(twice), "already_reserved");
    // When it is over, whoever waited has his turn.
    let cancel = Command::Cancel {
        job: assigned.job.job.id,
        caller: own,
    };
    world.handle(cancel).unwrap();
    world.release(made.id).unwrap();
    assert_eq!(world.state_of(stranger.job.id), JobState::Assigned);
}

#[test]
fn the_time_that_has_passed_is_paid_and_the_rest_goes_back() {
    let (mut world, node) = world();
    let own = world.client.peer_id();
    let made = world.reserve(&node, 60);
    world.minutes(&node, &[], 15);
    let released = world.release(made.id).unwrap();
    assert_eq!(released.state, ReservationState::Released);
    assert_eq!((released.paid.0, released.refunded().0), (15, 45));
    assert_eq!(world.funds(own), (985, 0));
    assert_eq!(world.funds(node.peer_id()), (15, 0));
    // Given back once more it is what it is.
    let again = world.handle(Command::ReleaseReservation {
        caller: own,
        reservation: made.id,
    });
    assert!(matches!(again, Ok(Reply::ReservedBefore(id)) if id == made.id));
    assert_eq!(world.funds(node.peer_id()), (15, 0));
}

#[test]
fn an_extension_is_set_aside_beside_and_the_end_comes_by_the_clock() {
    let (mut world, node) = world();
    let own = world.client.peer_id();
    let made = world.reserve(&node, 30);
    world.minutes(&node, &[], 10);
    let longer = world.extend(made.id, 90).unwrap();
    assert_eq!(longer.held.0, 90);
    assert_eq!(world.funds(own), (910, 90));
    assert_eq!(word(world.extend(made.id, 30)), "shorter");
    assert_eq!(word(world.extend(made.id, 1_451)), "length");
    world.writes();
    world.minutes(&node, &[], 79);
    assert!(world.kept().is_empty());
    world.minutes(&node, &[], 1);
    let kept = world.kept();
    assert_eq!(kept[0].state, ReservationState::Expired);
    assert_eq!((kept[0].paid.0, world.funds(own)), (90, (910, 0)));
    assert_eq!(world.funds(node.peer_id()), (90, 0));
    assert_eq!(word(world.extend(made.id, 120)), "reservation_over");
    assert!(world.reserve_for(key(OTHER).peer_id(), &node, 60).is_err());
    world.reserve(&node, 10);
}

#[test]
fn too_little_money_reserves_nothing_and_extends_nothing() {
    let (mut world, node) = world();
    let poor = key(OTHER).peer_id();
    world.writes();
    assert_eq!(
        word(world.reserve_for(poor, &node, 60)),
        "insufficient_funds"
    );
    assert!(world.writes().is_empty());
    world.deposit(poor, 60);
    let made = world.reserve_for(poor, &node, 60).unwrap();
    let longer = Command::ExtendReservation {
        caller: poor,
        reservation: made.id,
        length: Millis(120 * MINUTE),
    };
    assert_eq!(word(world.changed(longer)), "insufficient_funds");
    let open = world.state.reservations().of_node(&node.peer_id()).unwrap();
    assert_eq!(open.length(), Millis(60 * MINUTE));
    assert_eq!(word(world.release(made.id)), "not_owner");
    assert_eq!(word(world.extend(made.id, 120)), "not_owner");
}

#[test]
fn a_node_with_jobs_of_others_is_not_to_be_had() {
    let (mut world, node) = world();
    let other = key(OTHER).peer_id();
    world.deposit(other, 1_000);
    let budget = Some(MicroUnits(1_000));
    let job = world.submit_with(other, spec("other"), [9; 16], budget);
    let job = job.unwrap().job.job.id;
    let own = world.client.peer_id();
    assert_eq!(word(world.reserve_for(own, &node, 60)), "busy");
    world
        .handle(Command::Cancel { job, caller: other })
        .unwrap();
    world.reserve(&node, 60);
    assert_eq!(word(world.reserve_for(own, &key(9), 60)), "not_live");
}

#[test]
fn a_job_that_a_reservation_paid_for_does_not_outlive_it() {
    let (mut world, node) = world();
    let made = world.reserve(&node, 10);
    let job = world.submit(spec("own")).unwrap().job.job.id;
    let first = task(job, 1);
    world.report(&node, first, world.started(first)).unwrap();
    world.minutes(&node, &[first], 9);
    assert_eq!(world.state_of(job), JobState::Running);
    world.orders();
    world.minutes(&node, &[first], 1);
    assert_eq!(world.state_of(job), JobState::Queued);
    let ended = world.state.job(&job).unwrap().attempts[0].ended.clone();
    assert_eq!(ended.unwrap().code, "reservation_over");
    let stops = world.orders();
    let stopped = stops
        .iter()
        .any(|(_, order)| *order == Order::Cancel(first));
    assert!(stopped, "{stops:?}");
    assert!(world.kept().iter().any(|one| one.id == made.id));
    let passed = world.state.snapshot(job).unwrap().passed_over;
    assert_eq!(passed[0].code, "no_budget");
}

#[test]
fn a_job_on_a_reserved_node_that_asks_nothing_goes_on() {
    let mut world = World::new();
    let node = key(1);
    world.register(&node, 1);
    let made = world.reserve(&node, 10);
    assert_eq!(made.held.0, 0);
    let job = world.submit(spec("own")).unwrap().job.job.id;
    let first = task(job, 1);
    world.report(&node, first, world.started(first)).unwrap();
    world.minutes(&node, &[first], 10);
    assert!(
        world
            .state
            .reservations()
            .of_node(&node.peer_id())
            .is_none()
    );
    assert_eq!(world.state_of(job), JobState::Running);
}

#[test]
fn a_node_that_falls_silent_is_paid_until_its_last_word() {
    let (mut world, node) = world();
    let own = world.client.peer_id();
    world.reserve(&node, 60);
    world.minutes(&node, &[], 20);
    world.writes();
    world.wait(RESERVED_NODE_SILENCE - Duration::from_secs(1));
    assert!(world.kept().is_empty());
    world.wait(Duration::from_secs(11));
    let kept = world.kept();
    assert_eq!(kept[0].state, ReservationState::Lost);
    assert_eq!(kept[0].paid.0, 20);
    assert_eq!(world.funds(own), (980, 0));
}

#[test]
fn reservations_outlive_the_index_and_its_absence_is_no_silence() {
    let (mut world, node) = world();
    let mut store = Memory::default();
    let own = world.client.peer_id();
    let made = world.reserve(&node, 60);
    restart(&mut world, &mut store, Duration::from_millis(20 * MINUTE));
    assert_eq!(world.funds(own), (940, 60));
    world.wait(Duration::from_secs(60));
    let open = world.state.reservations().of_node(&node.peer_id());
    assert_eq!(open.map(|one| one.id), Some(made.id));
    world.register(&node, 2);
    let other = key(OTHER).peer_id();
    let stranger = world.submit_as(other, spec("other"), [9; 16]).unwrap();
    assert_eq!(stranger.job.passed_over[0].code, "reserved");
    // Its time may be over while the index is away.
    restart(&mut world, &mut store, Duration::from_millis(60 * MINUTE));
    world.handle(Command::Tick).unwrap();
    assert_eq!(world.kept()[0].state, ReservationState::Expired);
    assert_eq!(world.funds(own), (940, 0));
    assert_eq!(world.funds(node.peer_id()), (60, 0));
}
