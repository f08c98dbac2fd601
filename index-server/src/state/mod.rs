//! The index as a pure state machine: [`State::handle`] takes a command, the time
//! and randomness, and says what to answer and what to do. It does no IO and
//! reads no clock, so the very code that runs in production runs in a simulation.
//!
//! - [`registry`]: the nodes, and what is free on each.
//! - [`issuer`]: the keys that sign assignments; `revoked`: the tokens that are void.
//! - `ids`: the order of submits.
//! - [`command`], [`effects`]: the words in and out.
//! - [`writes`]: what must be durable before any of it is told to anyone.
//! - `books`: the ledger of accounts. `bills`: what jobs cost.
//! - `reservations`: nodes that one client has for a time.
//! - `submit`, `placing`, `owner`, `nodes`, `reports`, `leases`, `deployments`: what
//!   each command does.
//!
//! What is not here: the queue of commands and the commit (`actor`), the tables
//! (`store`), the wire (`service`).

mod advert;
pub(crate) mod bills;
mod books;
pub mod command;
mod deployments;
pub mod effects;
mod entropy;
mod idempotency;
mod ids;
pub mod issuer;
mod leases;
mod nodes;
mod owner;
mod placing;
mod record;
mod refused;
pub mod registry;
mod reports;
mod reservations;
mod restore;
mod revoked;
pub mod settings;
mod submit;
mod tokens;
mod view;
pub mod writes;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use embermesh_crypto::{
    ids::{JobId, PeerId},
    keys::Keypair,
    time::UnixMillis,
};
use embermesh_job::{
    assignment::TaskKey,
    ledger::Ledger,
    lifecycle::{self, Input},
    order::Order,
    reservation::Book,
};

pub use self::{
    books::RestoreError,
    command::{Assigned, Command, Entry, NodeEntry, Pulse, Reply, Submit, TaskHeartbeat, Welcome},
    effects::{Effects, Outputs},
    entropy::Entropy,
    issuer::{IssuerKey, IssuerSnapshot, KeyRole, KeysSnapshot},
    refused::Refused,
    revoked::{RevocationWrites, Withdrawn},
    settings::Settings,
    view::{JobSnapshot, PassedOver},
    writes::{LoadedJob, RememberedSubmit, Snapshot, StoredJob, StoredNode, StoredReceipt, Writes},
};
use self::{
    idempotency::Idempotency, ids::JobIds, issuer::Issuer, record::Record, registry::Registry,
};

/// Everything that the index knows.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    /// Open jobs, and the newest of those that have ended.
    jobs: BTreeMap<JobId, Record>,
    /// Jobs that have ended, oldest first, to forget them in that order.
    ended: VecDeque<JobId>,
    ids: JobIds,
    /// Jobs that wait for a node. Ids rise, so this is the order of submits.
    queue: BTreeSet<JobId>,
    /// Deployments among them, some of which may have left: they take no slot, and are
    /// placed where the walk along the queue does not come for want of one.
    residences: BTreeSet<JobId>,
    /// The job that the walk along the queue comes to next, while it is under way.
    walk: Option<JobId>,
    /// When each attempt's lease lapses.
    leases: BTreeSet<(UnixMillis, JobId)>,
    /// When each queued job that only failed nodes fit may go to one of them.
    retries: BTreeSet<(UnixMillis, JobId)>,
    /// Open jobs by owner.
    open: BTreeMap<PeerId, usize>,
    spec_bytes: usize,
    idempotency: Idempotency,
    registry: Registry,
    issuer: Issuer,
    ledger: Ledger,
    reservations: Book,
    /// Since when the silence of a node is its own: the start, or the last leap of the
    /// clock.
    listening_since: UnixMillis,
    /// When silent nodes are next looked for among the reserved ones.
    silence_look_at: UnixMillis,
    /// True when a node or a slot has become free since the last walk along the
    /// queue began.
    placing_due: bool,
    /// Jobs to write at the next commit.
    dirty: BTreeSet<JobId>,
    /// Everything else to write at the next commit.
    writes: Writes,
    /// Rows of nodes that a failed commit left other than they are; written with
    /// the next commit that there is anyway.
    owed: BTreeMap<PeerId, Option<StoredNode>>,
}

