//! Which nodes are connected: those to join through, whom each dials until it has them,
//! and a few of its table where it has few. As `mesh::net` does it.

use std::time::Duration;

use embermesh_mesh::protocol::Input;
use rand::{Rng, seq::IteratorRandom};

use crate::{
    Violation, World,
    faults::Sabotage,
    happening::{Happening, Place},
    world::PeerIndex,
};

/// Those to join through: the first nodes.
pub(crate) const SEEDS: usize = 2;
/// Neighbours that a joining node finds beside those.
const FOUND: usize = 4;
/// With fewer neighbours than this, others of the table are dialled.
const FEW: usize = 4;
/// The pause before one to join through is dialled again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long after its start a node sends its first heartbeat.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(50);

impl World {
    /// A node starts, or is back: it dials whom it is to join through, and a few that
    /// it finds by them.
    pub(crate) fn join(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        self.peers[peer].alive = true;
        self.peers[peer].alive_since = self.now;
        let found: Vec<PeerIndex> = (0..self.peers.len())
            .filter(|other| self.reaches(peer, *other))
            .collect();
        let found = found.into_iter().choose_multiple(&mut self.rng, FOUND);
        let seeds = (0..SEEDS.min(self.peers.len())).filter(|seed| self.reaches(peer, *seed));
        let all: Vec<PeerIndex> = found.into_iter().chain(seeds).collect();
        for other in all {
            self.connect(peer, other)?;
        }
        self.feed(peer, Input::Change)?;
        let life = self.peers[peer].life;
        self.schedule(FIRST_HEARTBEAT, Happening::Heartbeat(peer, life));
        self.schedule(FIRST_PAUSE, Happening::Redial(peer, life));
        Ok(())
    }

    fn reaches(&self, a: PeerIndex, b: PeerIndex) -> bool {
        a != b && self.peers[b].alive && !self.cut(Place::Node(a), Place::Node(b))
    }

    fn connect(&mut self, a: PeerIndex, b: PeerIndex) -> Result<(), Violation> {
        if a == b || !self.peers[a].neighbours.insert(b) {
            return Ok(());
        }
        self.peers[b].neighbours.insert(a);
        let (a_id, b_id) = (self.peers[a].id(), self.peers[b].id());
        self.feed(a, Input::Connected(b_id))?;
        self.feed(b, Input::Connected(a_id))
    }

    /// A node dials whom it is to join through and is not connected with, with growing
    /// pauses, for ever.
    pub(crate) fn redial(&mut self, peer: PeerIndex, life: u32) -> Result<(), Violation> {
        if !self.peers[peer].alive || self.peers[peer].life != life {
            return Ok(());
        }
        let gave_up = self.sabotage == Some(Sabotage::NoRedial) && self.healed_at.is_some();
        if !gave_up {
            let missing: Vec<PeerIndex> = (0..SEEDS.min(self.peers.len()))
                .filter(|seed| *seed != peer && !self.peers[peer].neighbours.contains(seed))
                .collect();
            let mut all = true;
            for seed in missing {
                if self.reaches(peer, seed) {
                    self.connect(peer, seed)?;
                } else {
                    all = false;
                }
            }
            let node = &mut self.peers[peer];
            node.dials = if all { 0 } else { node.dials.saturating_add(1) };
            self.widen(peer)?;
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.peers[peer].dials.min(10));
        let pause = if self.peers[peer].dials == 0 {
            LONGEST_PAUSE
        } else {
            doubled.min(LONGEST_PAUSE)
        };
        let pause = pause.mul_f64(self.rng.random_range(0.75..1.25));
        self.schedule(pause, Happening::Redial(peer, life));
        Ok(())
    }

    /// Dials a few nodes of the table, where few are connected.
    pub(crate) fn widen(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        let node = &self.peers[peer];
        let missing = FEW.saturating_sub(node.neighbours.len());
        if missing == 0 || !node.alive {
            return Ok(());
        }
        let known = node.table.roster().adverts();
        let strangers: Vec<PeerIndex> = known
            .filter_map(|advert| self.by_id.get(&advert.peer).copied())
            .filter(|other| *other != peer && !node.neighbours.contains(other))
            .choose_multiple(&mut self.rng, missing);
        for other in strangers {
            if self.reaches(peer, other) {
                self.connect(peer, other)?;
            }
        }
        Ok(())
    }

    /// A connection is closed; both sides notice.
    pub(crate) fn unlink(&mut self, a: PeerIndex, b: PeerIndex) -> Result<(), Violation> {
        if !self.peers[a].neighbours.remove(&b) {
            return Ok(());
        }
        self.peers[b].neighbours.remove(&a);
        for (one, other) in [(a, b), (b, a)] {
            if self.peers[one].alive {
                let id = self.peers[other].id();
                self.feed(one, Input::Disconnected(id))?;
                self.widen(one)?;
            }
        }
        Ok(())
    }

    /// Nothing comes over a connection any more, and that is noticed: unless the network
    /// is one again by now.
    pub(crate) fn link_lost(&mut self, a: PeerIndex, b: PeerIndex) -> Result<(), Violation> {
        if !self.cut(Place::Node(a), Place::Node(b)) {
            return Ok(());
        }
        self.unlink(a, b)?;
        for (one, other) in [(a, b), (b, a)] {
            if other < SEEDS && self.peers[one].alive {
                let life = self.peers[one].life;
                self.peers[one].dials = 0;
                self.schedule(FIRST_PAUSE, Happening::Redial(one, life));
            }
        }
        Ok(())
    }

    /// All connections of a node close.
    pub(crate) fn disconnect(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        for other in self.peers[peer].neighbours.clone() {
            self.unlink(peer, other)?;
        }
        Ok(())
    }
}
