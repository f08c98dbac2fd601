//! Reservations: asked for, extended, ended.

use embermesh_crypto::keys::Keypair;

use super::*;
use crate::ledger::{Caller, HoldId};

const MINUTE: u64 = 60_000;
const START: UnixMillis = UnixMillis(1_790_000_000_000);

fn peer(n: u8) -> PeerId {
    Keypair::from_seed(&[n; 32]).peer_id()
}

fn after(minutes: u64) -> UnixMillis {
    UnixMillis(START.0 + minutes * MINUTE)
}

fn caller(n: u8) -> Caller {
    Caller {
        peer: peer(n),
        administrator: false,
    }
}

fn offer() -> Offer {
    Offer {
        price: MicroUnits(600),
        live: true,
        draining: false,
        others: 0,
    }
}

fn ask(key: u8, node: u8, minutes: u64) -> ReserveAsk {
    ReserveAsk {
        key: [key; 16],
        node: peer(node),
        length: Millis(minutes * MINUTE),
        max_price: None,
    }
}

fn reserve(book: &mut Book, ask: &ReserveAsk) -> Reservation {
    match book.draft(peer(1), ask, &offer(), START).unwrap() {
        Draft::New(new) => book.enter(*new, Some(HoldId(5))),
        Draft::Earlier(id) => panic!("{id} was made before"),
    }
}

fn refused(book: &Book, client: u8, ask: &ReserveAsk, offer: &Offer) -> &'static str {
    book.draft(peer(client), ask, offer, START)
        .unwrap_err()
        .code()
}

#[test]
fn a_node_is_reserved_once_and_the_whole_time_is_set_aside() {
    let mut book = Book::default();
    let made = reserve(&mut book, &ask(1, 9, 60));
    assert_eq!((made.held, made.ends_at), (MicroUnits(600), after(60)));
    assert_eq!(book.of_node(&peer(9)), Some(&made));
    let again = book.draft(peer(1), &ask(1, 9, 60), &offer(), START);
    assert_eq!(again, Ok(Draft::Earlier(made.id)));
    let other = refused(&book, 1, &ask(1, 9, 61), &offer());
    assert_eq!(other, "key_reused");
    // The key is the client's own; the node is taken for its client too.
    assert_eq!(
        refused(&book, 2, &ask(1, 9, 60), &offer()),
        "already_reserved"
    );
    assert_eq!(
        refused(&book, 1, &ask(2, 9, 60), &offer()),
        "already_reserved"
    );
}

#[test]
fn each_reason_has_its_word() {
    let book = Book::default();
    let why = |change: fn(&mut ReserveAsk, &mut Offer)| {
        let (mut ask, mut offer) = (ask(1, 9, 60), offer());
        change(&mut ask, &mut offer);
        match book.draft(peer(1), &ask, &offer, START) {
            Ok(_) => "made",
            Err(refused) => refused.code(),
        }
    };
    assert_eq!(why(|_, _| {}), "made");
    assert_eq!(why(|ask, _| ask.length = Millis(10 * MINUTE)), "made");
    assert_eq!(why(|ask, _| ask.length.0 = 10 * MINUTE - 1), "length");
    assert_eq!(why(|ask, _| ask.length = MAX_AHEAD), "made");
    assert_eq!(why(|ask, _| ask.length.0 = MAX_AHEAD.0 + 1), "length");
    assert_eq!(why(|_, offer| offer.live = false), "not_live");
    assert_eq!(why(|_, offer| offer.draining = true), "draining");
    assert_eq!(why(|_, offer| offer.others = 1), "busy");
    assert_eq!(why(|ask, _| ask.max_price = Some(MicroUnits(600))), "made");
    assert_eq!(
        why(|ask, _| ask.max_price = Some(MicroUnits(599))),
        "too_dear"
    );
}

#[test]
fn a_client_has_a_bound() {
    let mut book = Book::default();
    for n in 0..book::PER_CLIENT {
        let node = u8::try_from(n).unwrap() + 100;
        reserve(&mut book, &ask(node, node, 10));
    }
    let more = refused(&book, 1, &ask(1, 9, 10), &offer());
    assert_eq!(more, "too_many_reservations");
    assert!(book.draft(peer(2), &ask(1, 9, 10), &offer(), START).is_ok());
}