impl State {
    /// A new index, or one taken up from what the store kept.
    ///
    /// # Errors
    /// When a statement that the store kept does not verify, or its ledger
    /// contradicts itself.
    pub fn restore(
        settings: Settings,
        identity: Arc<Keypair>,
        snapshot: Snapshot,
        now: UnixMillis,
        entropy: &mut Entropy,
    ) -> Result<Self, RestoreError> {
        restore::restore(settings, identity, snapshot, now, entropy)
    }

    /// Does what a command asks.
    pub fn handle(&mut self, command: Command, now: UnixMillis, entropy: &mut Entropy) -> Effects {
        let mut out = Outputs::default();
        // After a leap of the clock nobody is dead before the leases are mended.
        if !matches!(command, Command::Grace) {
            self.registry.expire(now);
        }
        let reply = match command {
            Command::Submit(submit) => self.submit(*submit, now, entropy, &mut out),
            Command::Show { jobs } => Ok(self.show(&jobs)),
            Command::Watch { job, caller, known } => {
                self.claimed_by(job, caller);
                self.watch(job, caller, known, now)
            }
            Command::Cancel { job, caller } => self.cancel(job, caller, now, &mut out),
            Command::Renew { job, epoch, caller } => {
                self.claimed_by(job, caller);
                self.renew(job, epoch, caller, now)
            }
            Command::Revoke { job, caller } => self.revoke(job, caller, now, entropy, &mut out),
            Command::RotateIssuerKey { caller } => self.rotate(caller, now, entropy, &mut out),
            Command::KeySet => Ok(self.key_set()),
            Command::Nodes { after, most } => Ok(self.list_nodes(after, most, now)),
            Command::Deployments { caller } => Ok(self.deployments(caller)),
            Command::PermitAsk { job, caller } => self.permit_ask(job, caller, now),
            Command::Enter(entry) => self.enter(*entry, now),
            Command::Balance { caller, account } => self.balance(caller, account, now),
            Command::Quote { caller, spec } => Ok(self.quote(caller, &spec)),
            Command::Reserve { caller, ask } => self.reserve(caller, &ask, now, &mut out),
            Command::ExtendReservation {
                caller,
                reservation,
                length,
            } => self.extend_reservation(caller, reservation, length, now, &mut out),
            Command::ReleaseReservation {
                caller,
                reservation,
            } => self.release_reservation(caller, reservation, now, &mut out),
            Command::Locate { caller, nodes } => Ok(self.locate(caller, &nodes)),
            Command::Register { node, advert } => self.register(node, advert, now),
            Command::Heartbeat {
                node,
                advert,
                running,
                draining,
            } => self.heartbeat(node, advert, running, draining, now, &mut out),
            Command::Orders { node } => self.pending_orders(node, now),
            Command::Report { node, key, report } => self.report(node, key, report, now, &mut out),
            Command::Adverts(adverts) => Ok(self.gossip(&adverts, now)),
            Command::RoundTrips(round_trips) => Ok(self.measured(&round_trips)),
            Command::Tick => Ok(self.tick(now, entropy, &mut out)),
            Command::Grace => Ok(self.leap(now, &mut out)),
        };
        self.place_when_due(now, entropy, &mut out);
        for peer in self.registry.take_forgotten() {
            self.writes.nodes.insert(peer, None);
        }
        Effects {
            reply,
            outputs: out,
        }
    }

    /// When [`Command::Tick`] is next needed, at the latest. A walk along the
    /// queue that is under way is due at any time.
    #[must_use]
    pub fn next_tick(&self) -> UnixMillis {
        if self.walk.is_some() {
            return UnixMillis(0);
        }
        let jobs = [self.leases.first(), self.retries.first()];
        jobs.into_iter()
            .flatten()
            .map(|(at, _)| *at)
            .chain(self.registry.next_due())
            .chain(self.ledger.next_due())
            .chain(self.reservations_due())
            .fold(self.issuer.next_due(&self.settings), Ord::min)
    }

