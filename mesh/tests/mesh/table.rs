//! The table of adverts, by its public face: what is passed on, what is refused, and
//! that the order in which adverts arrive does not matter.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{collections::BTreeMap, time::Duration};

use embermesh_crypto::{
    ids::{NetworkName, PeerId},
    keys::Keypair,
    statement::{Advert, Role, Signed, Statement as _, sign},
    time::UnixMillis,
};
use embermesh_mesh::protocol::{
    CLOCK_SKEW, GOSSIP_TIME, Input, LATE, MAX_ADVERT_BYTES, MAX_ADVERTS, MAX_LIFETIME, Output,
    RELAY_RATE, RENEWAL_TIME, Reason, Summary, Table, Ticket, Verdict, exchange,
    forwarders::{BRINGING_RATE, DISTRUST_RATE, IGNORED_RATE, NEWCOMER_RATE},
    own,
};
use proptest::prelude::*;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn later(span: Duration) -> UnixMillis {
    UnixMillis(NOW.0 + span.as_millis() as u64)
}

fn earlier(span: Duration) -> UnixMillis {
    UnixMillis(NOW.0 - span.as_millis() as u64)
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn keypair(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn peer(number: u8) -> PeerId {
    keypair(number).peer_id()
}

fn advert(number: u8, sequence: u64) -> Advert {
    Advert {
        peer: peer(number),
        network: NetworkName::default(),
        sequence,
        issued_at: NOW,
        expires_at: later(MAX_LIFETIME),
        role: Role::Node,
        version: "1".to_owned(),
        mesh_addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
        tls_addresses: Vec::new(),
        region: "here".to_owned(),
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

fn signed(number: u8, advert: &Advert) -> Vec<u8> {
    sign(advert, &keypair(number)).unwrap().bytes().to_vec()
}

/// Signs what an honest signer refuses to sign.
fn signed_regardless(number: u8, advert: &Advert) -> Vec<u8> {
    let payload = minicbor::to_vec(advert).unwrap();
    let message = [Advert::DOMAIN.as_bytes(), &[0], &payload].concat();
    [keypair(number).sign(&message).as_slice(), &payload].concat()
}

fn table() -> Table {
    Table::new(peer(0), NetworkName::default())
}

fn gossip(table: &mut Table, bytes: Vec<u8>) -> (Verdict, Vec<Output>) {
    gossip_at(table, bytes, NOW)
}

fn gossip_at(table: &mut Table, bytes: Vec<u8>, now: UnixMillis) -> (Verdict, Vec<Output>) {
    let mut outputs = table.handle(
        Input::Gossip {
            from: peer(9),
            bytes,
        },
        now,
        &mut rng(),
    );
    let at = outputs
        .iter()
        .position(|output| matches!(output, Output::Verdict(_)))
        .unwrap();
    let Output::Verdict(verdict) = outputs.remove(at) else {
        unreachable!()
    };
    (verdict, outputs)
}

fn is_passed_on(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Accept | Verdict::Renew)
}

/// What a table comes to: the undisputed adverts, and the numbers known.
fn outcome(table: &Table) -> (Vec<Vec<u8>>, Summary) {
    let adverts = table
        .roster()
        .adverts()
        .map(|advert| advert.bytes().to_vec())
        .collect();
    (adverts, table.roster().summary())
}

#[test]
fn the_highest_number_wins() {
    let mut table = table();
    for (sequence, verdict) in [
        (5, Verdict::Accept),
        (4, Verdict::Ignore(Reason::Stale)),
        (6, Verdict::Renew),
        (6, Verdict::Renew),
        (5, Verdict::Ignore(Reason::Stale)),
    ] {
        let (given, _) = gossip(&mut table, signed(1, &advert(1, sequence)));
        assert_eq!(given, verdict, "number {sequence}");
    }
    assert_eq!(table.roster().of(&peer(1)).unwrap().sequence, 6);
}

#[test]
fn a_known_advert_is_passed_on_but_is_no_news() {
    let mut table = table();
    let bytes = signed(1, &advert(1, 5));
    assert!(
        gossip(&mut table, bytes.clone())
            .1
            .iter()
            .any(|o| matches!(o, Output::Changed(_)))
    );
    let (verdict, outputs) = gossip(&mut table, bytes);
    assert_eq!(verdict, Verdict::Renew);
    assert!(!outputs.iter().any(|o| matches!(o, Output::Changed(_))));
}

#[test]
fn an_advert_that_says_nothing_new_is_passed_on_in_good_time() {
    let mut table = table();
    let said = |table: &mut Table, advert: &Advert, now| gossip_at(table, signed(1, advert), now).0;
    let issued = |sequence, now: UnixMillis| Advert {
        issued_at: now,
        expires_at: UnixMillis(now.0 + MAX_LIFETIME.as_millis() as u64),
        ..advert(1, sequence)
    };
    let first = issued(1, NOW);
    assert_eq!(said(&mut table, &first, NOW), Verdict::Accept);
    let leisure = later(MAX_LIFETIME.saturating_sub(RENEWAL_TIME + Duration::from_millis(1)));
    assert_eq!(
        said(&mut table, &issued(2, leisure), leisure),
        Verdict::Renew
    );
    // It takes something back, if only what it promised of time.
    let farewell = Advert {
        expires_at: UnixMillis(leisure.0 + 5_000),
        ..issued(3, leisure)
    };
    let mut parted = table.clone();
    assert_eq!(said(&mut parted, &farewell, leisure), Verdict::Accept);
    // It has something to say.
    let changed = Advert {
        free_slots: 0,
        ..issued(3, leisure)
    };
    assert_eq!(said(&mut table, &changed, leisure), Verdict::Accept);
    // What is held is about to end, or was a lie.
    let last = UnixMillis((changed.expires_at.0) - RENEWAL_TIME.as_millis() as u64);
    let renewed = Advert {
        free_slots: 0,
        ..issued(4, last)
    };
    assert_eq!(said(&mut table, &renewed, last), Verdict::Accept);
    let contradiction = issued(4, last);
    assert_eq!(said(&mut table, &contradiction, last), Verdict::Accept);
    let settled = issued(5, last);
    assert_eq!(said(&mut table, &settled, last), Verdict::Accept);
    assert_eq!(said(&mut table, &issued(6, last), last), Verdict::Renew);
}

#[test]
fn exactly_the_bytes_that_are_held_need_no_second_check() {
    let mut table = table();
    let first = signed(1, &advert(1, 1));
    gossip(&mut table, first.clone());
    let held = |table: &Table, bytes: &[u8]| table.roster().identical(bytes).is_some();
    assert!(held(&table, &first));
    let mut forged = first.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(!held(&table, &forged));
    assert_eq!(
        gossip(&mut table, forged).0,
        Verdict::Reject(Reason::Forged)
    );
    let second = signed(1, &advert(1, 2));
    gossip(&mut table, second.clone());
    assert!(held(&table, &second) && !held(&table, &first));
    let expired = later(MAX_LIFETIME + CLOCK_SKEW);
    table.handle(Input::Tick, expired, &mut rng());
    assert!(!held(&table, &second));
}

#[test]
fn what_every_honest_peer_refuses_is_rejected() {
    let mut table = table();
    let good = signed(1, &advert(1, 5));
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (verdict, _) = gossip(&mut table, bytes);
        assert_eq!(verdict, Verdict::Reject(Reason::Forged), "bit {bit}");
    }
    let other = Advert {
        network: "other".parse().unwrap(),
        ..advert(1, 5)
    };
    assert_eq!(
        gossip(&mut table, signed(1, &other)).0,
        Verdict::Reject(Reason::OtherNetwork)
    );
    assert_eq!(
        gossip(&mut table, vec![0; MAX_ADVERT_BYTES + 1]).0,
        Verdict::Reject(Reason::Oversized)
    );
    for bytes in [
        Vec::new(),
        vec![0; 64],
        vec![0; 63],
        good[..good.len() - 1].to_vec(),
    ] {
        assert_eq!(gossip(&mut table, bytes).0, Verdict::Reject(Reason::Forged));
    }
    // Signed by another key than it names.
    assert_eq!(
        gossip(&mut table, signed_regardless(2, &advert(1, 5))).0,
        Verdict::Reject(Reason::Forged)
    );
    assert!(table.roster().is_empty());
}

#[test]
fn a_signed_advert_that_breaks_a_rule_is_rejected() {
    let mut table = table();
    let long = Advert {
        expires_at: UnixMillis(later(MAX_LIFETIME).0 + 1),
        ..advert(1, 5)
    };
    let backwards = Advert {
        expires_at: NOW,
        ..advert(1, 5)
    };
    for broken in [long, backwards] {
        let verdict = gossip(&mut table, signed_regardless(1, &broken)).0;
        assert_eq!(verdict, Verdict::Reject(Reason::Invalid));
    }
    assert!(table.roster().is_empty());
}

#[test]
fn what_clocks_can_differ_about_is_ignored() {
    let mut table = table();
    let over = |late: u64| Advert {
        issued_at: earlier(MAX_LIFETIME),
        expires_at: UnixMillis(NOW.0 - CLOCK_SKEW.as_millis() as u64 + late),
        ..advert(1, 5)
    };
    assert_eq!(
        gossip(&mut table, signed(1, &over(0))).0,
        Verdict::Ignore(Reason::Expired)
    );
    assert_eq!(gossip(&mut table, signed(1, &over(1))).0, Verdict::Accept);

    let ahead = |more: u64| {
        let issued_at = UnixMillis(later(CLOCK_SKEW).0 + more);
        Advert {
            issued_at,
            expires_at: UnixMillis(issued_at.0 + 60_000),
            ..advert(2, 5)
        }
    };
    assert_eq!(
        gossip(&mut table, signed(2, &ahead(1))).0,
        Verdict::Ignore(Reason::FromFuture)
    );
    assert_eq!(gossip(&mut table, signed(2, &ahead(0))).0, Verdict::Accept);
}

#[test]
fn two_adverts_with_one_number_are_evidence_and_neither_is_shown() {
    let mut table = table();
    let one = signed(1, &advert(1, 5));
    let two = signed(
        1,
        &Advert {
            free_slots: 0,
            ..advert(1, 5)
        },
    );
    gossip(&mut table, one.clone());
    let (verdict, outputs) = gossip(&mut table, two.clone());
    assert_eq!(verdict, Verdict::Accept, "everybody must hear of it");
    let evidence = outputs
        .iter()
        .find_map(|output| match output {
            Output::Equivocation(evidence) => Some(evidence),
            _ => None,
        })
        .expect("evidence");
    assert_eq!((evidence.peer, evidence.sequence), (peer(1), 5));
    // Each of the two stands on its own before any third party.
    for bytes in [evidence.first.bytes(), evidence.second.bytes()] {
        let signed = Signed::<Advert>::from_bytes(bytes.to_vec()).unwrap();
        assert_eq!(signed.open().unwrap().peer, peer(1));
    }
    assert!(table.roster().of(&peer(1)).is_none());
    assert!(table.roster().missing_from(&Summary::default()).is_empty());

    // Any more of them say nothing new, and are told to nobody.
    for free_slots in 2..50 {
        let more = Advert {
            free_slots,
            slots: 50,
            ..advert(1, 5)
        };
        let (verdict, outputs) = gossip(&mut table, signed(1, &more));
        assert_eq!(verdict, Verdict::Ignore(Reason::Contradiction));
        assert!(outputs.is_empty(), "{outputs:?}");
    }

    gossip(&mut table, signed(1, &advert(1, 6)));
    assert_eq!(table.roster().of(&peer(1)).unwrap().sequence, 6);
}

#[test]
fn adverts_expire_and_are_announced_as_gone() {
    let mut table = table();
    let (_, outputs) = gossip(&mut table, signed(1, &advert(1, 5)));
    let wake = outputs
        .iter()
        .find_map(|output| match output {
            Output::WakeAt(at) => Some(*at),
            _ => None,
        })
        .expect("a timer");
    let before = UnixMillis(wake.0 - 1);
    table.handle(Input::Tick, before, &mut rng());
    assert_eq!(table.roster().len(), 1);
    let outputs = table.handle(Input::Tick, wake, &mut rng());
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::Gone(gone) if *gone == peer(1)))
    );
    assert!(table.roster().is_empty());
}

