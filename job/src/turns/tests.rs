//! Turns, by hand and by seed.

use embermesh_crypto::Keypair;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::*;

const START: UnixMillis = UnixMillis(1_790_000_000_000);
const HOUR: u64 = 3_600_000;

fn rules() -> Rules {
    Rules {
        guests: Quota {
            tasks: 2,
            memory: Bytes(1 << 30),
            time: Millis(4 * HOUR),
        },
        window: Millis(24 * HOUR),
        queue: 6,
        queue_each: 3,
    }
}

fn after(ms: u64) -> UnixMillis {
    UnixMillis(START.0 + ms)
}

fn peer(number: u8) -> PeerId {
    Keypair::from_seed(&[number; 32]).peer_id()
}

fn job(number: u8) -> JobId {
    JobId::v7(START, [number; 10])
}

fn ask(client: u8, rank: Rank, number: u8) -> Ask {
    Ask {
        client: peer(client),
        rank,
        job: job(number),
        takes: Takes::Slot,
        device: None,
        memory: Bytes(1 << 20),
        wall: Millis(HOUR),
    }
}

fn guest(client: u8, number: u8) -> Ask {
    ask(client, Rank::Guest, number)
}

fn ahead(turn: Result<Turn, NotTaken>) -> (u32, &'static str) {
    match turn.unwrap() {
        Turn::Wait { ahead, why } => (ahead, why.code()),
        Turn::Go => panic!("it may go"),
    }
}

#[test]
fn a_free_slot_is_promised_once_and_for_a_moment() {
    let mut turns = Turns::new(rules());
    assert_eq!(turns.ask(guest(1, 1), 1, START), Ok(Turn::Go));
    assert_eq!(ahead(turns.ask(guest(2, 2), 1, START)), (0, "busy"));
    // Asked again, it is the same promise, which another does not start with.
    assert_eq!(turns.ask(guest(1, 1), 1, after(1)), Ok(Turn::Go));
    assert_eq!(
        ahead(turns.may_start(guest(2, 2), 1, after(1))),
        (0, "busy")
    );
    assert_eq!(turns.may_start(guest(1, 1), 1, after(1)), Ok(Turn::Go));
    // Whoever does not come has lost it.
    let late = after(2 + u64::try_from(PROMISE_KEPT.as_millis()).unwrap());
    assert_eq!(turns.may_start(guest(2, 2), 1, late), Ok(Turn::Go));
}

#[test]
fn the_owner_goes_first_then_the_allowed_then_whoever_came_first() {
    let mut turns = Turns::new(rules());
    for (at, waiting) in [
        guest(1, 1),
        guest(2, 2),
        ask(3, Rank::Allowed, 3),
        ask(4, Rank::Owner, 4),
    ]
    .into_iter()
    .enumerate()
    {
        ahead(turns.ask(waiting, 0, after(at as u64)));
    }
    let now = after(10);
    assert_eq!(ahead(turns.ask(guest(2, 2), 1, now)), (3, "behind"));
    assert_eq!(ahead(turns.ask(guest(1, 1), 1, now)), (2, "behind"));
    assert_eq!(
        ahead(turns.ask(ask(3, Rank::Allowed, 3), 1, now)),
        (1, "behind")
    );
    assert_eq!(turns.ask(ask(4, Rank::Owner, 4), 1, now), Ok(Turn::Go));
    assert_eq!(turns.waiting(now), 3);
    // One who is away too long has no place any more.
    let kept = u64::try_from(PLACE_KEPT.as_millis()).unwrap();
    assert_eq!(turns.waiting(after(10 + kept)), 0);
    assert_eq!(turns.ask(guest(2, 2), 1, after(10 + kept)), Ok(Turn::Go));
}

#[test]
fn whoever_has_had_less_goes_before_whoever_came_earlier() {
    let mut turns = Turns::new(rules());
    turns.started(guest(1, 1), START);
    turns.ended(peer(1), job(1), after(HOUR));
    ahead(turns.ask(guest(1, 2), 0, after(HOUR)));
    ahead(turns.ask(guest(2, 3), 0, after(HOUR + 1)));
    let now = after(HOUR + 2);
    assert_eq!(ahead(turns.ask(guest(1, 2), 1, now)), (1, "behind"));
    assert_eq!(turns.ask(guest(2, 3), 1, now), Ok(Turn::Go));
}

