//! Who keeps a copy.

use embermesh_crypto::{
    Keypair,
    ids::NetworkName,
    statement::{Advert, Role},
};

use super::*;

fn advert(seed: u8) -> Advert {
    Advert {
        peer: Keypair::from_seed(&[seed; 32]).peer_id(),
        network: NetworkName::default(),
        sequence: 1,
        issued_at: UnixMillis(1),
        expires_at: UnixMillis(2),
        role: Role::Node,
        version: String::new(),
        mesh_addresses: Vec::new(),
        tls_addresses: Vec::new(),
        region: String::new(),
        price_micros_per_hour: 0,
        devices: Vec::new(),
        slots: 1,
        free_slots: 1,
        queued: 0,
        draining: false,
        runtimes: embermesh_crypto::statement::Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    }
}

#[test]
fn the_order_is_the_same_for_all_and_the_loss_of_one_moves_no_other() {
    let adverts: Vec<Advert> = (1..=20).map(advert).collect();
    let me = adverts[0].peer;
    let blob = Digest::of(b"checkpoint");
    let ranked = rank(&blob, adverts.iter(), me);
    assert_eq!(ranked.len(), 19);
    assert!(!ranked.contains(&me));
    assert_eq!(rank(&blob, adverts.iter().rev(), me), ranked);
    let lost = ranked[3];
    let mut without = ranked.clone();
    without.retain(|peer| *peer != lost);
    let left = adverts.iter().filter(|advert| advert.peer != lost);
    assert_eq!(rank(&blob, left, me), without);
    // Another blob, another first choice: the load is spread.
    let firsts: std::collections::BTreeSet<PeerId> = (0..50_u8)
        .map(|n| rank(&Digest::of(&[n]), adverts.iter(), me)[0])
        .collect();
    assert!(firsts.len() > 10, "{}", firsts.len());
}

#[test]
fn indexes_and_nodes_that_are_about_to_stop_keep_nothing() {
    let index = Advert {
        role: Role::Index,
        ..advert(1)
    };
    let draining = Advert {
        draining: true,
        ..advert(2)
    };
    let me = advert(3).peer;
    assert!(rank(&Digest::of(b"x"), [index, draining].iter(), me).is_empty());
}
