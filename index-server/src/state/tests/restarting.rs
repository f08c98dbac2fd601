//! What a restart of the index changes: nothing that anyone notices.

use super::*;
use crate::state::{LoadedJob, StoredJob, StoredNode};

/// A store that keeps what it is given, in memory.
#[derive(Default)]
struct Memory {
    jobs: std::collections::BTreeMap<JobId, StoredJob>,
    specs: std::collections::BTreeMap<JobId, Bytes>,
    nodes: std::collections::BTreeMap<PeerId, StoredNode>,
    issuer: super::super::IssuerSnapshot,
}

impl Memory {
    fn keep(&mut self, writes: Writes) {
        for mut job in writes.jobs {
            if let Some(before) = self.jobs.remove(&job.job.id) {
                job.job.journal = before.job.journal;
            }
            job.job.journal.append(&mut job.journal);
            self.jobs.insert(job.job.id, job);
        }
        self.specs.extend(writes.specs);
        self.nodes.extend(writes.nodes);
        if let Some(issuer) = writes.issuer {
            self.issuer = issuer;
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
        }
    }
}

fn restart(world: &mut World, store: &mut Memory, away: Duration) {
    store.keep(world.writes());
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
