//! What a node does with an assignment: verify it with the production code, admit it
//! once, step through it, make checkpoints, sign a receipt.

use std::time::Duration;

use embermesh_crypto::{
    Digest, JobId, PeerId, TokenId, UnixMillis,
    statement::{self, DeviceKind, KeySet, Outcome, Output, Receipt, Verified},
    token::{self, Authority, Bearer, Expectation, IssuerTrust, Method, Refusal},
};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::{NodeAssignment, TaskKey},
    event::{Event, EventKind},
    order::{Order, Report},
    spec::Limits,
};

use crate::{
    Violation, World,
    faults::Sabotage,
    happening::Happening,
    peer::{SLOTS, Task},
    world::PeerIndex,
};

/// Steps of one job.
pub(crate) const STEPS: u64 = 40;
/// The number of a job's last event: one for each step, and the end.
pub(crate) const LAST_EVENT: u64 = STEPS + 1;
/// Steps between two checkpoints.
pub(crate) const CHECKPOINT_EVERY: u64 = 5;
/// The time of one step.
pub(crate) const STEP: Duration = Duration::from_millis(1_500);
/// How long after a step its checkpoint is reported: the client is told first.
const CHECKPOINT_AFTER: u64 = 1;

/// A node trusts the key set that its index gave it.
struct Trust<'a>(Option<&'a Verified<KeySet>>);

impl IssuerTrust for Trust<'_> {
    fn authority(&self, issuer: &PeerId, now: UnixMillis) -> Option<Authority> {
        let set = self.0?;
        set.valid_key(issuer, now)?;
        Some(Authority {
            identity: set.index,
            min_revocation_epoch: 0,
        })
    }

    fn is_revoked(&self, _: &PeerId, _: &TokenId) -> bool {
        false
    }
}

/// What became of a request to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It runs.
    Runs,
    /// It, or a later attempt, was begun before.
    Before,
    /// It was refused, for this reason.
    Refused(&'static str),
}

impl World {
    /// An order of the index arrives.
    pub(crate) fn ordered(&mut self, peer: PeerIndex, order: Order) -> Result<(), Violation> {
        if !self.peers[peer].alive {
            return Ok(());
        }
        if self.peers[peer].lies {
            self.peers[peer].hoard_order(peer, order);
            return Ok(());
        }
        match order {
            Order::Run(run) => {
                let index = self.index_identity.peer_id();
                let step = run.resume.as_ref().map_or(0, |checkpoint| checkpoint.step);
                let begun = self.begin(peer, Bearer::Issuer(index), &run.assignment, step)?;
                if let Begun::Refused(code) = begun {
                    let key = TaskKey {
                        job: run.assignment.job,
                        task: run.assignment.task,
                        epoch: run.assignment.epoch,
                    };
                    self.give_up(peer, key, code);
                }
                Ok(())
            }
            Order::Cancel(key) => {
                let node = &mut self.peers[peer];
                if node.tasks.get(&key.job).is_some_and(|task| task.key == key) {
                    self.stop(peer, key.job)?;
                }
                Ok(())
            }
            Order::KeySet(bytes) => self.take_key_set(peer, &bytes),
            Order::Revocation(_) => Ok(()),
        }
    }

