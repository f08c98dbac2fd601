//! What a restart of the index changes: nothing that anyone notices.

use embermesh_crypto::ids::TokenId;
use embermesh_job::{
    ledger::{Balance, LedgerSnapshot},
    reservation::{Kept, ReservationId},
};

use super::*;
use crate::state::{LoadedJob, StoredJob, StoredNode, Withdrawn, settings::REVOCATIONS_PER_CLIENT};

/// A store that keeps what it is given, in memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) jobs: BTreeMap<JobId, StoredJob>,
    specs: BTreeMap<JobId, Bytes>,
    nodes: BTreeMap<PeerId, StoredNode>,
    issuer: super::super::IssuerSnapshot,
    ledger: LedgerSnapshot,
    pub(super) reservations: BTreeMap<ReservationId, Kept>,
}

impl Memory {
    pub(super) fn keep(&mut self, writes: Writes) {
        for mut job in writes.jobs {
            if let Some(before) = self.jobs.remove(&job.job.id) {
                job.job.journal = before.job.journal;
            }
            job.job.journal.append(&mut job.journal);
            self.jobs.insert(job.job.id, job);
        }
        self.specs.extend(writes.specs);
        if let Some(changes) = writes.ledger {
            for transaction in &changes.transactions {
                self.ledger.last = transaction.number;
            }
            self.ledger.accounts.extend(changes.accounts);
            let empty = Balance::default();
            self.ledger.accounts.retain(|_, balance| *balance != empty);
            for (id, hold) in changes.holds {
                match hold {
                    Some(hold) => self.ledger.holds.insert(id, hold),
                    None => self.ledger.holds.remove(&id),
                };
            }
        }
        for kept in writes.reservations {
            self.reservations.insert(kept.reservation.id, kept);
        }
        for (peer, row) in writes.nodes {
            match row {
                Some(row) => self.nodes.insert(peer, row),
                None => self.nodes.remove(&peer),
            };
        }
        if let Some(keys) = writes.keys {
            self.issuer.keys = keys.keys;
            self.issuer.key_set = Some(keys.key_set);
        }
        if let Some(revocation) = writes.revocation {
            let kept = |_: &TokenId, token: &mut Withdrawn| {
                !revocation.all_void && token.expires_at > revocation.expired_by
            };
            self.issuer.revoked.retain(kept);
            self.issuer.revoked.extend(revocation.added);
            self.issuer.revocation = Some(revocation.statement);
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            jobs: self
                .jobs
                .values()
                .map(|stored| LoadedJob {
                    stored: stored.clone(),
                    spec: self.specs.get(&stored.job.id).cloned(),
                })
                .collect(),
            idempotency: self
                .jobs
                .values()
                .map(|stored| super::super::RememberedSubmit {
                    client: stored.job.owner,
                    key: stored.idempotency,
                    job: stored.job.id,
                    spec: stored.job.spec_digest,
                })
                .collect(),
            nodes: self.nodes.values().cloned().collect(),
            issuer: self.issuer.clone(),
            ledger: self.ledger.clone(),
            reservations: self.reservations.values().cloned().collect(),
        }
    }
}

pub(super) fn restart(world: &mut World, store: &mut Memory, away: Duration) {
    store.keep(world.writes());
    crash(world, store, away);
}

/// The same without a last commit: what was not yet durable never happened.
pub(super) fn crash(world: &mut World, store: &Memory, away: Duration) {
    world.now = world.now.saturating_add(away);
    world.state = State::restore(
        world.settings.clone(),
        Arc::clone(&world.identity),
        store.snapshot(),
        world.now,
        &mut world.entropy,
    )
    .unwrap();
}

