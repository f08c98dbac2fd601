//! The rules one by one; `random` plays thousands of requests against a naive model.

mod random;

use embermesh_crypto::keys::Keypair;

use super::{
    refused::InvalidText,
    words::{MAX_KEY, MAX_SUBJECT},
    *,
};
use crate::units::MicroUnits;

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const HOUR: u64 = 3_600_000;

fn peer(n: u8) -> PeerId {
    Keypair::from_seed(&[n; 32]).peer_id()
}

/// Somebody with an account of his own.
fn user(n: u8) -> Caller {
    Caller {
        peer: peer(n),
        administrator: false,
    }
}

fn administrator() -> Caller {
    Caller {
        peer: peer(100),
        administrator: true,
    }
}

fn ledger() -> Ledger {
    Ledger::restore(LedgerSnapshot::default(), Bounds::default()).unwrap()
}

fn key(n: u64) -> Key {
    Key::new(&n.to_be_bytes()).unwrap()
}

fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

impl Ledger {
    /// Asks as one who has looked everything up.
    fn ask(&mut self, caller: Caller, n: u64, ask: Ask) -> Result<Transaction, Refused> {
        let seen = Seen::NotUpTo(self.last());
        let request = Request {
            caller,
            key: key(n),
            ask,
            seen,
        };
        self.apply(request, NOW)
    }

    fn of(&self, n: u8) -> (i64, i64) {
        let balance = self.balance_of(Account::Peer(peer(n)));
        (balance.available, balance.held)
    }

    /// The same, taken up from what it keeps.
    fn again(&self) -> Self {
        let snapshot = LedgerSnapshot {
            accounts: self
                .accounts
                .iter()
                .map(|(account, entry)| (*account, entry.balance))
                .collect(),
            holds: self.holds.clone(),
            last: self.last,
        };
        Self::restore(snapshot, self.bounds).unwrap()
    }
}

fn deposit(to: u8, amount: u64) -> Ask {
    Ask::Deposit {
        to: peer(to),
        amount: MicroUnits(amount),
        subject: subject("top up"),
    }
}

fn transfer(from: u8, to: u8, amount: u64) -> Ask {
    Ask::Transfer {
        from: peer(from),
        to: peer(to),
        amount: MicroUnits(amount),
        subject: Subject::default(),
    }
}

fn hold(from: u8, amount: u64) -> Ask {
    Ask::Hold {
        from: peer(from),
        amount: MicroUnits(amount),
        subject: subject("job 7"),
        lifetime_ms: HOUR,
    }
}

fn capture(hold: &Transaction, to: u8, amount: u64) -> Ask {
    Ask::Capture {
        hold: HoldId(hold.number),
        to: peer(to),
        amount: MicroUnits(amount),
    }
}

fn release(hold: &Transaction) -> Ask {
    Ask::Release {
        hold: HoldId(hold.number),
    }
}

#[test]
fn money_comes_by_deposit_goes_by_transfer_and_sums_to_zero() {
    let mut ledger = ledger();
    ledger.ask(administrator(), 1, deposit(1, 100)).unwrap();
    let paid = ledger.ask(user(1), 2, transfer(1, 2, 30)).unwrap();
    assert_eq!((ledger.of(1), ledger.of(2)), ((70, 0), (30, 0)));
    assert_eq!(ledger.balance_of(Account::Issuance).available, -100);
    assert_eq!(paid.number, 2);
    assert_eq!(
        paid.postings
            .iter()
            .map(|p| p.available + p.held)
            .sum::<i64>(),
        0
    );
    // An account that is empty takes no memory.
    ledger.ask(user(2), 3, transfer(2, 1, 30)).unwrap();
    assert_eq!(ledger.accounts.len(), 2);
}

#[test]
fn a_hold_is_captured_in_part_and_the_rest_comes_back() {
    let mut ledger = ledger();
    ledger.ask(administrator(), 1, deposit(1, 100)).unwrap();
    let held = ledger.ask(user(1), 2, hold(1, 60)).unwrap();
    assert_eq!(ledger.of(1), (40, 60));
    let too_much = ledger.ask(user(1), 3, capture(&held, 2, 61));
    assert_eq!(
        too_much,
        Err(Refused::CaptureTooLarge {
            held: MicroUnits(60)
        })
    );
    let done = ledger.ask(user(1), 4, capture(&held, 2, 25)).unwrap();
    assert_eq!((ledger.of(1), ledger.of(2)), ((75, 0), (25, 0)));
    assert_eq!(done.subject.as_str(), "job 7");
    let gone = ledger.ask(user(1), 5, release(&held));
    assert_eq!(gone, Err(Refused::NoHold(HoldId(held.number))));
    let held = ledger.ask(user(1), 6, hold(1, 75)).unwrap();
    ledger.ask(user(1), 7, release(&held)).unwrap();
    assert_eq!(ledger.of(1), (75, 0));
}

