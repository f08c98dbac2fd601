//! What a node does with an assignment: verify it with the production code,
//! admit it once, step through it, make checkpoints, sign a receipt.

use std::time::Duration;

use embermesh_crypto::{
    Digest, JobId, PeerId, TokenId, UnixMillis,
    statement::{self, DeviceKind, KeySet, Outcome, Output, Receipt, Verified},
    token::{self, Authority, Bearer, Expectation, IssuerTrust, Method},
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
    peer::Task,
    world::{Happening, PeerIndex},
};

/// Steps of one job.
pub(crate) const STEPS: u64 = 40;
/// The number of a job's last event: one for each step, and the end.
pub(crate) const LAST_EVENT: u64 = STEPS + 1;
/// Steps between two checkpoints.
pub(crate) const CHECKPOINT_EVERY: u64 = 5;
/// The time of one step.
pub(crate) const STEP: Duration = Duration::from_millis(1_500);

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

impl World {
    /// A client holds out its token.
    pub(crate) fn presented(
        &mut self,
        peer: PeerIndex,
        assignment: &NodeAssignment,
    ) -> Result<(), Violation> {
        let client = self.client.keypair.peer_id();
        self.begin(peer, Bearer::Peer(client), assignment, 0)
    }

    /// An order of the index arrives.
    pub(crate) fn ordered(&mut self, peer: PeerIndex, order: Order) -> Result<(), Violation> {
        if !self.peers[peer].alive {
            return Ok(());
        }
        match order {
            Order::Run(run) => {
                let index = self.peers[peer].key_set.as_ref().map(|set| set.index);
                let Some(index) = index else {
                    return Ok(());
                };
                let step = run.resume.as_ref().map_or(0, |checkpoint| checkpoint.step);
                self.begin(peer, Bearer::Issuer(index), &run.assignment, step)
            }
            Order::Cancel(key) => {
                let tasks = &mut self.peers[peer].tasks;
                if tasks.get(&key.job).is_some_and(|task| task.key == key) {
                    tasks.remove(&key.job);
                    self.slots_changed(peer)?;
                }
                Ok(())
            }
            Order::KeySet(_) | Order::Revocation(_) => Ok(()),
        }
    }

    fn begin(
        &mut self,
        peer: PeerIndex,
        bearer: Bearer,
        assignment: &NodeAssignment,
        step: u64,
    ) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        if !node.alive {
            return Ok(());
        }
        let trust = Trust(node.key_set.as_ref());
        let expectation = Expectation {
            node: node.keypair.peer_id(),
            bearer,
            method: Method::Run,
            task: None,
            spec: None,
            now: self.now,
            trust: &trust,
        };
        let verified = match token::verify(&assignment.token, &expectation) {
            Ok(verified) => verified,
            Err(refusal) => {
                let text = format!("an honest token was refused: {}", refusal.code());
                return Err(self.violation(text));
            }
        };
        let seen = node.admitted.get(&assignment.job).copied();
        if token::admit(&verified, seen, Limits::default().ceilings()).is_err() {
            // The order and the client may both bring the same attempt.
            return Ok(());
        }
        let claims = verified.claims();
        node.admitted.insert(claims.job, claims.epoch);
        let key = TaskKey {
            job: claims.job,
            task: claims.task,
            epoch: claims.epoch,
        };
        let task = Task {
            key,
            assignment: assignment.clone(),
            step,
            told: step,
            spec: claims.spec,
        };
        node.tasks.insert(key.job, task);
        let life = node.life;
        self.check_one_runner(key.job)?;
        self.slots_changed(peer)?;
        self.schedule(STEP, Happening::Step(peer, life, key.job));
        Ok(())
    }

    /// Tells the client what it was not told of a task yet, up to the event `last`.
    fn tell(&mut self, peer: PeerIndex, job: JobId, last: u64) {
        let Some(task) = self.peers[peer].tasks.get_mut(&job) else {
            return;
        };
        let events = task.told + 1..=last;
        if !events.is_empty() {
            task.told = last;
            self.send(Happening::Seen(job, events));
        }
    }

    /// One step of a task: an event to the client, now and then a checkpoint.
    pub(crate) fn step(&mut self, peer: PeerIndex, life: u32, job: JobId) -> Result<(), Violation> {
        let node = &mut self.peers[peer];
        if node.life != life {
            return Ok(());
        }
        let alive = node.alive;
        let Some(task) = node.tasks.get_mut(&job) else {
            return Ok(());
        };
        task.step = (task.step + 1).min(STEPS);
        let (key, step) = (task.key, task.step);
        // A node that is cut off goes on working; nobody hears of it until it is back.
        if alive {
            self.tell(peer, job, step);
        }
        if step >= STEPS {
            return self.finish(peer, job);
        }
        if alive && step.is_multiple_of(CHECKPOINT_EVERY) {
            let blob = BlobRef {
                digest: Digest::of(format!("{job} {step}").as_bytes()),
                size: 1,
                holders: Vec::new(),
            };
            let checkpoint = Checkpoint {
                blob,
                step,
                seq: step,
            };
            // The client is told first: a checkpoint never runs ahead of it.
            self.schedule(
                Duration::from_millis(200),
                Happening::Command(
                    Some(peer),
                    Box::new(embermesh_index_server::state::Command::Report {
                        node: self.peers[peer].id(),
                        key,
                        report: Report::Checkpoint(checkpoint),
                    }),
                ),
            );
        }
        self.schedule(STEP, Happening::Step(peer, life, job));
        Ok(())
    }

    pub(crate) fn finish(&mut self, peer: PeerIndex, job: JobId) -> Result<(), Violation> {
        if !self.peers[peer].alive {
            // It will report when it can: that is what its outbox is for.
            let life = self.peers[peer].life;
            self.schedule(STEP, Happening::Step(peer, life, job));
            return Ok(());
        }
        self.tell(peer, job, LAST_EVENT);
        let Some(task) = self.peers[peer].tasks.remove(&job) else {
            return Ok(());
        };
        let receipt = self.receipt(peer, &task)?;
        let event = Event {
            seq: LAST_EVENT,
            epoch: task.key.epoch,
            at: self.now,
            kind: EventKind::Finished {
                outcome: Outcome::Succeeded,
                receipt,
                message: String::new(),
            },
        };
        self.report(peer, task.key, Report::Event(Box::new(event)));
        self.slots_changed(peer)
    }

    fn receipt(&self, peer: PeerIndex, task: &Task) -> Result<Vec<u8>, Violation> {
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
            started_at: self.now,
            ended_at: self.now,
            message: String::new(),
            account: None,
        };
        statement::sign(&receipt, &node.keypair)
            .map(|signed| signed.bytes().to_vec())
            .map_err(|error| self.violation(format!("a receipt was not signed: {error}")))
    }

    /// The advert says how many slots are free.
    fn slots_changed(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        self.feed(peer, embermesh_mesh::protocol::Input::Change)
    }
}