#[test]
fn a_full_table_gives_up_what_expires_soonest() {
    let mut table = Table::with_capacity(peer(0), NetworkName::default(), 2);
    let living = |number: u8, seconds: u64| Advert {
        expires_at: later(Duration::from_secs(seconds)),
        ..advert(number, 1)
    };
    gossip(&mut table, signed(1, &living(1, 100)));
    gossip(&mut table, signed(2, &living(2, 200)));
    let (verdict, _) = gossip(&mut table, signed(3, &living(3, 50)));
    assert_eq!(verdict, Verdict::Ignore(Reason::Full));
    let (verdict, outputs) = gossip(&mut table, signed(3, &living(3, 150)));
    assert_eq!(verdict, Verdict::Accept);
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::Gone(gone) if *gone == peer(1)))
    );
    assert_eq!(table.roster().len(), 2);
}

#[test]
fn an_author_that_floods_is_learned_from_but_not_passed_on() {
    let mut table = table();
    let verdicts: Vec<Verdict> = (0..RELAY_RATE.burst as u64 + 4)
        .map(|sequence| gossip(&mut table, signed(1, &advert(1, sequence))).0)
        .collect();
    let passed = verdicts
        .iter()
        .filter(|verdict| is_passed_on(**verdict))
        .count();
    assert_eq!(passed, RELAY_RATE.burst as usize);
    assert_eq!(verdicts.last(), Some(&Verdict::Ignore(Reason::TooOften)));
    assert_eq!(
        table.roster().of(&peer(1)).unwrap().sequence,
        u64::from(RELAY_RATE.burst) + 3
    );
    // Another author is not hurt by it, and this one may speak again later.
    assert_eq!(
        gossip(&mut table, signed(2, &advert(2, 1))).0,
        Verdict::Accept
    );
    let (verdict, _) = gossip_at(
        &mut table,
        signed(1, &advert(1, 99)),
        later(RELAY_RATE.every),
    );
    assert!(is_passed_on(verdict));
}