#[test]
fn a_hold_is_over_at_its_time_and_not_before() {
    let mut ledger = ledger();
    ledger.ask(administrator(), 1, deposit(1, 100)).unwrap();
    let held = ledger.ask(user(1), 2, hold(1, 60)).unwrap();
    let end = UnixMillis(NOW.0 + HOUR);
    assert_eq!(ledger.next_due(), Some(end));
    assert_eq!(ledger.expire(UnixMillis(end.0 - 1), 10), 0);
    // Nobody captures what is due, also before it is swept up.
    let late = Request {
        caller: user(1),
        key: key(3),
        ask: capture(&held, 2, 1),
        seen: Seen::NotUpTo(2),
    };
    assert_eq!(
        ledger.apply(late, end),
        Err(Refused::HoldExpired(HoldId(held.number)))
    );
    assert_eq!(ledger.expire(end, 0), 0);
    assert_eq!(ledger.expire(end, 10), 1);
    assert_eq!((ledger.of(1), ledger.next_due()), ((100, 0), None));
}

#[test]
fn a_key_has_one_effect_for_its_caller() {
    let mut ledger = ledger();
    ledger.ask(administrator(), 1, deposit(1, 100)).unwrap();
    let first = ledger.ask(user(1), 2, transfer(1, 2, 30)).unwrap();
    assert_eq!(
        ledger.ask(user(1), 2, transfer(1, 2, 30)),
        Ok(first.clone())
    );
    let other = ledger.ask(user(1), 2, transfer(1, 2, 31));
    assert_eq!(other, Err(Refused::KeyReused { number: 2 }));
    // The same key of another caller is another key.
    ledger.ask(user(2), 2, transfer(2, 3, 30)).unwrap();
    // After a restart the disk knows.
    let mut ledger = ledger.again();
    let again = |seen| Request {
        caller: user(1),
        key: key(2),
        ask: transfer(1, 2, 30),
        seen,
    };
    let stale = ledger.apply(again(Seen::NotUpTo(2)), NOW);
    assert_eq!(stale, Err(Refused::LookAgain));
    let known = Seen::Earlier(Box::new(first.clone()));
    assert_eq!(ledger.apply(again(known.clone()), NOW), Ok(first));
    let mut other = again(known);
    other.ask = transfer(1, 3, 30);
    assert_eq!(
        ledger.apply(other, NOW),
        Err(Refused::KeyReused { number: 2 })
    );
    assert_eq!(ledger.of(1), (70, 0));
}

#[test]
fn what_was_refused_may_be_asked_again_under_its_key() {
    let mut ledger = ledger();
    let poor = ledger.ask(user(1), 1, transfer(1, 2, 5));
    assert!(matches!(poor, Err(Refused::InsufficientFunds { .. })));
    assert!(ledger.take_changes().is_none());
    ledger.ask(administrator(), 1, deposit(1, 5)).unwrap();
    ledger.ask(user(1), 1, transfer(1, 2, 5)).unwrap();
}

#[test]
fn a_window_that_is_full_leaves_the_oldest_key_to_the_disk() {
    let bounds = Bounds {
        recent: 2,
        ..Bounds::default()
    };
    let mut ledger = Ledger::restore(LedgerSnapshot::default(), bounds).unwrap();
    for n in 1..=3 {
        ledger.ask(administrator(), n, deposit(1, n)).unwrap();
    }
    let again = |n, looked| Request {
        caller: administrator(),
        key: key(n),
        ask: deposit(1, n),
        seen: Seen::NotUpTo(looked),
    };
    assert_eq!(ledger.apply(again(1, 0), NOW), Err(Refused::LookAgain));
    assert_eq!(ledger.apply(again(2, 0), NOW).unwrap().number, 2);
    assert_eq!(ledger.of(1), (6, 0));
}

#[test]
fn strangers_are_refused() {
    let mut ledger = ledger();
    assert_eq!(
        ledger.ask(user(1), 1, deposit(1, 100)),
        Err(Refused::NotAdministrator)
    );
    ledger.ask(administrator(), 1, deposit(1, 100)).unwrap();
    let not_owner = Err(Refused::NotOwner(peer(1)));
    assert_eq!(ledger.ask(user(2), 2, transfer(1, 2, 1)), not_owner);
    assert_eq!(ledger.ask(user(2), 2, hold(1, 1)), not_owner);
    assert_eq!(
        ledger.balance(user(2), peer(1)),
        Err(Refused::NotOwner(peer(1)))
    );
    assert_eq!(
        ledger.balance(administrator(), peer(1)).unwrap().available,
        100
    );
    let own = ledger.ask(user(1), 3, hold(1, 10)).unwrap();
    let payee = ledger.ask(user(2), 4, capture(&own, 2, 10));
    assert_eq!(payee, Err(Refused::NotItsHolder(HoldId(own.number))));
    ledger
        .ask(administrator(), 5, capture(&own, 2, 10))
        .unwrap();
    // What an administrator set aside is not the payer's to take back.
    let guarantee = ledger.ask(administrator(), 6, hold(1, 10)).unwrap();
    let back = ledger.ask(user(1), 7, release(&guarantee));
    assert_eq!(back, Err(Refused::NotItsHolder(HoldId(guarantee.number))));
}