    /// What the commands so far must make durable. Taken once per commit, before
    /// any of their effects are let out.
    pub fn take_writes(&mut self) -> Writes {
        let mut writes = std::mem::take(&mut self.writes);
        for id in std::mem::take(&mut self.dirty) {
            if let Some(record) = self.jobs.get_mut(&id) {
                writes.jobs.push(record.hand_over());
            }
        }
        writes.revocation = self.issuer.take_revocation_writes();
        writes.ledger = self.ledger.take_changes();
        writes.reservations = self.reservations.take_changes();
        if !writes.is_empty() {
            for (peer, row) in std::mem::take(&mut self.owed) {
                writes.nodes.entry(peer).or_insert(row);
            }
        }
        self.forget_ended();
        writes
    }

    /// The nodes.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The reservations.
    #[must_use]
    pub fn reservations(&self) -> &Book {
        &self.reservations
    }

    /// A job that is open, or ended a short while ago.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&lifecycle::Job> {
        self.jobs.get(id).map(|record| &record.job)
    }

    /// Every job in memory, by id.
    pub fn jobs(&self) -> impl Iterator<Item = &lifecycle::Job> {
        self.jobs.values().map(|record| &record.job)
    }

    /// How many jobs wait for a node.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many jobs have a node.
    #[must_use]
    pub fn assigned(&self) -> usize {
        self.leases.len()
    }

    /// Gives a job's lifecycle an input and brings the queue, the leases and the
    /// registry in line with what became of it.
    fn step(
        &mut self,
        id: JobId,
        input: Input,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let record = self.jobs.get_mut(&id).ok_or(Refused::UnknownJob(id))?;
        let before = record.standing();
        let unclaimed = record.unclaimed;
        let renewal = matches!(input, Input::Renew { .. });
        let effects = record
            .job
            .handle(input, now)
            .map_err(|refused| Refused::Lifecycle { job: id, refused })?;
        let after = record.standing();
        if unclaimed && record.has_begun() {
            self.claim(id);
        }
        // A renewed lease is nothing to look at.
        if !(renewal && effects.is_empty()) {
            out.changed.insert(id);
        }
        for effect in effects {
            self.settle(id, effect, now, out);
        }
        if before.lease != after.lease {
            if let Some(at) = before.lease {
                self.leases.remove(&(at, id));
            }
            if let Some(at) = after.lease {
                self.leases.insert((at, id));
            }
        }
        if before.node != after.node {
            if let Some(node) = before.node {
                let outcome = self.jobs.get(&id).and_then(Record::last_outcome);
                self.registry.free(&node, &id, outcome);
                self.placing_due = true;
            }
            if let Some(node) = after.node {
                self.registry.take(&node, id);
            }
        }
        Ok(())
    }

    /// Carries out one effect of a lifecycle.
    fn settle(&mut self, id: JobId, effect: lifecycle::Effect, now: UnixMillis, out: &mut Outputs) {
        match effect {
            lifecycle::Effect::Journal(_) => {
                if let Some(record) = self.jobs.get_mut(&id) {
                    record.updated_at = now;
                }
                self.dirty.insert(id);
            }
            lifecycle::Effect::Requeue => {
                self.enqueue(id);
                self.placing_due = true;
            }
            lifecycle::Effect::StopAttempt { epoch, node } => {
                let key = TaskKey {
                    job: id,
                    task: record::TASK,
                    epoch,
                };
                self.registry.stopping(&node, key);
                out.orders.push((node, Order::Cancel(key)));
            }
            lifecycle::Effect::Ended => self.end(id, now, out),
        }
    }

    /// Gives back what an open job holds, and pays for it.
    fn end(&mut self, id: JobId, now: UnixMillis, out: &mut Outputs) {
        self.settle_bill(id, now);
        self.queue.remove(&id);
        self.dirty.insert(id);
        let Some(record) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(outcome) = record.outcome() {
            out.ended.push((id, outcome));
        }
        if let Some(open) = record.open.take() {
            self.spec_bytes = self.spec_bytes.saturating_sub(open.canonical.len());
        }
        self.ended.push_back(id);
        if let Some(count) = self.open.get_mut(&record.job.owner) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.open.remove(&record.job.owner);
            }
        }
    }

    /// Forgets the oldest ended jobs; the store keeps them.
    fn forget_ended(&mut self) {
        while self.ended.len() > settings::ENDED_JOBS_KEPT {
            if let Some(oldest) = self.ended.pop_front() {
                self.jobs.remove(&oldest);
            }
        }
    }
}