#[test]
fn contradictions_are_passed_on_no_faster_than_other_adverts() {
    let mut table = table();
    let mut passed = 0;
    for sequence in 0..u64::from(RELAY_RATE.burst) {
        for free_slots in [0, 1] {
            let bytes = bytes_of(&(1, sequence, free_slots));
            passed += u32::from(is_passed_on(gossip(&mut table, bytes).0));
        }
    }
    assert_eq!(passed, RELAY_RATE.burst);
}

/// How often a peer is distrusted that passes on `count` stale adverts at `now`.
fn distrusted(table: &mut Table, from: PeerId, count: u64, now: UnixMillis) -> usize {
    (0..count)
        .flat_map(|sequence| {
            let bytes = signed(1, &advert(1, sequence));
            table.handle(Input::Gossip { from, bytes }, now, &mut rng())
        })
        .filter(|output| {
            matches!(
                output,
                Output::Distrust { peer, reason: Reason::Useless } if *peer == from
            )
        })
        .count()
}

#[test]
fn who_passes_on_too_much_that_is_stale_loses_its_trust() {
    let mut table = table();
    gossip(&mut table, signed(1, &advert(1, 1_000_000)));
    let burst = u64::from(IGNORED_RATE.burst);
    assert_eq!(distrusted(&mut table, peer(2), burst, NOW), 0);
    assert_eq!(distrusted(&mut table, peer(2), 50, NOW), 1);
    // Coming back does not help; another peer is not hurt; time heals.
    table.handle(Input::Disconnected(peer(2)), NOW, &mut rng());
    table.handle(Input::Connected(peer(2)), NOW, &mut rng());
    let soon = later(DISTRUST_RATE.every);
    assert_eq!(distrusted(&mut table, peer(2), 50, soon), 1);
    assert_eq!(distrusted(&mut table, peer(3), burst, soon), 0);
    let healed = later(IGNORED_RATE.every * 2 * IGNORED_RATE.burst);
    assert_eq!(distrusted(&mut table, peer(2), burst / 2, healed), 0);
}

#[test]
fn news_costs_its_forwarder_no_trust() {
    let mut table = table();
    for number in 10..=255 {
        for sequence in 0..u64::from(RELAY_RATE.burst) {
            let (verdict, outputs) = gossip(&mut table, signed(number, &advert(number, sequence)));
            assert!(is_passed_on(verdict));
            assert!(
                !outputs
                    .iter()
                    .any(|output| matches!(output, Output::Distrust { .. }))
            );
        }
    }
}

fn asked(outputs: &[Output]) -> Vec<PeerId> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::RequestTable { to, .. } => Some(*to),
            _ => None,
        })
        .collect()
}