#[test]
fn an_extension_names_the_whole_length_and_costs_the_difference() {
    let mut book = Book::default();
    let id = reserve(&mut book, &ask(1, 9, 60)).id;
    let hours = |n: u64| Millis(n * 60 * MINUTE);
    let extension = book.draft_extension(caller(1), id, hours(2), after(30));
    let extension = extension.unwrap().unwrap();
    assert_eq!(extension.more, MicroUnits(600));
    book.extend(extension, Some(HoldId(6)));
    let extended = book.of_node(&peer(9)).unwrap();
    assert_eq!(
        (extended.ends_at, extended.held),
        (after(120), MicroUnits(1_200))
    );
    assert_eq!(book.next_due(), Some((after(120), id)));
    // Sent again it is done; shorter it cannot get.
    let again = book.draft_extension(caller(1), id, hours(2), after(31));
    assert_eq!(again, Ok(None));
    let no = |who, length, now| {
        let drafted = book.draft_extension(caller(who), id, length, now);
        drafted.unwrap_err().code()
    };
    assert_eq!(no(1, hours(1), after(31)), "shorter");
    assert_eq!(no(2, hours(3), after(31)), "not_owner");
    assert_eq!(no(1, hours(25), after(31)), "length");
    assert_eq!(no(1, hours(3), after(120)), "reservation_over");
    let unknown = book.draft_extension(caller(1), ReservationId(7), hours(3), after(1));
    assert_eq!(unknown.unwrap_err().code(), "no_reservation");
}

#[test]
fn who_releases_early_owes_for_the_time_until_then() {
    let mut book = Book::default();
    let id = reserve(&mut book, &ask(1, 9, 60)).id;
    let owed = |at| book.owed(id, at).unwrap().0;
    assert_eq!(owed(START), MicroUnits(0));
    assert_eq!(owed(after(15)), MicroUnits(150));
    assert_eq!(owed(after(60)), MicroUnits(600));
    assert_eq!(owed(after(90)), MicroUnits(600));
    // A clock that was set back owes nothing, and nothing overflows.
    assert_eq!(owed(UnixMillis(START.0 - 1)), MicroUnits(0));
    let at = after(15);
    let closed = book.close(id, ReservationState::Released, at, MicroUnits(150));
    assert_eq!(closed.unwrap().refunded(), MicroUnits(450));
    assert_eq!(book.of_node(&peer(9)), None);
    assert_eq!(book.next_due(), None);
    assert!(book.owed(id, at).is_none());
    let later = book.draft_extension(caller(1), id, Millis(90 * MINUTE), after(16));
    assert_eq!(later.unwrap_err().code(), "reservation_over");
    // The node can be had again, and the old key still names the old reservation.
    let next = reserve(&mut book, &ask(2, 9, 10));
    assert_eq!(next.id, ReservationId(2));
    let before = book.draft(peer(1), &ask(1, 9, 60), &offer(), START);
    assert_eq!(before, Ok(Draft::Earlier(id)));
}

#[test]
fn a_node_pays_nothing_to_itself() {
    let book = Book::default();
    let Ok(Draft::New(own)) = book.draft(peer(9), &ask(1, 9, 60), &offer(), START) else {
        panic!("it is free");
    };
    assert_eq!((own.reservation.price.0, own.reservation.held.0), (0, 0));
}

#[test]
fn what_was_kept_goes_on() {
    let mut book = Book::default();
    let open = reserve(&mut book, &ask(1, 9, 60));
    let closed = reserve(&mut book, &ask(2, 8, 60)).id;
    book.close(
        closed,
        ReservationState::Expired,
        after(60),
        MicroUnits(600),
    );
    let kept = book.take_changes();
    assert!(book.take_changes().is_empty());
    let book = Book::restore(kept);
    assert_eq!(book.of_node(&peer(9)), Some(&open));
    assert_eq!(book.next_due(), Some((after(60), open.id)));
    assert_eq!(book.owed(open.id, after(60)).unwrap().1, [HoldId(5)]);
    let over = book.owned(caller(1), closed).unwrap();
    assert_eq!(over.state, ReservationState::Expired);
    let again = book.draft(peer(1), &ask(2, 8, 60), &offer(), START);
    assert_eq!(again, Ok(Draft::Earlier(closed)));
    let Ok(Draft::New(next)) = book.draft(peer(2), &ask(3, 8, 60), &offer(), START) else {
        panic!("the node is free");
    };
    assert_eq!(next.reservation.id, ReservationId(3));
}
