//! What lying peers do, and how it must end: refused by whoever is told. They speak the
//! protocols, have keys of their own, and keep what others said to say it again.

use std::sync::Arc;

use embermesh_crypto::{
    Epoch, UnixMillis,
    statement::{self, Advert, Outcome},
};
use embermesh_index_server::state::Command;
use embermesh_job::{
    assignment::{NodeAssignment, TaskKey},
    event::{Event, EventKind},
    lifecycle::JobState,
    order::{Order, Report, RunOrder},
};
use embermesh_mesh::protocol::Ticket;
use rand::{Rng, seq::IteratorRandom};

use crate::{
    Violation, World,
    faults::Sabotage,
    happening::{About, Happening, Place},
    peer::{HOARD, Peer, Task},
    tasks::LAST_EVENT,
    world::PeerIndex,
};

/// How far from now a lying advert's times are, in milliseconds.
const FAR_MS: u64 = 600_000;
/// How long its advert lives.
const LIFE_MS: u64 = 240_000;

impl Peer {
    /// A lying node keeps what others said of themselves.
    pub(crate) fn hoard_advert(&mut self, bytes: &[u8]) {
        if self.lies {
            self.hoard.adverts.push_back(bytes.to_vec());
            if self.hoard.adverts.len() > HOARD {
                self.hoard.adverts.pop_front();
            }
        }
    }

    /// A lying node keeps the orders that it gets, and does nothing.
    pub(crate) fn hoard_order(&mut self, me: PeerIndex, order: Order) {
        self.hoard.orders.push_back((me, order));
        if self.hoard.orders.len() > HOARD {
            self.hoard.orders.pop_front();
        }
    }

    /// A lying node keeps the permissions that it is shown, and does nothing.
    pub(crate) fn hoard_assignment(&mut self, me: PeerIndex, assignment: &NodeAssignment) {
        let order = Order::Run(Box::new(RunOrder {
            assignment: assignment.clone(),
            spec: Vec::new(),
            resume: None,
            inputs: Vec::new(),
        }));
        self.hoard_order(me, order);
    }
}

impl World {
    /// A lying peer does one of the things that it can do.
    pub(crate) fn lie(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        if !self.peers[peer].alive {
            return Ok(());
        }
        self.counts.lies += 1;
        match self.rng.random_range(0..9) {
            0 => self.forge_advert(peer),
            1 => self.repeat_advert(peer),
            2 => self.date_advert(peer, -1)?,
            3 => self.date_advert(peer, 1)?,
            4 => self.contradict_itself(peer)?,
            5 => self.steal_assignment(peer),
            6 => self.report_what_is_not_its(peer, false)?,
            7 => self.report_what_is_not_its(peer, true)?,
            _ => self.meddle(peer),
        }
        if self.sabotage == Some(Sabotage::StolenKey) {
            self.sign_as_another(peer)?;
        }
        Ok(())
    }

    fn say(&mut self, peer: PeerIndex, bytes: Vec<u8>) {
        let bytes: Arc<[u8]> = bytes.into();
        self.peers[peer].first_time(&bytes);
        self.pass_on(peer, None, &bytes);
    }