#[test]
fn a_joiner_asks_the_first_few_peers_and_no_more() {
    let mut table = table();
    let rng = &mut rng();
    let mut whom = Vec::new();
    for number in 1..20 {
        whom.extend(asked(&table.handle(
            Input::Connected(peer(number)),
            NOW,
            rng,
        )));
    }
    assert_eq!(whom, [peer(1), peer(2), peer(3)]);
    for from in whom {
        table.handle(
            Input::TableDone {
                from,
                complete: true,
            },
            NOW,
            rng,
        );
    }
    assert_eq!(table.exchanges_completed(), exchange::JOIN_EXCHANGES);
    let outputs = table.handle(Input::Connected(peer(20)), NOW, rng);
    assert!(asked(&outputs).is_empty());
    // From then on one peer now and then, those not asked before first.
    let outputs = table.handle(Input::Tick, later(exchange::EXCHANGE_INTERVAL), rng);
    let next = asked(&outputs);
    assert_eq!(next.len(), 1);
    assert!(![peer(1), peer(2), peer(3)].contains(&next[0]));
}

#[test]
fn an_exchange_that_fails_or_hangs_is_tried_elsewhere() {
    let mut table = table();
    let rng = &mut rng();
    table.handle(Input::Connected(peer(1)), NOW, rng);
    table.handle(
        Input::TableDone {
            from: peer(1),
            complete: false,
        },
        NOW,
        rng,
    );
    let outputs = table.handle(Input::Tick, later(exchange::EXCHANGE_RETRY), rng);
    assert_eq!(asked(&outputs), [peer(1)]);
    // It hangs: given up, and asked again.
    let mut now = later(exchange::EXCHANGE_RETRY + exchange::EXCHANGE_TIMEOUT);
    assert!(asked(&table.handle(Input::Tick, now, rng)).is_empty());
    now.0 += exchange::EXCHANGE_RETRY.as_millis() as u64;
    assert_eq!(asked(&table.handle(Input::Tick, now, rng)), [peer(1)]);
}

#[test]
fn one_that_has_joined_asks_another_soon_where_an_exchange_fails() {
    let mut table = table();
    let rng = &mut rng();
    let done = |from: PeerId, complete: bool| Input::TableDone { from, complete };
    for number in 1..=4 {
        table.handle(Input::Connected(peer(number)), NOW, rng);
    }
    for number in 1..=3 {
        table.handle(done(peer(number), true), NOW, rng);
    }
    let turn = later(exchange::EXCHANGE_INTERVAL);
    assert_eq!(asked(&table.handle(Input::Tick, turn, rng)), [peer(4)]);
    table.handle(done(peer(4), false), turn, rng);
    let soon = later(exchange::EXCHANGE_INTERVAL + exchange::EXCHANGE_RETRY_JOINED);
    assert_eq!(asked(&table.handle(Input::Tick, soon, rng)).len(), 1);
}

#[test]
fn one_that_does_not_answer_is_not_waited_for() {
    let mut table = table();
    let rng = &mut rng();
    let done = |from: PeerId| Input::TableDone {
        from,
        complete: true,
    };
    for number in 1..=6 {
        table.handle(Input::Connected(peer(number)), NOW, rng);
    }
    for number in 1..=3 {
        table.handle(done(peer(number)), NOW, rng);
    }
    let turn = later(exchange::EXCHANGE_INTERVAL);
    let first = asked(&table.handle(Input::Tick, turn, rng));
    let soon = later(exchange::EXCHANGE_INTERVAL + exchange::EXCHANGE_RETRY_JOINED);
    let second = asked(&table.handle(Input::Tick, soon, rng));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
    // One answer is enough until the next turn.
    table.handle(done(second[0]), soon, rng);
    let later = UnixMillis(soon.0 + 5_000);
    assert!(asked(&table.handle(Input::Tick, later, rng)).is_empty());
}

#[test]
fn one_that_is_asked_by_a_peer_that_knows_more_asks_back() {
    let turn = later(exchange::EXCHANGE_INTERVAL);
    let late = turn.0 - LATE.as_millis() as u64;
    let asks = |number, sequence, quiet: bool, asker: u8| {
        let mut table = table();
        let rng = &mut rng();
        for number in 1..=4 {
            table.handle(Input::Connected(peer(number)), NOW, rng);
        }
        for number in 1..=3 {
            let done = Input::TableDone {
                from: peer(number),
                complete: true,
            };
            table.handle(done, NOW, rng);
        }
        gossip(&mut table, signed(5, &advert(5, 7)));
        let request = Input::TableRequest {
            from: peer(asker),
            summary: [(*peer(number).as_bytes(), sequence)].into_iter().collect(),
        };
        let now = if quiet { turn } else { NOW };
        asked(&table.handle(request, now, rng))
    };
    let back: Vec<PeerId> = asks(5, late, true, 2);
    assert_eq!(back, [peer(2)]);
    assert_eq!(asks(6, late, true, 2), [peer(2)], "one that is not known");
    let none: [PeerId; 0] = [];
    assert_eq!(asks(5, late + 1, true, 2), none, "gossip may yet bring it");
    assert_eq!(asks(5, 7, true, 2), none, "it is known");
    assert_eq!(asks(0, late, true, 2), none, "it is our own");
    assert_eq!(asks(5, late, true, 9), none, "a peer that is not connected");
    assert_eq!(asks(5, 8, false, 2), none, "somebody was asked just now");
}

