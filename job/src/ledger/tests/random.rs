//! Thousands of requests of chance, repeated and out of order, beside a model that
//! keeps nothing but a list of who gave what to whom. A failing seed is named.

use std::collections::BTreeMap;

use super::*;

const SEEDS: u64 = 24;
const STEPS: usize = 2_000;
const PEERS: u8 = 6;

/// A small generator (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn one(&mut self) -> u8 {
        u8::try_from(self.below(u64::from(PEERS))).unwrap() + 1
    }
}

/// Where a move begins or ends, in the model's eyes.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Mint,
    Purse(PeerId),
    /// What a hold has, by its number.
    Jar(u64),
}

/// The naive model: a list of moves, summed up anew at each question.
#[derive(Default)]
struct Model {
    moves: Vec<(Place, Place, u64)>,
    /// Hold, payer, holder, end.
    open: Vec<(u64, PeerId, PeerId, u64)>,
    done: BTreeMap<(PeerId, Key), (Ask, u64)>,
    count: u64,
}

impl Model {
    fn in_place(&self, place: Place) -> u64 {
        let sum = |pick: fn(&(Place, Place, u64)) -> Place| -> u64 {
            let there = self.moves.iter().filter(|one| pick(one) == place);
            there.map(|(.., amount)| amount).sum()
        };
        sum(|(_, to, _)| *to) - sum(|(from, ..)| *from)
    }

    fn held(&self, payer: PeerId) -> u64 {
        let jars = self.open.iter().filter(|(_, whose, ..)| *whose == payer);
        jars.map(|(jar, ..)| self.in_place(Place::Jar(*jar))).sum()
    }

    /// The number of the transaction, or the word of the refusal.
    fn ask(&mut self, caller: Caller, key: &Key, ask: &Ask, now: u64) -> Result<u64, &'static str> {
        if let Some((before, number)) = self.done.get(&(caller.peer, key.clone())) {
            return if before == ask {
                Ok(*number)
            } else {
                Err("key_reused")
            };
        }
        if ask.amount().is_some_and(|amount| amount.0 == 0) {
            return Err("zero_amount");
        }
        let number = self.count + 1;
        match ask {
            Ask::Deposit { to, amount, .. } => {
                if !caller.administrator {
                    return Err("not_administrator");
                }
                self.moves.push((Place::Mint, Place::Purse(*to), amount.0));
            }
            Ask::Transfer {
                from, to, amount, ..
            } => {
                self.may_spend(caller, *from)?;
                if from == to {
                    return Err("same_account");
                }
                self.has(*from, amount.0)?;
                self.moves
                    .push((Place::Purse(*from), Place::Purse(*to), amount.0));
            }
            Ask::Hold {
                from,
                amount,
                lifetime_ms,
                ..
            } => {
                self.may_spend(caller, *from)?;
                self.has(*from, amount.0)?;
                self.moves
                    .push((Place::Purse(*from), Place::Jar(number), amount.0));
                self.open
                    .push((number, *from, caller.peer, now + lifetime_ms));
            }
            Ask::Capture { hold, to, amount } => {
                let payer = self.may_settle(caller, hold.0, now)?;
                if payer == *to {
                    return Err("same_account");
                }
                let inside = self.in_place(Place::Jar(hold.0));
                if amount.0 > inside {
                    return Err("capture_too_large");
                }
                let jar = Place::Jar(hold.0);
                self.moves.push((jar, Place::Purse(*to), amount.0));
                self.moves
                    .push((jar, Place::Purse(payer), inside - amount.0));
                self.open.retain(|(jar, ..)| *jar != hold.0);
            }
            Ask::Release { hold } => {
                self.may_settle(caller, hold.0, now)?;
                self.empty(hold.0);
            }
        }
        self.count = number;
        self.done
            .insert((caller.peer, key.clone()), (ask.clone(), number));
        Ok(number)
    }

    fn may_spend(&self, caller: Caller, from: PeerId) -> Result<(), &'static str> {
        (caller.administrator || caller.peer == from)
            .then_some(())
            .ok_or("not_owner")
    }

    fn has(&self, from: PeerId, amount: u64) -> Result<(), &'static str> {
        let enough = self.in_place(Place::Purse(from)) >= amount;
        enough.then_some(()).ok_or("insufficient_funds")
    }

    fn may_settle(&self, caller: Caller, jar: u64, now: u64) -> Result<PeerId, &'static str> {
        let found = self.open.iter().find(|(open, ..)| *open == jar);
        let (_, payer, holder, end) = found.ok_or("no_hold")?;
        if !caller.administrator && caller.peer != *holder {
            return Err("not_its_holder");
        }
        if *end <= now {
            return Err("hold_expired");
        }
        Ok(*payer)
    }

    fn empty(&mut self, jar: u64) {
        let at = self
            .open
            .iter()
            .position(|(open, ..)| *open == jar)
            .unwrap();
        let (_, payer, ..) = self.open.remove(at);
        let inside = self.in_place(Place::Jar(jar));
        self.moves
            .push((Place::Jar(jar), Place::Purse(payer), inside));
    }

    fn expire(&mut self, now: u64) {
        let over = |(jar, _, _, end): &(u64, PeerId, PeerId, u64)| (*end <= now).then_some(*jar);
        for jar in self.open.iter().filter_map(over).collect::<Vec<_>>() {
            self.empty(jar);
            self.count += 1;
        }
    }
}