    /// Another's advert with a bit changed.
    fn forge_advert(&mut self, peer: PeerIndex) {
        let hoard = &self.peers[peer].hoard.adverts;
        let Some(mut bytes) = hoard.iter().choose(&mut self.rng).cloned() else {
            return;
        };
        let bit = self.rng.random_range(0..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.say(peer, bytes);
    }

    /// An old advert of another, which may be over, as it was signed.
    fn repeat_advert(&mut self, peer: PeerIndex) {
        if let Some(bytes) = self.peers[peer].hoard.adverts.pop_front() {
            self.say(peer, bytes);
        }
    }

    /// Its own advert, of another time.
    fn date_advert(&mut self, peer: PeerIndex, way: i64) -> Result<(), Violation> {
        let shift = i64::try_from(FAR_MS).unwrap_or(i64::MAX) * way;
        let at = UnixMillis(self.now.0.saturating_add_signed(shift));
        let bytes = self.sign_own(peer, at, "127.0.0.1:1")?;
        self.say(peer, bytes);
        Ok(())
    }

    /// Two adverts of its own under one number, each for half of its neighbours.
    fn contradict_itself(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        let sides = ["127.0.0.1:2", "127.0.0.1:3"];
        for (side, address) in sides.into_iter().enumerate() {
            let bytes: Arc<[u8]> = self.sign_own(peer, self.now, address)?.into();
            let half: Vec<PeerIndex> = self.peers[peer]
                .neighbours
                .iter()
                .copied()
                .filter(|to| to % 2 == side)
                .collect();
            for to in half {
                let bytes = Arc::clone(&bytes);
                let gossip = Happening::Gossip {
                    to,
                    from: peer,
                    bytes,
                };
                self.send(Place::Node(peer), Place::Node(to), gossip);
            }
        }
        Ok(())
    }

    fn sign_own(
        &self,
        peer: PeerIndex,
        at: UnixMillis,
        address: &str,
    ) -> Result<Vec<u8>, Violation> {
        let mut advert = self.peers[peer].says(&ticket(at));
        advert.tls_addresses = vec![address.to_owned()];
        self.sign_with(peer, &advert)
    }

    fn sign_with(&self, key_of: PeerIndex, advert: &Advert) -> Result<Vec<u8>, Violation> {
        statement::sign(advert, &self.peers[key_of].keypair)
            .map(|signed| signed.bytes().to_vec())
            .map_err(|error| self.violation(format!("a lie was not signed: {error}")))
    }

    /// Only in a world that is broken on purpose: the key of an honest node is known.
    fn sign_as_another(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        let advert = self.peers[2].says(&ticket(self.now));
        let bytes = self.sign_with(2, &advert)?;
        self.say(peer, bytes);
        Ok(())
    }

    /// Holds out the client's permission as its own, to the node that it is for or to
    /// another one; or the client's, to a node that it is not for.
    fn steal_assignment(&mut self, peer: PeerIndex) {
        let mut known: Vec<NodeAssignment> = self
            .peers
            .iter()
            .flat_map(|node| node.tasks.values())
            .map(|task| task.assignment.clone())
            .collect();
        for (_, order) in &self.peers[peer].hoard.orders {
            if let Order::Run(run) = order {
                known.push(run.assignment.clone());
            }
        }
        let honest: Vec<PeerIndex> = (0..self.peers.len())
            .filter(|other| self.peers[*other].alive && self.peers[*other].is_sound())
            .collect();
        let Some(assignment) = known.into_iter().choose(&mut self.rng) else {
            return;
        };
        let its_own = self.by_id.get(&assignment.node.peer).copied();
        let elsewhere = honest.into_iter().choose(&mut self.rng);
        let (to, bearer) = match self.rng.random_range(0..3) {
            0 => (its_own, self.peers[peer].id()),
            1 => (elsewhere, self.peers[peer].id()),
            _ => (
                elsewhere.filter(|to| Some(*to) != its_own),
                self.client.keypair.peer_id(),
            ),
        };
        let Some(to) = to else {
            return;
        };
        let present = Happening::Present {
            to,
            bearer,
            assignment: Box::new(assignment),
            stream: 0,
        };
        self.send(Place::Node(peer), Place::Node(to), present);
    }

    /// Reports the end of a job that it has no right to: of the attempt that runs, or of
    /// the one after it. The receipt is its own, properly signed.
    fn report_what_is_not_its(&mut self, peer: PeerIndex, next: bool) -> Result<(), Violation> {
        let me = self.peers[peer].id();
        let victims = self.index.jobs().filter(|job| {
            job.state != JobState::Queued
                && job
                    .attempts
                    .last()
                    .is_some_and(|attempt| attempt.node != me)
        });
        let Some((job, epoch, spec)) = victims
            .map(|job| (job.id, job.epoch, job.spec_digest))
            .choose(&mut self.rng)
        else {
            return Ok(());
        };
        let tokens = self
            .peers
            .iter()
            .flat_map(|node| node.tasks.values())
            .map(|task| task.assignment.clone());
        let Some(assignment) = tokens.into_iter().choose(&mut self.rng) else {
            return Ok(());
        };
        let key = TaskKey {
            job,
            task: assignment.task,
            epoch: if next { Epoch(epoch.0 + 1) } else { epoch },
        };
        let task = Task {
            key,
            assignment,
            step: LAST_EVENT,
            spec,
            began: self.peers[peer].clock(self.now),
        };
        let receipt = self.receipt(peer, &task)?;
        let event = Event {
            seq: LAST_EVENT,
            epoch: key.epoch,
            at: self.now,
            kind: EventKind::Finished {
                outcome: Outcome::Succeeded,
                receipt,
                message: String::new(),
            },
        };
        let command = Command::Report {
            node: me,
            key,
            report: Report::Event(Box::new(event)),
        };
        self.ask(Place::Node(peer), About::Lie, command);
        Ok(())
    }

    /// Ends, renews or revokes a job of another, or has money moved.
    fn meddle(&mut self, peer: PeerIndex) {
        let me = self.peers[peer].id();
        let Some(job) = self.index.jobs().map(|job| job.id).choose(&mut self.rng) else {
            return;
        };
        let command = match self.rng.random_range(0..3) {
            0 => Command::Cancel { job, caller: me },
            1 => Command::Renew {
                job,
                epoch: Epoch(0),
                caller: me,
            },
            _ => Command::Revoke { job, caller: me },
        };
        self.ask(Place::Node(peer), About::Lie, command);
    }
}

fn ticket(at: UnixMillis) -> Ticket {
    Ticket {
        sequence: at.0,
        issued_at: at,
        expires_at: UnixMillis(at.0 + LIFE_MS),
        farewell: false,
    }
}
