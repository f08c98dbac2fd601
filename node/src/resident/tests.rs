//! Who finds which model, and what is said to an ask that is not taken.

use embermesh_crypto::Keypair;
use embermesh_job::spec::{Input, LanguageModel, Request, Served};

use super::*;

fn peer(seed: u8) -> PeerId {
    Keypair::from_seed(&[seed; 32]).peer_id()
}

fn job(number: u8) -> JobId {
    JobId::v7(UnixMillis(1), [number; 10])
}

fn serve(askers: Askers) -> Serve {
    Serve {
        askers,
        concurrency: 1,
        queue: 1,
        ..Serve::new(Served::Language(LanguageModel::File(Input {
            digest: Digest::of(b"model"),
            size: 5,
        })))
    }
}

fn text() -> Ask {
    Ask::Text(Box::new(Request::prompt("x")))
}

#[test]
fn a_model_is_found_by_its_id_and_by_a_name_that_only_it_has() {
    let residents = Residents::default();
    let (owner, other) = (peer(1), peer(2));
    let _first = residents.open(job(1), "chat", owner, &serve(Askers::Owner));
    let _second = residents.open(job(2), "chat", other, &serve(Askers::Peers(vec![owner])));
    let find = |what: &str, asker| residents.find(what, &asker, true).map(|model| model.job);
    let Err(NotAsked::Ambiguous(_, ids)) = find("chat", owner) else {
        panic!("it may ask both");
    };
    assert!(ids.contains(&job(1).to_string()) && ids.contains(&job(2).to_string()));
    assert_eq!(find(&job(1).to_string(), owner), Ok(job(1)));
    // Of what it may not ask, nothing is in the way of a name.
    assert_eq!(find("chat", other), Ok(job(2)));
    assert_eq!(
        find("chat", peer(3)),
        Err(NotAsked::NotAdmitted("chat".to_owned()))
    );
    assert_eq!(
        find("talk", owner),
        Err(NotAsked::Unknown("talk".to_owned()))
    );
    assert_eq!(residents.visible(&other, false).len(), 1);
    assert!(residents.visible(&peer(3), true).is_empty());
}

#[test]
fn asks_are_bounded_and_a_model_is_gone_with_its_desk() {
    let residents = Residents::default();
    let owner = peer(1);
    let desk = residents.open(job(1), "chat", owner, &serve(Askers::Owner));
    let model = residents.find("chat", &owner, false).unwrap();
    assert_eq!(model.ask(text()).err(), Some(NotAsked::NotReady));
    assert!(residents.adverts().is_empty());
    desk.loaded(3 << 20);
    let adverts = residents.adverts();
    assert_eq!(
        (adverts[0].name.as_str(), adverts[0].memory_mib),
        ("chat", 3)
    );
    let rows = Ask::Rows(vec![vec![1.0]]);
    assert!(matches!(
        model.ask(rows).err(),
        Some(NotAsked::WrongKind { .. })
    ));
    let first = model.ask(text()).unwrap();
    let second = model.ask(text()).unwrap();
    let busy = model.ask(text()).err().unwrap();
    assert_eq!(busy, NotAsked::Busy { most: 2 });
    assert!(busy.to_string().contains("try again later"));
    let shown = &residents.visible(&owner, false)[0];
    assert_eq!((shown.asks, shown.most_asks, shown.refused), (2, 2, 3));
    drop((first, second));
    drop(desk);
    assert!(residents.find("chat", &owner, false).is_err());
    assert_eq!(model.ask(text()).err(), Some(NotAsked::NotReady));
}

#[test]
fn a_later_attempt_stays_when_an_earlier_one_goes() {
    let residents = Residents::default();
    let owner = peer(1);
    let first = residents.open(job(1), "chat", owner, &serve(Askers::Owner));
    let second = residents.open(job(1), "chat", owner, &serve(Askers::Owner));
    drop(first);
    assert!(residents.find("chat", &owner, false).is_ok());
    drop(second);
    assert!(residents.find("chat", &owner, false).is_err());
}