#[test]
fn one_that_asked_in_a_pause_is_asked_back_after_it() {
    let turn = later(exchange::EXCHANGE_INTERVAL);
    let known = turn.0 - LATE.as_millis() as u64;
    // (who is connected still, whether gossip brings it meanwhile, who is asked)
    let cases: [(bool, bool, &[u8]); 3] =
        [(true, false, &[2]), (false, false, &[]), (true, true, &[])];
    for (stays, comes, expected) in cases {
        let mut table = table();
        let rng = &mut rng();
        let done = |from: PeerId| Input::TableDone {
            from,
            complete: true,
        };
        for number in 1..=4 {
            table.handle(Input::Connected(peer(number)), NOW, rng);
        }
        for number in 1..=3 {
            table.handle(done(peer(number)), NOW, rng);
        }
        assert_eq!(asked(&table.handle(Input::Tick, turn, rng)), [peer(4)]);
        table.handle(done(peer(4)), turn, rng);
        let request = Input::TableRequest {
            from: peer(2),
            summary: [(*peer(6).as_bytes(), known)].into_iter().collect(),
        };
        let outputs = table.handle(request, turn, rng);
        assert!(asked(&outputs).is_empty());
        let pause = exchange::MEETING_PAUSE.as_millis() as u64;
        let over = UnixMillis(turn.0 + pause);
        let wakes = outputs
            .iter()
            .any(|output| matches!(output, Output::WakeAt(at) if *at == over));
        assert!(wakes, "it does not wait for anything else");
        if !stays {
            table.handle(Input::Disconnected(peer(2)), turn, rng);
        }
        if comes {
            gossip_at(&mut table, signed(6, &advert(6, known)), turn);
        }
        let expected: Vec<PeerId> = expected.iter().map(|number| peer(*number)).collect();
        assert_eq!(asked(&table.handle(Input::Tick, over, rng)), expected);
    }
}

#[test]
fn one_that_is_asked_back_does_not_put_off_the_next() {
    let mut table = table();
    let rng = &mut rng();
    for number in 1..=4 {
        table.handle(Input::Connected(peer(number)), NOW, rng);
    }
    let done = |from: PeerId| Input::TableDone {
        from,
        complete: true,
    };
    for number in 1..=3 {
        table.handle(done(peer(number)), NOW, rng);
    }
    // A peer that makes itself asked before each turn of the own choice.
    let before = later(exchange::EXCHANGE_INTERVAL - exchange::EXCHANGE_JITTER);
    let request = Input::TableRequest {
        from: peer(2),
        summary: [(*peer(6).as_bytes(), 7)].into_iter().collect(),
    };
    assert_eq!(asked(&table.handle(request, before, rng)), [peer(2)]);
    table.handle(done(peer(2)), before, rng);
    let turn = later(exchange::EXCHANGE_INTERVAL);
    assert_eq!(asked(&table.handle(Input::Tick, turn, rng)), [peer(4)]);
}

#[test]
fn a_peer_that_comes_and_goes_does_not_put_off_the_next() {
    let mut table = table();
    let rng = &mut rng();
    let done = |from: PeerId| Input::TableDone {
        from,
        complete: true,
    };
    for number in 1..=4 {
        table.handle(Input::Connected(peer(number)), NOW, rng);
    }
    for number in 1..=3 {
        table.handle(done(peer(number)), NOW, rng);
    }
    let mut now = NOW;
    while now < later(exchange::EXCHANGE_INTERVAL) {
        now.0 += exchange::MEETING_PAUSE.as_millis() as u64;
        table.handle(Input::Disconnected(peer(9)), now, rng);
        let outputs = table.handle(Input::Connected(peer(9)), now, rng);
        let met = asked(&outputs);
        if met.contains(&peer(9)) {
            table.handle(done(peer(9)), now, rng);
        }
    }
    assert_eq!(asked(&table.handle(Input::Tick, now, rng)), [peer(4)]);
}

#[test]
fn a_turn_that_finds_nobody_to_ask_comes_again() {
    let mut table = table();
    let rng = &mut rng();
    let done = |from: PeerId| Input::TableDone {
        from,
        complete: true,
    };
    table.handle(Input::Connected(peer(1)), NOW, rng);
    table.handle(done(peer(1)), NOW, rng);
    // The only peer is being asked back when the turn of the own choice comes.
    let turn = later(exchange::EXCHANGE_INTERVAL);
    let request = Input::TableRequest {
        from: peer(1),
        summary: [(*peer(6).as_bytes(), 7)].into_iter().collect(),
    };
    let before = UnixMillis(turn.0 - exchange::EXCHANGE_JITTER.as_millis() as u64 - 1);
    assert_eq!(asked(&table.handle(request, before, rng)), [peer(1)]);
    let late = UnixMillis(before.0 + exchange::EXCHANGE_TIMEOUT.as_millis() as u64 - 1);
    let nobody: [PeerId; 0] = [];
    assert_eq!(asked(&table.handle(Input::Tick, late, rng)), nobody);
    table.handle(done(peer(1)), late, rng);
    let again = later(exchange::EXCHANGE_INTERVAL + exchange::EXCHANGE_RETRY_JOINED);
    assert_eq!(asked(&table.handle(Input::Tick, again, rng)), [peer(1)]);
}

#[test]
fn one_that_gossip_has_left_behind_asks_another_soon() {
    let rng = &mut rng();
    let turn = later(exchange::EXCHANGE_INTERVAL);
    // (when it was issued, whether it says something new, whether it lacks more)
    for (issued_at, queued, is_behind) in [(NOW, 1, true), (turn, 1, false), (NOW, 0, false)] {
        let mut table = table();
        let done = |from: PeerId| Input::TableDone {
            from,
            complete: true,
        };
        for number in 1..=4 {
            table.handle(Input::Connected(peer(number)), NOW, rng);
        }
        gossip(&mut table, signed(5, &advert(5, 1)));
        for number in 1..=3 {
            table.handle(done(peer(number)), NOW, rng);
        }
        assert_eq!(asked(&table.handle(Input::Tick, turn, rng)), [peer(4)]);
        let news = Advert {
            issued_at,
            queued,
            ..advert(5, 2)
        };
        repeated(&mut table, 4, vec![signed(5, &news)], turn);
        table.handle(done(peer(4)), turn, rng);
        // It asks on, for the next may lack the same, and has enough of it.
        let (mut now, mut asks) = (turn, 0);
        for _ in 0..6 {
            now.0 += exchange::EXCHANGE_RETRY_JOINED.as_millis() as u64;
            for other in asked(&table.handle(Input::Tick, now, rng)) {
                asks += 1;
                table.handle(done(other), now, rng);
            }
        }
        let expected = if is_behind { exchange::FOLLOW_UPS } else { 0 };
        assert_eq!(asks, expected, "{issued_at:?} {queued}");
    }
}

