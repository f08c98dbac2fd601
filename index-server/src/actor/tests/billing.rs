//! A job and its money are one: whenever the actor is dropped, every budget that is set
//! aside is that of a job which has not ended, and every job with one that has not
//! ended has it set aside.

use std::collections::BTreeMap;

use embermesh_crypto::ids::PeerId;
use embermesh_job::{
    ledger::{Account, Ask, Bounds, Key, Ledger, Seen, Subject},
    units::MicroUnits,
};

use super::*;
use crate::state::Entry;

/// Whose jobs [`submit`] makes.
const OWNER: u8 = 2;
const DEPOSIT: u64 = 1_000_000;
const BUDGET: u64 = 3;
/// Who submits at once.
const SUBMITTERS: u128 = 4;

fn owner() -> PeerId {
    key(OWNER).peer_id()
}

fn budgeted(n: u128) -> Command {
    let Command::Submit(mut submit) = submit(n) else {
        panic!("it is a submit");
    };
    submit.budget = Some(MicroUnits(BUDGET));
    Command::Submit(submit)
}

/// The index's own key deposits, as long as the last commit of an actor that was
/// dropped may still be under way.
async fn deposit(handle: &Handle) {
    let entry = || Entry {
        caller: key(1).peer_id(),
        key: Key::new(b"once").unwrap(),
        ask: Ask::Deposit {
            to: owner(),
            amount: MicroUnits(DEPOSIT),
            subject: Subject::default(),
        },
        seen: Seen::NotUpTo(u64::MAX),
    };
    while let Err(failed) = handle.call(Command::Enter(Box::new(entry()))).await {
        assert!(matches!(failed, CallFailed::Store(_)), "{failed}");
    }
}

/// Submits, again under the same name, and cancels all but every eighth job.
async fn take_on(handle: &Handle, n: u128) -> Result<(JobId, bool), CallFailed> {
    let job = match handle.call(budgeted(n)).await? {
        Reply::Assigned(assigned) => assigned.job.job.id,
        other => panic!("{other:?}"),
    };
    match handle.call(budgeted(n)).await? {
        Reply::Assigned(again) => assert_eq!(again.job.job.id, job),
        other => panic!("{other:?}"),
    }
    let over = !n.is_multiple_of(8);
    if over {
        let caller = owner();
        handle.call(Command::Cancel { job, caller }).await?;
    }
    Ok((job, over))
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_those_of_open_jobs_whenever_the_actor_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    let mut told_of = Vec::new();
    for round in 0..ROUNDS {
        let (actor, store, handle) = start(&path).await;
        let running = tokio::spawn(actor.run(store, CancellationToken::new()));
        if round == 0 {
            deposit(&handle).await;
        }
        let (told, mut heard) = mpsc::channel(10_000);
        for submitter in 0..SUBMITTERS {
            let (handle, told) = (handle.clone(), told.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    let name = (u128::from(round) << 64) | (submitter << 32) | n;
                    match take_on(&handle, name).await {
                        Ok(done) if told.send(done).await.is_ok() => {}
                        // What was under way when the last actor was dropped may
                        // refuse the first commit of this one.
                        Err(CallFailed::Store(_)) => {}
                        _ => return,
                    }
                }
            });
        }
        drop((handle, told));
        for _ in 0..ACKNOWLEDGED {
            told_of.push(heard.recv().await.expect("a job is taken on"));
        }
        sleep(Duration::from_micros(round * 1_700)).await;
        running.abort();
        let _ = running.await;
        while let Some(done) = heard.recv().await {
            told_of.push(done);
        }
    }
    let mut store = Store::open(&path, key(1).peer_id()).await.unwrap();
    let snapshot = store.load().await.unwrap();
    store.close().await;
    let mut open = 0;
    let mut known = BTreeMap::new();
    for loaded in &snapshot.jobs {
        let stored = &loaded.stored;
        let bill = stored.bill.as_ref().expect("each has a budget");
        let over = stored.job.state.is_final();
        assert_eq!(bill.charged, over.then_some(MicroUnits(0)));
        let held = snapshot.ledger.holds.contains_key(&bill.hold);
        assert_eq!(held, !over);
        open += u64::from(held);
        known.insert(stored.job.id, over);
    }
    assert_eq!(snapshot.ledger.holds.len() as u64, open);
    for (job, over) in told_of {
        // A job that was cancelled longest ago may have left memory, never the disk.
        if let Some(is_over) = known.get(&job) {
            assert_eq!(*is_over, over, "{job}");
        } else {
            assert!(over, "{job} is lost");
        }
    }
    let ledger = Ledger::restore(snapshot.ledger, Bounds::default()).unwrap();
    let balance = ledger.balance_of(Account::Peer(owner()));
    assert_eq!(balance.held.unsigned_abs(), open * BUDGET);
    assert_eq!((balance.available + balance.held).unsigned_abs(), DEPOSIT);
}