#[test]
fn asks_for_other_devices_are_in_nobodys_way() {
    let mut turns = Turns::new(rules());
    let on = |ask: Ask, device| Ask {
        device: Some(device),
        ..ask
    };
    ahead(turns.ask(on(guest(1, 1), DeviceKind::Cuda), 0, START));
    let cpu = on(guest(2, 2), DeviceKind::Cpu);
    assert_eq!(turns.ask(cpu, 1, after(1)), Ok(Turn::Go));
    // A resident model takes no slot.
    let resident = Ask {
        takes: Takes::Residence,
        ..guest(3, 3)
    };
    assert_eq!(turns.ask(resident, 1, after(1)), Ok(Turn::Go));
}

#[test]
fn a_guest_has_quotas_and_nobody_else_has() {
    let mut turns = Turns::new(rules());
    let long = Ask {
        wall: Millis(5 * HOUR),
        ..guest(1, 1)
    };
    let refused = turns.ask(long, 9, START).unwrap_err();
    assert_eq!(refused.code(), "too_long");
    assert!(!refused.passes());
    let said = refused.to_string();
    assert!(said.contains("5h") && said.contains("4h"), "{said}");
    let large = Ask {
        memory: Bytes(2 << 30),
        ..guest(1, 1)
    };
    assert_eq!(
        turns.ask(large, 9, START).unwrap_err().code(),
        "too_much_memory"
    );
    for rank in [Rank::Owner, Rank::Allowed] {
        for asked in [long, large] {
            let asked = Ask {
                rank,
                client: peer(9),
                ..asked
            };
            assert_eq!(turns.may_start(asked, 9, START), Ok(Turn::Go));
        }
    }
    // Two at once, and not a third.
    turns.started(guest(1, 1), START);
    turns.started(guest(1, 2), START);
    let turn = turns.ask(guest(1, 3), 9, START).unwrap();
    assert_eq!(
        turn,
        Turn::Wait {
            ahead: 0,
            why: Waits::TooMany { has: 2, most: 2 }
        }
    );
    // One whose quota is spent is in nobody's way.
    assert_eq!(turns.ask(guest(2, 4), 1, after(1)), Ok(Turn::Go));
    // Four hours in a day: two were used, two are asked for by what runs.
    turns.ended(peer(1), job(1), after(2 * HOUR));
    turns.started(guest(1, 3), after(2 * HOUR));
    turns.ended(peer(1), job(2), after(2 * HOUR));
    let turn = turns.ask(guest(1, 5), 9, after(2 * HOUR)).unwrap();
    let left = Millis(0);
    assert!(
        matches!(turn, Turn::Wait { why: Waits::TimeSpent { left: has, .. }, .. } if has == left),
        "{turn:?}"
    );
    turns.ended(peer(1), job(3), after(2 * HOUR));
    assert_eq!(turns.ask(guest(1, 5), 9, after(26 * HOUR)), Ok(Turn::Go));
}

#[test]
fn the_queue_has_a_bound_for_each_and_for_all_and_the_owner_finds_room() {
    let mut turns = Turns::new(rules());
    for number in 1..=3 {
        ahead(turns.ask(guest(1, number), 0, START));
    }
    let refused = turns.ask(guest(1, 4), 0, START).unwrap_err();
    assert_eq!(refused, NotTaken::YourQueueFull { most: 3 });
    assert!(refused.passes());
    for number in 4..=6 {
        ahead(turns.ask(guest(number, number), 0, START));
    }
    assert_eq!(
        turns.ask(guest(9, 9), 0, START),
        Err(NotTaken::QueueFull { most: 6 })
    );
    // One who waits already is not one more.
    assert_eq!(ahead(turns.ask(guest(1, 1), 0, START)).1, "busy");
    assert_eq!(
        ahead(turns.ask(ask(8, Rank::Owner, 8), 0, START)),
        (0, "busy")
    );
}