#[test]
fn only_what_is_missing_is_sent() {
    let mut table = table();
    for number in 1..=4 {
        gossip(&mut table, signed(number, &advert(number, 5)));
    }
    let summary: Summary = [(1, 5), (2, 4), (3, 6)]
        .map(|(number, sequence)| (*peer(number).as_bytes(), sequence))
        .into_iter()
        .collect();
    let outputs = table.handle(
        Input::TableRequest {
            from: peer(9),
            summary,
        },
        NOW,
        &mut rng(),
    );
    let Some(Output::SendTable { to, adverts }) = outputs.first() else {
        panic!("{outputs:?}");
    };
    assert_eq!(*to, peer(9));
    let mut sent: Vec<PeerId> = adverts.iter().map(|advert| advert.peer).collect();
    let mut expected = vec![peer(2), peer(4)];
    sent.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sent, expected);
}

/// Asks for the whole table under a key, with a new connection; whether it is sent.
fn is_answered(table: &mut Table, asker: u8, now: UnixMillis) -> bool {
    let rng = &mut rng();
    table.handle(Input::Connected(peer(asker)), now, rng);
    let request = Input::TableRequest {
        from: peer(asker),
        summary: Summary::default(),
    };
    let outputs = table.handle(request, now, rng);
    table.handle(Input::Disconnected(peer(asker)), now, rng);
    outputs
        .iter()
        .any(|o| matches!(o, Output::SendTable { .. }))
}

#[test]
fn one_peer_is_answered_at_a_bounded_rate_even_if_it_reconnects() {
    let mut table = table();
    let burst = exchange::ANSWER_RATE.burst;
    let questions = (burst / exchange::QUESTION_COST) as usize;
    let answered =
        |table: &mut Table, tries| (0..tries).filter(|_| is_answered(table, 1, NOW)).count();
    assert_eq!(answered(&mut table, questions + 20), questions);
    assert!(is_answered(&mut table, 2, NOW), "each has its own");
    assert!(is_answered(&mut table, 1, later(Duration::from_secs(1))));
}

#[test]
fn a_table_costs_its_asker_what_it_has() {
    const ADVERTS: u32 = 200;
    let mut table = table();
    for number in 0..ADVERTS {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let author = Keypair::from_seed(&seed);
        let advert = Advert {
            peer: author.peer_id(),
            ..advert(2, 1)
        };
        let input = Input::Gossip {
            from: author.peer_id(),
            bytes: sign(&advert, &author).unwrap().bytes().to_vec(),
        };
        table.handle(input, NOW, &mut rng());
    }
    assert_eq!(table.roster().len(), ADVERTS as usize);
    let cost = ADVERTS + exchange::QUESTION_COST;
    let tables = (exchange::ANSWER_RATE.burst / cost) as usize;
    let answered = (0..tables + 5)
        .filter(|_| is_answered(&mut table, 1, NOW))
        .count();
    assert_eq!(answered, tables);
}

#[test]
fn only_a_peer_that_was_asked_may_answer_and_a_forger_is_not_trusted() {
    let mut table = table();
    let rng = &mut rng();
    let adverts = vec![signed(5, &advert(5, 1))];
    table.handle(
        Input::TableResponse {
            from: peer(1),
            adverts: adverts.clone(),
        },
        NOW,
        rng,
    );
    assert!(table.roster().is_empty());

    table.handle(Input::Connected(peer(1)), NOW, rng);
    table.handle(
        Input::TableResponse {
            from: peer(1),
            adverts: adverts.clone(),
        },
        NOW,
        rng,
    );
    assert_eq!(table.roster().len(), 1);

    let mut forged = signed(6, &advert(6, 1));
    forged[3] ^= 1;
    let adverts = vec![forged, signed(7, &advert(7, 1))];
    let outputs = table.handle(
        Input::TableResponse {
            from: peer(1),
            adverts,
        },
        NOW,
        rng,
    );
    assert!(outputs.iter().any(|output| matches!(
        output,
        Output::Distrust { peer: distrusted, reason: Reason::Forged } if *distrusted == peer(1)
    )));
    assert_eq!(table.roster().len(), 1);
}

/// Signs what the table asks to be signed, and hands it in once the other outputs
/// have been seen to.
fn sign_all(table: &mut Table, outputs: Vec<Output>, now: UnixMillis) -> Vec<Output> {
    let (mut all, mut tickets) = (Vec::new(), Vec::new());
    for output in outputs {
        match output {
            Output::Sign(ticket) => tickets.push(ticket),
            other => all.push(other),
        }
    }
    for Ticket {
        sequence,
        issued_at,
        expires_at,
        farewell,
    } in tickets
    {
        let own = Advert {
            issued_at,
            expires_at,
            draining: farewell,
            ..advert(0, sequence)
        };
        let signed = sign(&own, &keypair(0)).unwrap();
        all.extend(table.handle(Input::Local(signed), now, &mut rng()));
    }
    all
}