#[test]
fn a_running_job_outlives_the_index() {
    let mut world = World::new();
    let mut store = Memory::default();
    let node = key(1);
    world.register(&node, 1);
    let before = world.submit(spec("a")).unwrap().assignment.unwrap();
    let job = before.job;
    let report = world.started(task(job, 1));
    world.report(&node, task(job, 1), report).unwrap();
    let signer = world.state.issuer().signer();
    let set = world.state.issuer().key_set().clone();
    restart(&mut world, &mut store, Duration::from_secs(60));
    assert_eq!(world.state.issuer().signer(), signer);
    assert_eq!(
        world.state.issuer().key_set(),
        &set,
        "the set is still good"
    );
    world.wait(LEASE);
    assert_eq!(world.state_of(job), JobState::Running, "nobody is punished");

    // The owner gets a token before the node is back.
    let caller = world.client.peer_id();
    let renew = Command::Renew {
        job,
        epoch: Epoch(1),
        caller,
    };
    assert!(matches!(world.handle(renew), Ok(Reply::Assignment(_))));

    let pulse = world.heartbeat(&node, &[task(job, 1)]);
    assert!(pulse.register && pulse.stop.is_empty());
    world.register(&node, 1);
    let pulse = world.heartbeat(&node, &[task(job, 1)]);
    assert!(!pulse.register);
    let report = world.finished(&node, task(job, 1), Outcome::Succeeded);
    assert!(world.report(&node, task(job, 1), report).unwrap());
    assert_eq!(world.state.job(&job).unwrap().epoch, Epoch::FIRST);
}