/// A request of chance; amounts and holds are often wrong.
fn some_ask(chance: &mut Chance, last: u64) -> Ask {
    let amount = MicroUnits(chance.below(60));
    let subject = Subject::default();
    let hold = HoldId(last.saturating_sub(chance.below(40)));
    match chance.below(8) {
        0 => Ask::Deposit {
            to: peer(chance.one()),
            amount,
            subject,
        },
        1..=3 => Ask::Transfer {
            from: peer(chance.one()),
            to: peer(chance.one()),
            amount,
            subject,
        },
        4 | 5 => Ask::Hold {
            from: peer(chance.one()),
            amount,
            subject,
            lifetime_ms: chance.below(300) + 1,
        },
        6 => Ask::Capture {
            hold,
            to: peer(chance.one()),
            amount,
        },
        _ => Ask::Release { hold },
    }
}

/// One step: the same of both, and the invariants of the ledger itself.
fn compare(seed: u64, step: usize, ledger: &Ledger, model: &Model) {
    let place = format!("seed {seed}, step {step}");
    let mut sum = ledger.balance_of(Account::Issuance).available;
    for n in 1..=PEERS {
        let (available, held) = ledger.of(n);
        assert!(available >= 0 && held >= 0, "{place}");
        let expected = model.in_place(Place::Purse(peer(n)));
        assert_eq!(available.unsigned_abs(), expected, "{place}");
        assert_eq!(held.unsigned_abs(), model.held(peer(n)), "{place}");
        sum += available + held;
    }
    assert_eq!(sum, 0, "{place}");
    assert_eq!(ledger.holds().len(), model.open.len(), "{place}");
    assert_eq!(ledger.last(), model.count, "{place}");
}

#[test]
fn whatever_is_asked_money_is_conserved_and_a_repeat_has_one_effect() {
    for seed in 0..SEEDS {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut chance = Chance(seed);
    let bounds = Bounds {
        recent: 16,
        ..Bounds::default()
    };
    let mut ledger = Ledger::restore(LedgerSnapshot::default(), bounds).unwrap();
    let mut model = Model::default();
    let mut asked: Vec<(Caller, Key, Ask)> = Vec::new();
    // What a store would have.
    let mut disk: BTreeMap<(PeerId, Key), Transaction> = BTreeMap::new();
    let mut now = NOW.0;
    let (mut done, mut refused) = (0, 0);
    for step in 0..STEPS {
        now += chance.below(20);
        if chance.below(4) == 0 {
            ledger.expire(UnixMillis(now), usize::MAX);
            model.expire(now);
        }
        if chance.below(200) == 0 {
            ledger = ledger.again();
        }
        let again = !asked.is_empty() && chance.below(3) == 0;
        let (caller, key, ask) = if again {
            // Sent again, however long ago; now and then with another request.
            let at = usize::try_from(chance.below(asked.len() as u64)).unwrap();
            let (caller, key, mut ask) = asked[at].clone();
            if chance.below(8) == 0 {
                ask = some_ask(&mut chance, ledger.last());
            }
            (caller, key, ask)
        } else {
            let operator = chance.below(4) == 0;
            let caller = if operator {
                administrator()
            } else {
                user(chance.one())
            };
            (
                caller,
                key(step as u64),
                some_ask(&mut chance, ledger.last()),
            )
        };
        asked.push((caller, key.clone(), ask.clone()));
        let seen = match disk.get(&(caller.peer, key.clone())) {
            Some(earlier) => Seen::Earlier(Box::new(earlier.clone())),
            None => Seen::NotUpTo(ledger.last()),
        };
        let expected = model.ask(caller, &key, &ask, now);
        let request = Request {
            caller,
            key: key.clone(),
            ask,
            seen,
        };
        let answer = ledger.apply(request, UnixMillis(now));
        if let Ok(transaction) = &answer {
            let sum: i64 = transaction
                .postings
                .iter()
                .map(|p| p.available + p.held)
                .sum();
            assert_eq!(sum, 0, "seed {seed}, step {step}");
            let before = disk.insert((caller.peer, key), transaction.clone());
            assert!(before.is_none_or(|before| before == *transaction));
            done += 1;
        } else {
            refused += 1;
        }
        let answer = answer.map(|transaction| transaction.number);
        assert_eq!(
            answer.map_err(|e| e.code()),
            expected,
            "seed {seed}, step {step}"
        );
        compare(seed, step, &ledger, &model);
    }
    // A run in which nothing happens would prove nothing.
    assert!(
        done > STEPS / 10 && refused > STEPS / 10,
        "seed {seed}: {done} and {refused}"
    );
}
