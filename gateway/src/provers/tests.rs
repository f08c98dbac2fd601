//! Who counts as there, by the clock alone.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::port::provers::{Hello, Order};
use embermesh_job::plan::{NodeName, proving::Phase};
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::{
    ProvingSettings, Said,
    roster::{MAX_PROVERS, Place, Roster},
};

const NOW: UnixMillis = UnixMillis(1_000_000);

fn after(seconds: u64) -> UnixMillis {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn id(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn enter(roster: &mut Roster, name: &str, last_job: Option<&str>, now: UnixMillis) -> Place {
    let hello = Hello {
        id: name.to_owned(),
        capacity: 2,
        last_job: last_job.map(str::to_owned),
    };
    roster.enter(&id(name), "ada", &hello, now).unwrap()
}

fn roster() -> Roster {
    Roster::new(ProvingSettings::default())
}

#[test]
fn a_prover_is_asked_every_30_s_and_gone_after_three_without_a_word() {
    let mut roster = roster();
    let mut quiet = enter(&mut roster, "quiet", None, NOW);
    let mut alive = enter(&mut roster, "alive", None, NOW);
    assert!(roster.sweep(after(29)).is_empty());
    assert_eq!(quiet.orders.try_recv().unwrap_err(), TryRecvError::Empty);
    for at in [30, 60, 90] {
        assert!(roster.sweep(after(at)).is_empty());
        let beat = *alive.orders.try_recv().unwrap();
        assert_eq!(beat, Order::Beat(after(at)));
        // Once, however often it is looked after.
        roster.sweep(after(at));
        assert!(alive.orders.try_recv().is_err());
        roster.hear(&id("alive"), alive.stay, after(at));
    }
    roster.sweep(after(95));
    let names: Vec<_> = roster.views().into_iter().map(|view| view.id).collect();
    assert_eq!(names, ["alive"]);
    // Its stream ends when it has read what it was told.
    for _ in 0..3 {
        quiet.orders.try_recv().unwrap();
    }
    assert_eq!(
        quiet.orders.try_recv().unwrap_err(),
        TryRecvError::Disconnected
    );
}

#[test]
fn a_silent_worker_and_one_that_stays_away_are_lost_to_their_proof() {
    let (said, _heard) = mpsc::channel::<Said>(4);
    let round: Arc<str> = "job_1".into();
    let mut roster = roster();
    let silent = enter(&mut roster, "silent", None, NOW);
    let away = enter(&mut roster, "away", None, NOW);
    roster.take(4, &[], &round, &said).unwrap();
    roster.cut(&id("away"), away.stay, after(10));
    assert!(roster.sweep(after(24)).is_empty());
    let lost = |notes: Vec<super::Note>| {
        let names = notes.into_iter().map(|(_, said)| match said {
            Said::Lost { prover, round } => {
                assert_eq!(&*round, "job_1");
                prover.to_string()
            }
            other => panic!("{other:?}"),
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(lost(roster.sweep(after(25))), ["away"]);
    assert_eq!(lost(roster.sweep(after(95))), ["silent"]);
    assert!(roster.views().is_empty());
    // What its stream still says is not heard.
    assert!(roster.hear(&id("silent"), silent.stay, after(96)).is_none());
    assert!(roster.leave(&id("silent"), silent.stay).is_none());
}

#[test]
fn what_is_told_to_one_that_is_away_waits_for_it_and_the_stay_before_has_no_say() {
    let (said, _heard) = mpsc::channel::<Said>(4);
    let round: Arc<str> = "job_1".into();
    let mut roster = roster();
    let before = enter(&mut roster, "p", None, NOW);
    roster.take(2, &[], &round, &said).unwrap();
    roster.cut(&id("p"), before.stay, NOW);
    // Nobody new is given to one that is away, and no other proof orders it about.
    assert!(roster.take(1, &[], &"job_2".into(), &said).is_err());
    assert!(!roster.order(&id("p"), "job_2", Order::Beat(NOW)));
    assert!(roster.order(&id("p"), "job_1", Order::Beat(NOW)));
    let mut again = enter(&mut roster, "p", Some("job_1"), after(5));
    assert!(again.lost.is_none());
    assert_eq!(*again.orders.try_recv().unwrap(), Order::Beat(NOW));
    // The end of the old connection is heard late.
    roster.cut(&id("p"), before.stay, after(6));
    assert!(roster.leave(&id("p"), before.stay).is_none());
    let views = roster.views();
    assert_eq!(
        (views[0].here, views[0].busy),
        (true, Some(Phase::Contribute))
    );
    roster.release(&[id("p")], "job_2");
    assert!(roster.views()[0].busy.is_some());
    roster.release(&[id("p")], "job_1");
    assert!(roster.views()[0].busy.is_none());
}

#[test]
fn settings_have_bounds() {
    let usual = ProvingSettings::default();
    usual.checked().unwrap();
    for wrong in [
        ProvingSettings {
            silence: usual.heartbeat,
            ..usual
        },
        ProvingSettings { rounds: 0, ..usual },
        ProvingSettings { rounds: 9, ..usual },
        ProvingSettings {
            phase: Duration::ZERO,
            ..usual
        },
    ] {
        assert!(wrong.checked().is_err(), "{wrong:?}");
    }
}

#[test]
fn places_and_orders_have_an_end() {
    let (said, _heard) = mpsc::channel::<Said>(4);
    let mut roster = roster();
    let mut places = Vec::new();
    for number in 0..MAX_PROVERS {
        places.push(enter(&mut roster, &format!("p{number}"), None, NOW));
    }
    let hello = Hello {
        id: "more".to_owned(),
        capacity: 1,
        last_job: None,
    };
    assert!(roster.enter(&id("more"), "ada", &hello, NOW).is_err());
    roster.leave(&id("p7"), places[7].stay);
    roster.enter(&id("more"), "ada", &hello, NOW).unwrap();
    // A prover that reads nothing is not told without end.
    let round: Arc<str> = "job_1".into();
    let (gang, shares) = roster.take(2, &[], &round, &said).unwrap();
    assert_eq!((shares[0].units, &*shares[0].holder), (2, "ada"));
    let name = &gang.members()[0].name;
    let told = (0..1000).take_while(|_| roster.order(name, "job_1", Order::Beat(NOW)));
    assert!(told.count() < 200);
}