#[test]
fn amounts_and_texts_have_bounds() {
    let mut ledger = ledger();
    let operator = administrator();
    assert_eq!(
        ledger.ask(operator, 1, deposit(1, 0)),
        Err(Refused::ZeroAmount)
    );
    assert_eq!(
        ledger.ask(operator, 1, deposit(1, u64::MAX)),
        Err(Refused::AmountTooLarge)
    );
    ledger.ask(operator, 1, deposit(1, MAX_ISSUED - 1)).unwrap();
    let more = ledger.ask(operator, 2, deposit(2, 2));
    assert_eq!(more, Err(Refused::IssuanceFull { room: 1 }));
    ledger.ask(operator, 2, deposit(2, 1)).unwrap();
    assert_eq!(
        ledger.ask(user(1), 3, transfer(1, 1, 1)),
        Err(Refused::SameAccount)
    );
    for lifetime_ms in [0, MAX_LIFETIME_MS + 1] {
        let ask = Ask::Hold {
            from: peer(1),
            amount: MicroUnits(1),
            subject: Subject::default(),
            lifetime_ms,
        };
        assert_eq!(ledger.ask(user(1), 4, ask), Err(Refused::Lifetime));
    }
    let open_ended = |from| Ask::Hold {
        from,
        amount: MicroUnits(1),
        subject: Subject::default(),
        lifetime_ms: UNTIL_SETTLED,
    };
    let placed = ledger.ask(operator, 4, open_ended(peer(1))).unwrap();
    assert_eq!(ledger.expire(UnixMillis(u64::from(u32::MAX) << 20), 9), 0);
    let release = Ask::Release {
        hold: HoldId(placed.number),
    };
    ledger.ask(operator, 5, release).unwrap();
    assert!(Key::new(&[0; MAX_KEY]).is_ok());
    assert_eq!(
        Key::new(&[0; MAX_KEY + 1]),
        Err(InvalidText::Key { most: MAX_KEY })
    );
    assert!(Key::new(&[]).is_err());
    assert!("x".repeat(MAX_SUBJECT).parse::<Subject>().is_ok());
    for bad in ["x".repeat(MAX_SUBJECT + 1), "two\nlines".to_owned()] {
        assert!(bad.parse::<Subject>().is_err());
    }
}

#[test]
fn a_full_ledger_refuses_and_forgets_nothing() {
    let bounds = Bounds {
        accounts: 3,
        holds: 3,
        holds_per_account: 2,
        ..Bounds::default()
    };
    let mut ledger = Ledger::restore(LedgerSnapshot::default(), bounds).unwrap();
    ledger.ask(administrator(), 1, deposit(1, 100)).unwrap();
    ledger.ask(administrator(), 2, deposit(2, 100)).unwrap();
    let third = ledger.ask(user(1), 3, transfer(1, 3, 1));
    assert_eq!(third, Err(Refused::TooManyAccounts { most: 3 }));
    let first = ledger.ask(user(1), 4, hold(1, 1)).unwrap();
    ledger.ask(user(1), 5, hold(1, 1)).unwrap();
    let many = ledger.ask(user(1), 6, hold(1, 1));
    assert_eq!(many, Err(Refused::TooManyHolds { most: 2 }));
    ledger.ask(user(2), 7, hold(2, 1)).unwrap();
    let full = ledger.ask(user(2), 8, hold(2, 1));
    assert_eq!(full, Err(Refused::HoldsFull { most: 3 }));
    // The count outlives a restart.
    let mut ledger = ledger.again();
    let many = ledger.ask(user(1), 9, hold(1, 1));
    assert_eq!(many, Err(Refused::TooManyHolds { most: 2 }));
    ledger.ask(user(1), 10, release(&first)).unwrap();
    ledger.ask(user(1), 11, hold(1, 1)).unwrap();
}

#[test]
fn books_that_contradict_themselves_are_not_taken_up() {
    let balance = |available, held| Balance { available, held };
    let take_up = |accounts: Vec<(Account, Balance)>, holds: Vec<(HoldId, Hold)>| {
        let snapshot = LedgerSnapshot {
            accounts: accounts.into_iter().collect(),
            holds: holds.into_iter().collect(),
            last: 9,
        };
        Ledger::restore(snapshot, Bounds::default()).map(|_| ())
    };
    let mine = Account::Peer(peer(1));
    let other = Account::Peer(peer(2));
    assert_eq!(
        take_up(vec![(mine, balance(1, 0))], Vec::new()),
        Err(InvalidLedger::Sum(1))
    );
    assert_eq!(
        take_up(
            vec![(mine, balance(-1, 0)), (other, balance(1, 0))],
            Vec::new()
        ),
        Err(InvalidLedger::Negative(mine))
    );
    let books = vec![(Account::Issuance, balance(-5, 0)), (mine, balance(0, 5))];
    assert_eq!(
        take_up(books.clone(), Vec::new()),
        Err(InvalidLedger::Held(mine))
    );
    let held = Hold {
        payer: peer(1),
        placed_by: peer(1),
        amount: MicroUnits(5),
        subject: Subject::default(),
        expires_at: NOW,
    };
    assert_eq!(take_up(books, vec![(HoldId(3), held)]), Ok(()));
}