    /// A task is stopped before its end.
    fn stop(&mut self, peer: PeerIndex, job: JobId) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        node.tasks.remove(&job);
        node.store.open.remove(&job);
        node.listeners.remove(&job);
        self.slots_changed(peer)
    }

    /// A node tells the index that an attempt came to nothing on it.
    pub(crate) fn give_up(&mut self, peer: PeerIndex, key: TaskKey, code: &str) {
        let report = Report::AttemptFailed {
            code: code.to_owned(),
            message: String::new(),
        };
        self.peers[peer].post(key, report);
        self.posted(peer);
    }

    /// Somebody asks a node to begin an attempt, after `step` steps.
    pub(crate) fn begin(
        &mut self,
        peer: PeerIndex,
        bearer: Bearer,
        assignment: &NodeAssignment,
        step: u64,
    ) -> Result<Begun, Violation> {
        let node = &self.peers[peer];
        let clock = node.clock(self.now);
        let trust = Trust(node.store.key_set.as_ref());
        let expectation = Expectation {
            node: node.id(),
            bearer,
            method: Method::Run,
            task: None,
            spec: None,
            now: clock,
            trust: &trust,
        };
        let verified = match token::verify(&assignment.token, &expectation) {
            Ok(verified) => verified,
            Err(refusal) => return self.may_refuse(peer, bearer, assignment, &refusal),
        };
        let claims = verified.claims();
        let key = TaskKey {
            job: claims.job,
            task: claims.task,
            epoch: claims.epoch,
        };
        let (spec, seen) = (claims.spec, node.store.admitted.get(&key.job).copied());
        let admitted = token::admit(&verified, seen, Limits::default().ceilings());
        if admitted.is_err() && self.sabotage != Some(Sabotage::SkipFence) {
            self.counts.replayed += 1;
            return Ok(Begun::Before);
        }
        // An older attempt of the same job makes room for this one.
        if self.peers[peer].tasks.contains_key(&key.job) {
            self.stop(peer, key.job)?;
        }
        if self.peers[peer].tasks.len() >= SLOTS as usize {
            return Ok(Begun::Refused("busy"));
        }
        self.audit
            .admitted(key, peer)
            .map_err(|what| self.violation(what))?;
        let node = &mut self.peers[peer];
        node.store.admitted.insert(key.job, key.epoch);
        node.store.open.insert(key.job, key);
        node.begin_log(key.job, step);
        let task = Task {
            key,
            assignment: assignment.clone(),
            step,
            spec,
            began: clock,
        };
        node.tasks.insert(key.job, task);
        let life = node.life;
        self.touched.jobs.insert(key.job);
        self.slots_changed(peer)?;
        self.schedule(STEP, Happening::Step(peer, life, key.job));
        Ok(Begun::Runs)
    }

    /// A token was refused: rightly so where somebody else held it out, the node has
    /// not heard of the issuer yet, or its clock is wrong.
    fn may_refuse(
        &mut self,
        peer: PeerIndex,
        bearer: Bearer,
        assignment: &NodeAssignment,
        refusal: &Refusal,
    ) -> Result<Begun, Violation> {
        let code = refusal.code();
        let theirs = match bearer {
            Bearer::Peer(bearer) => bearer == self.client.keypair.peer_id(),
            Bearer::Issuer(_) | Bearer::Holder => true,
        } && assignment.node.peer == self.peers[peer].id();
        let early = code == "unknown_issuer" && self.peers[peer].store.key_set.is_none();
        let wrong_clock = self.peers[peer].wrong_clock
            && matches!(code, "not_yet_valid" | "expired" | "unknown_issuer");
        if theirs && !early && !wrong_clock {
            return Err(self.violation(format!("an honest token was refused: {code}")));
        }
        Ok(Begun::Refused(code))
    }

    /// One step of a task: an event to the client, now and then a checkpoint.
    pub(crate) fn step(&mut self, peer: PeerIndex, life: u32, job: JobId) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        if node.life != life {
            return Ok(());
        }
        let Some(task) = node.tasks.get_mut(&job) else {
            return Ok(());
        };
        task.step = (task.step + 1).min(STEPS);
        let (key, step) = (task.key, task.step);
        node.log(job, step);
        // A node that is cut off goes on working; nobody hears of it until it is back.
        self.tell(peer, job);
        if step >= STEPS {
            return self.finish(peer, job);
        }
        if step % CHECKPOINT_EVERY == CHECKPOINT_AFTER && step > CHECKPOINT_EVERY {
            let at = step - CHECKPOINT_AFTER;
            let blob = BlobRef {
                digest: Digest::of(format!("{job} {at}").as_bytes()),
                size: 1,
                holders: Vec::new(),
            };
            let checkpoint = Checkpoint {
                blob,
                step: at,
                seq: at,
            };
            self.peers[peer].post(key, Report::Checkpoint(checkpoint));
            self.posted(peer);
        }
        self.schedule(STEP, Happening::Step(peer, life, job));
        Ok(())
    }

    /// The work is done: the last event is written down, told and reported.
    fn finish(&mut self, peer: PeerIndex, job: JobId) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        let Some(task) = node.tasks.remove(&job) else {
            return Ok(());
        };
        node.store.open.remove(&job);
        node.log(job, LAST_EVENT);
        self.tell(peer, job);
        let receipt = self.receipt(peer, &task)?;
        let event = Event {
            seq: LAST_EVENT,
            epoch: task.key.epoch,
            at: self.peers[peer].clock(self.now),
            kind: EventKind::Finished {
                outcome: Outcome::Succeeded,
                receipt,
                message: String::new(),
            },
        };
        self.peers[peer].post(task.key, Report::Event(Box::new(event)));
        self.posted(peer);
        self.slots_changed(peer)
    }

    /// A node's receipt for a task.
    pub(crate) fn receipt(&self, peer: PeerIndex, task: &Task) -> Result<Vec<u8>, Violation> {
        let node = &self.peers[peer];
        let inspected = token::inspect(&task.assignment.token, self.now)
            .map_err(|refusal| self.violation(format!("a kept token is unreadable: {refusal}")))?;
        let receipt = Receipt {
            node: node.id(),
            client: inspected.claims.client,
            issuer: inspected.claims.issuer,
            token_id: inspected.claims.token_id,
            job: task.key.job,
            task: task.key.task,
            epoch: task.key.epoch,
            spec: task.spec,
            outcome: Outcome::Succeeded,
            device: "cpu".to_owned(),
            device_kind: DeviceKind::Cpu,
            inputs: Vec::new(),
            outputs: vec![Output {
                name: "model".to_owned(),
                digest: Digest::of(task.key.job.as_bytes()),
                size: 1,
            }],
            steps: STEPS,
            samples: STEPS,
            loss: Some(0.1),
            accuracy: Some(0.9),
            started_at: task.began,
            ended_at: node.clock(self.now),
            message: String::new(),
            account: None,
        };
        statement::sign(&receipt, &node.keypair)
            .map(|signed| signed.bytes().to_vec())
            .map_err(|error| self.violation(format!("a receipt was not signed: {error}")))
    }
}