#[test]
fn what_was_used_before_a_restart_counts() {
    let mut turns = Turns::new(rules());
    turns.restore(peer(1), START, Duration::from_secs(4 * 3600 - 60));
    assert_eq!(ahead(turns.ask(guest(1, 1), 9, after(1))).1, "time_spent");
    for _ in 0..2 * MAX_SPANS {
        turns.restore(peer(2), START, Duration::from_secs(1));
    }
    // What is folded together is not lost.
    assert_eq!(turns.used_by(&peer(2)).as_secs(), 2 * MAX_SPANS as u64);
    assert!(turns.used[&peer(2)].len() <= MAX_SPANS);
}

/// A node with some slots and clients who always have a job waiting. Nobody is lost,
/// nobody runs beyond the slots, and equals get equal shares.
#[test]
fn shares_are_fair_by_seed() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |most: u64| rng.next_u64() % most;
        let slots = 1 + u32::try_from(below(3)).unwrap();
        let clients = 2 + u8::try_from(below(3)).unwrap();
        let mut turns = Turns::new(Rules {
            guests: Quota {
                tasks: 0,
                memory: Bytes(0),
                time: Millis(0),
            },
            ..rules()
        });
        let asks: Vec<Ask> = (1..=clients).map(|client| guest(client, 0)).collect();
        let mut running: Vec<(u8, Ask, u64)> = Vec::new();
        let mut had = vec![0_u64; usize::from(clients)];
        let mut next = vec![0_u8; usize::from(clients)];
        let wanted = |client: u8, number: u8| Ask {
            job: JobId::v7(START, [client, number, 0, 0, 0, 0, 0, 0, 0, 0]),
            ..asks[usize::from(client)]
        };
        for step in 0..4000_u64 {
            let now = after(step * 1000);
            running.retain(|(client, ask, until)| {
                if *until > step {
                    return true;
                }
                turns.ended(ask.client, ask.job, now);
                next[usize::from(*client)] = next[usize::from(*client)].wrapping_add(1);
                false
            });
            // In an order of their own each time.
            let first = u8::try_from(below(clients.into())).unwrap();
            for client in (0..clients).map(|client| (client + first) % clients) {
                let ask = wanted(client, next[usize::from(client)]);
                if running.iter().any(|(other, ..)| *other == client) {
                    continue;
                }
                let free = slots - u32::try_from(running.len()).unwrap();
                if turns.ask(ask, free, now) == Ok(Turn::Go) {
                    turns.started(ask, now);
                    let takes = 1 + below(30);
                    had[usize::from(client)] += takes;
                    running.push((client, ask, step + takes));
                }
                assert!(running.len() <= slots as usize, "seed {seed}, step {step}");
            }
        }
        let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
        // Where each has a slot, each runs as it likes.
        if slots < u32::from(clients) {
            assert!(
                most - least <= 60,
                "seed {seed}: {had:?} with {slots} slots"
            );
        }
    }
}

#[test]
fn what_several_indexes_send_counts_together_with_the_rest() {
    let mut turns = Turns::new(rules());
    // One task by each of two indexes, whose turns are not decided here.
    for number in 1..=2 {
        let sent = guest(1, number);
        assert_eq!(turns.within_quota(&sent, START), Ok(None));
        turns.started(sent, START);
    }
    let third = guest(1, 3);
    let over = turns.within_quota(&third, START).unwrap().unwrap();
    assert_eq!(over, Waits::TooMany { has: 2, most: 2 });
    assert_eq!(ahead(turns.ask(third, 9, START)), (0, "too_many_tasks"));
    // Neither the owner nor anybody else is held to what one guest has.
    let owner = ask(1, Rank::Owner, 4);
    assert_eq!(turns.within_quota(&owner, START), Ok(None));
    assert_eq!(turns.within_quota(&guest(2, 5), START), Ok(None));
    turns.ended(peer(1), job(1), after(1));
    assert_eq!(turns.within_quota(&third, after(1)), Ok(None));
    let large = Ask {
        memory: Bytes(2 << 30),
        ..third
    };
    let never = turns.within_quota(&large, after(1)).unwrap_err();
    assert_eq!(never.code(), "too_much_memory");
}
