//! The ledger's promise: whenever the actor is dropped, what was acknowledged is
//! there, and a request that is sent again afterwards has one effect.

use embermesh_crypto::ids::PeerId;
use embermesh_job::{
    ledger::{Account, Ask, Balance, Bounds, Key, Ledger, Subject, Transaction},
    units::MicroUnits,
};

use super::*;
use crate::{
    state::{Entry, Refused},
    store::Reader,
};

/// Who pays and who is paid; the index's own key deposits.
const PAYER: u8 = 2;
const PAYEE: u8 = 3;
const DEPOSIT: u64 = 1_000_000;

fn peer(n: u8) -> PeerId {
    key(n).peer_id()
}

/// One micro-unit for each number.
fn payment() -> Ask {
    Ask::Transfer {
        from: peer(PAYER),
        to: peer(PAYEE),
        amount: MicroUnits(1),
        subject: Subject::default(),
    }
}

fn deposit() -> Ask {
    Ask::Deposit {
        to: peer(PAYER),
        amount: MicroUnits(DEPOSIT),
        subject: Subject::default(),
    }
}

/// Asks as the service does: the key is looked up first.
async fn enter(
    handle: &Handle,
    reader: &Reader,
    caller: u8,
    n: u64,
    ask: Ask,
) -> Result<Transaction, CallFailed> {
    let key = Key::new(&n.to_be_bytes()).unwrap();
    let seen = reader.ledger_key(peer(caller), &key).await;
    let entry = Entry {
        caller: peer(caller),
        key,
        ask,
        seen: seen.map_err(|error| CallFailed::Store(Arc::new(error)))?,
    };
    match handle.call(Command::Enter(Box::new(entry))).await? {
        Reply::Entered(done) => Ok(*done),
        other => panic!("{other:?}"),
    }
}

/// What the store has of the payee, in books that do not contradict themselves.
async fn paid(path: &Path) -> (Balance, u64) {
    let mut store = Store::open(path, key(1).peer_id()).await.unwrap();
    let snapshot = store.load().await.unwrap().ledger;
    store.close().await;
    let ledger = Ledger::restore(snapshot, Bounds::default()).unwrap();
    (ledger.balance_of(Account::Peer(peer(PAYEE))), ledger.last())
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_have_one_effect_whenever_the_actor_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let mut acknowledged: Vec<(u64, Transaction)> = Vec::new();
    let mut unanswered = BTreeSet::new();
    let mut next = 1;
    for round in 0..ROUNDS {
        let (actor, store, handle) = start(&path).await;
        let reader = store.reader();
        let running = tokio::spawn(actor.run(store, CancellationToken::new()));
        // The transaction that was under way when the actor was dropped may end only
        // now, in this process as it never would in another; then the first try is
        // refused as a whole.
        while let Err(failed) = enter(&handle, &reader, 1, round, deposit()).await {
            assert!(matches!(failed, CallFailed::Store(_)), "{failed}");
        }
        // Everything of before is sent again, answered or not.
        for (n, before) in &acknowledged {
            let again = enter(&handle, &reader, PAYER, *n, payment()).await.unwrap();
            assert_eq!(again, *before, "round {round}");
        }
        for n in std::mem::take(&mut unanswered) {
            let done = enter(&handle, &reader, PAYER, n, payment()).await.unwrap();
            acknowledged.push((n, done));
        }
        let (told, mut heard) = mpsc::channel(10_000);
        let first = next;
        for payer in 0..8u64 {
            let (handle, reader, told) = (handle.clone(), reader.clone(), told.clone());
            tokio::spawn(async move {
                for n in (first + payer..).step_by(8) {
                    let answer = enter(&handle, &reader, PAYER, n, payment()).await.ok();
                    let over = answer.is_none();
                    if told.send((n, answer)).await.is_err() || over {
                        return;
                    }
                }
            });
        }
        drop((handle, reader, told));
        for n in 0.. {
            let (number, answer) = heard.recv().await.expect("a payment is answered");
            acknowledged.push((number, answer.expect("the actor runs")));
            next = next.max(number + 1);
            if n >= ACKNOWLEDGED {
                break;
            }
        }
        sleep(Duration::from_micros(round * 1_700)).await;
        running.abort();
        let _ = running.await;
        while let Some((number, answer)) = heard.recv().await {
            next = next.max(number + 1);
            match answer {
                Some(done) => acknowledged.push((number, done)),
                None => assert!(unanswered.insert(number)),
            }
        }
    }
    let (payee, last) = paid(&path).await;
    let sure = acknowledged.len() as u64;
    let most = sure + unanswered.len() as u64;
    let got = payee.available.unsigned_abs();
    assert!((sure..=most).contains(&got), "{sure} to {most}, not {got}");
    // One transaction each, and the deposits.
    assert_eq!(last, got + ROUNDS);
    let numbers: BTreeSet<u64> = acknowledged.iter().map(|(_, done)| done.number).collect();
    assert_eq!(numbers.len() as u64, sure);
}

#[tokio::test]
async fn a_full_disk_moves_no_money() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let (actor, store, handle) = start(&path).await;
    let (reader, room) = (store.reader(), store.room());
    let cancel = CancellationToken::new();
    let running = tokio::spawn(actor.run(store, cancel.clone()));
    enter(&handle, &reader, 1, 0, deposit()).await.unwrap();
    room.leave_none(true);
    let mut done = 0;
    let failed = loop {
        match enter(&handle, &reader, PAYER, done + 1, payment()).await {
            Ok(_) => done += 1,
            Err(failed) => break failed,
        }
        assert!(done < 100_000, "the disk is full");
    };
    assert!(matches!(failed, CallFailed::Store(_)), "{failed}");
    room.leave_none(false);
    // The same request, now that there is room, and then again.
    for _ in 0..2 {
        let paid = enter(&handle, &reader, PAYER, done + 1, payment())
            .await
            .unwrap();
        assert_eq!(paid.number, done + 2);
    }
    let strange = enter(&handle, &reader, PAYEE, 1, payment()).await;
    assert!(matches!(
        strange,
        Err(CallFailed::Refused(Refused::Ledger(_)))
    ));
    cancel.cancel();
    running.await.unwrap().unwrap();
    let (payee, _) = paid(&path).await;
    assert_eq!(payee.available.unsigned_abs(), done + 1);
}