#[test]
fn the_own_advert_is_published_refreshed_and_never_lapses() {
    let mut table = table();
    let rng = &mut rng();
    let mut now = NOW;
    let outputs = table.handle(Input::Change, now, rng);
    let outputs = sign_all(&mut table, outputs, now);
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Publish(_)))
    );
    let mut outputs = outputs;
    outputs.extend(table.handle(Input::Connected(peer(1)), now, rng));

    // An hour of nothing but timers.
    let (mut ticks, mut published) = (0, 0);
    let mut wake = None;
    while now < later(Duration::from_secs(3600)) {
        for output in &outputs {
            match output {
                Output::WakeAt(at) => wake = Some(*at),
                Output::Publish(_) => published += 1,
                _ => {}
            }
        }
        let asked = asked(&outputs);
        let at = wake
            .take()
            .expect("a timer is always set while there is something to do");
        assert!(at >= now);
        now = at;
        ticks += 1;
        outputs = Vec::new();
        for from in asked {
            let complete = true;
            let done = table.handle(Input::TableDone { from, complete }, now, rng);
            outputs.extend(sign_all(&mut table, done, now));
        }
        let ticked = table.handle(Input::Tick, now, rng);
        outputs.extend(sign_all(&mut table, ticked, now));
        let own = table.roster().of(&peer(0)).expect("the own advert");
        assert!(own.expires_at > now);
    }
    let hour = 3600;
    assert!(
        published >= hour / own::REFRESH.as_secs(),
        "{published} refreshes"
    );
    assert!(published <= hour / 100 + 2, "{published} refreshes");
    assert!(ticks < 250, "{ticks} ticks in an idle hour are a busy loop");
}

#[test]
fn a_former_run_with_a_faster_clock_does_not_silence_this_one() {
    let mut table = table();
    let rng = &mut rng();
    let left_behind = later(Duration::from_secs(20)).0;
    let (verdict, _) = gossip(&mut table, signed(0, &advert(0, left_behind)));
    assert_eq!(verdict, Verdict::Ignore(Reason::Own));
    let outputs = table.handle(Input::Change, NOW, rng);
    sign_all(&mut table, outputs, NOW);
    assert!(table.roster().of(&peer(0)).unwrap().sequence > left_behind);
}

#[test]
fn a_copied_key_is_noticed() {
    let mut table = table();
    let outputs = table.handle(Input::Change, NOW, &mut rng());
    sign_all(&mut table, outputs, NOW);
    let theirs = NOW.0 + 1000;
    let (_, outputs) = gossip(&mut table, signed(0, &advert(0, theirs)));
    assert!(
        outputs.iter().any(
            |output| matches!(output, Output::KeyElsewhere { sequence } if *sequence == theirs)
        )
    );
}

#[test]
fn a_farewell_is_short_and_says_that_nothing_is_taken_on() {
    let mut table = table();
    let outputs = table.handle(Input::Change, NOW, &mut rng());
    sign_all(&mut table, outputs, NOW);
    let outputs = table.handle(Input::Farewell, NOW, &mut rng());
    let outputs = sign_all(&mut table, outputs, NOW);
    let published = outputs
        .iter()
        .find_map(|output| match output {
            Output::Publish(bytes) => Some(bytes.clone()),
            _ => None,
        })
        .expect("a last advert");
    let last = Signed::<Advert>::from_bytes(published)
        .unwrap()
        .open()
        .unwrap();
    assert!(last.draining);
    assert!(last.expires_at <= later(own::FAREWELL_LIFE));
}

/// Adverts of six peers, three numbers, and sometimes two texts under one number.
fn some_adverts() -> impl Strategy<Value = Vec<(u8, u64, u32)>> {
    proptest::collection::vec((1u8..7, 1u64..4, 0u32..2), 1..24)
}