#[test]
fn a_node_that_stays_away_loses_the_task_in_the_end() {
    let mut world = World::new();
    let mut store = Memory::default();
    world.register(&key(1), 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let report = world.started(task(job, 1));
    world.report(&key(1), task(job, 1), report).unwrap();
    restart(&mut world, &mut store, Duration::from_secs(1));
    world.register(&key(2), 1);
    for _ in 0..20 {
        world.wait(Duration::from_millis(100));
        world.heartbeat(&key(2), &[]);
    }
    let (to, assignment) = run_order(&world.orders()).expect("ordered from the other node");
    assert_eq!(to, key(2).peer_id());
    assert_eq!(assignment.epoch, Epoch(2));
}

#[test]
fn queue_keys_and_the_ended_survive() {
    let mut world = World::new();
    let mut store = Memory::default();
    let waiting = world.submit(spec("waits")).unwrap().job.job.id;
    let ended = world.submit(spec("ends")).unwrap().job.job.id;
    let caller = world.client.peer_id();
    world
        .handle(Command::Cancel { job: ended, caller })
        .unwrap();
    restart(&mut world, &mut store, Duration::from_secs(1));
    assert_eq!(world.state.queued(), 1);
    assert_eq!(world.state_of(ended), JobState::Cancelled);
    let again = world
        .submit_as(caller, spec("waits"), 1u128.to_be_bytes())
        .unwrap();
    assert_eq!(again.job.job.id, waiting);
    world.register(&key(1), 1);
    assert_eq!(world.state_of(waiting), JobState::Assigned);
}

#[test]
fn a_revocation_survives() {
    let mut world = World::new();
    let mut store = Memory::default();
    world.register(&key(1), 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let caller = world.client.peer_id();
    world.handle(Command::Revoke { job, caller }).unwrap();
    let sequence = world.state.issuer().revocation_sequence();
    restart(&mut world, &mut store, Duration::from_secs(1));
    assert_eq!(world.state.issuer().revocation_sequence(), sequence);
    assert_eq!(world.state.issuer().snapshot().revoked.len(), 1);
}

fn revoke(world: &mut World, job: JobId) -> Result<Reply, Refused> {
    let caller = world.client.peer_id();
    world.handle(Command::Revoke { job, caller })
}

#[test]
fn the_bound_on_revocations_survives() {
    let mut world = World::new();
    let mut store = Memory::default();
    world.register(&key(1), 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    for _ in 0..REVOCATIONS_PER_CLIENT {
        revoke(&mut world, job).unwrap();
    }
    restart(&mut world, &mut store, Duration::from_secs(1));
    let refused = revoke(&mut world, job).unwrap_err();
    assert!(matches!(refused, Refused::TooManyRevocations { .. }));
}

#[test]
fn rows_of_nodes_go_with_the_nodes() {
    let mut world = World::new();
    let mut store = Memory::default();
    world.register(&key(1), 1);
    world.register(&key(2), 1);
    store.keep(world.writes());
    assert_eq!(store.nodes.len(), 2);
    // One goes on, and its advert with it.
    for _ in 0..20 {
        world.now = world.now.saturating_add(Duration::from_secs(20));
        world.register(&key(2), 1);
    }
    store.keep(world.writes());
    let kept: Vec<PeerId> = store.nodes.keys().copied().collect();
    assert_eq!(kept, [key(2).peer_id()]);
    // A restart after a long time away forgets the rest.
    restart(&mut world, &mut store, Duration::from_secs(3_600));
    world.handle(Command::Tick).unwrap();
    store.keep(world.writes());
    assert!(store.nodes.is_empty());
    assert!(world.state.registry().is_empty());
}

#[test]
fn rows_for_which_there_is_no_room_are_deleted_the_oldest_first() {
    let mut world = World::new();
    let mut store = Memory::default();
    for n in 1..=5 {
        world.register(&key(n), 1);
        world.now = world.now.saturating_add(Duration::from_secs(1));
    }
    world.settings.nodes = 2;
    restart(&mut world, &mut store, Duration::from_secs(1));
    store.keep(world.writes());
    let mut expected = [key(4).peer_id(), key(5).peer_id()];
    expected.sort_unstable();
    assert_eq!(store.nodes.into_keys().collect::<Vec<_>>(), expected);
}

/// The state as after a commit that failed: what the store has, with the nodes of
/// the state that was given up.
fn give_up(world: &mut World, store: &Memory) {
    drop(world.writes());
    let restored = State::restore(
        world.settings.clone(),
        Arc::clone(&world.identity),
        store.snapshot(),
        world.now,
        &mut world.entropy,
    )
    .unwrap();
    let given_up = std::mem::replace(&mut world.state, restored);
    world.state.keep_nodes_of(given_up);
}

#[test]
fn rows_that_a_failed_commit_lacked_come_with_the_next_that_there_is() {
    let mut world = World::new();
    let mut store = Memory::default();
    world.register(&key(1), 1);
    store.keep(world.writes());
    // One node is forgotten and one is new, and neither is written down.
    world.wait(Duration::from_secs(600));
    world.register(&key(2), 1);
    give_up(&mut world, &store);
    assert!(world.writes().is_empty(), "reads need no commit");
    world.submit(spec("a")).unwrap();
    store.keep(world.writes());
    let rows: Vec<PeerId> = store.nodes.keys().copied().collect();
    assert_eq!(rows, [key(2).peer_id()]);
}

#[test]
fn a_restart_under_an_earlier_clock_freezes_nothing() {
    let mut world = World::new();
    let mut store = Memory::default();
    let node = key(1);
    world.register(&node, 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let report = world.started(task(job, 1));
    world.report(&node, task(job, 1), report).unwrap();
    let sequence = world.state.issuer().key_set_sequence();
    store.keep(world.writes());
    world.now = UnixMillis(world.now.0 - 3_600_000);
    restart(&mut world, &mut store, Duration::ZERO);
    let set = world.state.issuer().key_set().open().unwrap();
    assert_eq!(set.sequence, sequence + 1);
    assert!(set.keys.iter().all(|key| key.not_before <= world.now));
    // The node stays away: its lease lapses in its time.
    world.wait(LEASE + settings().reregistration_grace);
    assert_eq!(world.state_of(job), JobState::Queued);
    // The next job has waited less long.
    let later = world.submit(spec("b")).unwrap().job.job.id;
    assert!(later > job);
}