fn bytes_of((number, sequence, slots): &(u8, u64, u32)) -> Vec<u8> {
    signed(
        *number,
        &Advert {
            free_slots: *slots,
            ..advert(*number, *sequence)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_gives_the_same_table(adverts in some_adverts(), seed in any::<u64>()) {
        let mut shuffled = adverts.clone();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (mut one, mut two) = (table(), table());
        for advert in &adverts {
            gossip(&mut one, bytes_of(advert));
        }
        for advert in &shuffled {
            gossip(&mut two, bytes_of(advert));
        }
        prop_assert_eq!(outcome(&one), outcome(&two));

        // And it is what the rules say.
        let mut newest: BTreeMap<u8, u64> = BTreeMap::new();
        for (number, sequence, _) in &adverts {
            let known = newest.entry(*number).or_default();
            *known = (*known).max(*sequence);
        }
        for (number, sequence) in newest {
            let mut texts: Vec<u32> = adverts
                .iter()
                .filter(|a| a.0 == number && a.1 == sequence)
                .map(|a| a.2)
                .collect();
            texts.sort_unstable();
            texts.dedup();
            prop_assert_eq!(one.roster().sequence_of(&peer(number)), Some(sequence));
            prop_assert_eq!(one.roster().of(&peer(number)).is_some(), texts.len() == 1);
        }
    }

    #[test]
    fn any_order_gives_the_same_full_table(adverts in some_adverts(), seed in any::<u64>()) {
        // A newer advert lives longer, as one with a later number does in truth.
        let bytes: Vec<Vec<u8>> = adverts
            .iter()
            .map(|(number, sequence, _)| {
                let span = Duration::from_secs(*sequence * 10 + u64::from(*number));
                signed(*number, &Advert { expires_at: later(span), ..advert(*number, *sequence) })
            })
            .collect();
        let mut shuffled = bytes.clone();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let small = || Table::with_capacity(peer(0), NetworkName::default(), 3);
        let (mut one, mut two) = (small(), small());
        for bytes in bytes {
            gossip(&mut one, bytes);
        }
        for bytes in shuffled {
            gossip(&mut two, bytes);
        }
        prop_assert_eq!(outcome(&one), outcome(&two));
    }

    #[test]
    fn an_exchange_gives_the_asker_all_that_the_answerer_shows(
        mine in some_adverts(),
        theirs in some_adverts(),
    ) {
        let rng = &mut rng();
        let (mut asker, mut answerer) = (table(), Table::new(peer(8), NetworkName::default()));
        for advert in &mine {
            gossip(&mut asker, bytes_of(advert));
        }
        for advert in &theirs {
            gossip(&mut answerer, bytes_of(advert));
        }
        let outputs = asker.handle(Input::Connected(peer(8)), NOW, rng);
        let Some(Output::RequestTable { summary, .. }) = outputs.into_iter().next() else {
            panic!("a joiner asks the first peer it meets");
        };
        let request = Input::TableRequest { from: peer(0), summary };
        let outputs = answerer.handle(request, NOW, rng);
        let Some(Output::SendTable { adverts, .. }) = outputs.into_iter().next() else {
            panic!("the first request is answered");
        };
        let adverts = adverts.iter().map(|advert| advert.bytes().to_vec()).collect();
        asker.handle(Input::TableResponse { from: peer(8), adverts }, NOW, rng);
        for advert in answerer.roster().adverts() {
            let known = asker.roster().sequence_of(&advert.peer);
            prop_assert!(known.is_some_and(|known| known >= advert.sequence));
        }
    }

    #[test]
    fn noise_is_never_accepted(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let mut table = table();
        let (verdict, _) = gossip(&mut table, bytes);
        prop_assert!(matches!(verdict, Verdict::Reject(_)));
    }
}

/// A key and its advert, of any number.
fn fresh(number: u32) -> Vec<u8> {
    let mut seed = [77; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    let keypair = Keypair::from_seed(&seed);
    let advert = Advert {
        peer: keypair.peer_id(),
        ..advert(1, 1)
    };
    sign(&advert, &keypair).unwrap().bytes().to_vec()
}

#[test]
fn one_peer_cannot_fill_the_table_with_fresh_keys() {
    let mut table = table();
    let most = NEWCOMER_RATE.burst;
    let said = |table: &mut Table, from: u8, number: u32| {
        let input = Input::Gossip {
            from: peer(from),
            bytes: fresh(number),
        };
        let outputs = table.handle(input, NOW, &mut rng());
        outputs.iter().find_map(|output| match output {
            Output::Verdict(verdict) => Some(*verdict),
            _ => None,
        })
    };
    for number in 0..BRINGING_RATE.burst {
        assert_eq!(said(&mut table, 1, number), Some(Verdict::Accept));
    }
    // Learned, and kept from others, who would take this peer for the one that floods.
    for number in BRINGING_RATE.burst..most {
        assert_eq!(said(&mut table, 1, number), Some(Verdict::Keep));
    }
    let crowd = Some(Verdict::Ignore(Reason::Crowd));
    for number in most..most + 50 {
        assert_eq!(said(&mut table, 1, number), crowd);
    }
    assert_eq!(table.roster().len(), most as usize);
    assert!(table.roster().len() < MAX_ADVERTS);
    // What it brought before may be renewed through it, and others may bring theirs.
    assert_eq!(said(&mut table, 1, 0), Some(Verdict::Renew));
    assert_eq!(said(&mut table, 2, most), Some(Verdict::Keep));

    // By its own table it brings no more than by gossip.
    table.handle(Input::Connected(peer(1)), NOW, &mut rng());
    let adverts = (most + 50..most + 90).map(fresh).collect();
    let response = Input::TableResponse {
        from: peer(1),
        adverts,
    };
    table.handle(response, NOW, &mut rng());
    assert_eq!(table.roster().len(), most as usize + 1);
    // It speaks for itself whatever else it has said.
    assert_eq!(
        gossip_from(&mut table, 1, signed(1, &advert(1, 1))),
        Verdict::Keep
    );
    // Known now: what it says next is passed on.
    assert_eq!(
        gossip_from(&mut table, 1, signed(1, &advert(1, 2))),
        Verdict::Renew
    );
}

/// What a peer that is asked brings at a moment, by what is to be repeated of it.
fn repeated(table: &mut Table, from: u8, adverts: Vec<Vec<u8>>, now: UnixMillis) -> usize {
    let response = Input::TableResponse {
        from: peer(from),
        adverts,
    };
    let outputs = table.handle(response, now, &mut rng());
    let repeats = outputs.iter().filter(|o| matches!(o, Output::Repeat(_)));
    repeats.count()
}

#[test]
fn what_gossip_should_have_brought_is_repeated() {
    let mut table = table();
    table.handle(Input::Connected(peer(1)), NOW, &mut rng());
    // A joiner hears of everybody for the first time.
    let late = later(GOSSIP_TIME);
    assert_eq!(
        repeated(&mut table, 1, vec![signed(2, &advert(2, 1))], late),
        0
    );
    let done = Input::TableDone {
        from: peer(1),
        complete: true,
    };
    table.handle(done, late, &mut rng());

    // Whoever connects after a while may come from behind a cut.
    let after = later(GOSSIP_TIME + exchange::MEETING_PAUSE);
    let outputs = table.handle(Input::Connected(peer(3)), after, &mut rng());
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::RequestTable { to, .. } if *to == peer(3)))
    );
    let news = |sequence, issued_at| {
        let news = Advert {
            issued_at,
            queued: u32::try_from(sequence).unwrap(),
            ..advert(2, sequence)
        };
        signed(2, &news)
    };
    let old = news(2, NOW);
    assert_eq!(repeated(&mut table, 3, vec![old.clone()], after), 1);
    assert_eq!(repeated(&mut table, 3, vec![old], after), 0);
    // One that gossip is about to bring, too: if it does, the repeat is dropped.
    let fresh = news(3, after);
    assert_eq!(repeated(&mut table, 3, vec![fresh], after), 1);
    // What is only renewed is left to the exchanges of others.
    let renewed = Advert {
        issued_at: after,
        queued: 3,
        ..advert(2, 4)
    };
    assert_eq!(repeated(&mut table, 3, vec![signed(2, &renewed)], after), 0);
}

fn gossip_from(table: &mut Table, from: u8, bytes: Vec<u8>) -> Verdict {
    let input = Input::Gossip {
        from: peer(from),
        bytes,
    };
    let outputs = table.handle(input, NOW, &mut rng());
    let verdict = outputs.iter().find_map(|output| match output {
        Output::Verdict(verdict) => Some(*verdict),
        _ => None,
    });
    verdict.expect("a verdict")
}
