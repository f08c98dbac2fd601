//! How adverts travel between tables: a graph of neighbours, each message
//! passed on once and only where the protocol's verdict accepts it. Stands in
//! for gossipsub; the tables are the production code.

use std::{sync::Arc, time::Duration};

use embermesh_mesh::protocol::{Input, Known, Output, Summary, Verdict};
use rand::{Rng, seq::IteratorRandom};

use crate::{
    Violation, World,
    world::{GOSSIP_LOSS, Happening, PeerIndex},
};

/// Neighbours that a joining node dials beside its bootstrap peer.
const DIALLED: usize = 4;

impl World {
    /// A node starts: it dials the bootstrap peer and a few that it learns of.
    pub(crate) fn join(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        self.peers[peer].alive = true;
        self.peers[peer].joined = true;
        let live: Vec<PeerIndex> = (0..self.peers.len())
            .filter(|other| *other != peer && self.peers[*other].alive)
            .collect();
        let mut others = live.iter().copied().choose_multiple(&mut self.rng, DIALLED);
        if live.contains(&0) {
            others.push(0);
        }
        for other in others {
            self.connect(peer, other)?;
        }
        self.feed(peer, Input::Change)?;
        let life = self.peers[peer].life;
        self.schedule(Duration::from_millis(50), Happening::Heartbeat(peer, life));
        Ok(())
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

    /// A node's connections close, as its neighbours notice.
    pub(crate) fn disconnect(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        let id = self.peers[peer].id();
        for other in std::mem::take(&mut self.peers[peer].neighbours) {
            self.peers[other].neighbours.remove(&peer);
            if self.peers[other].alive {
                self.feed(other, Input::Disconnected(id))?;
                self.keep_neighbours(other)?;
            }
        }
        Ok(())
    }

    /// A node that lost neighbours dials others, as a mesh does.
    fn keep_neighbours(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        if self.peers[peer].neighbours.len() >= DIALLED {
            return Ok(());
        }
        let other = (0..self.peers.len())
            .filter(|other| *other != peer && self.peers[*other].alive)
            .filter(|other| !self.peers[peer].neighbours.contains(other))
            .choose(&mut self.rng);
        match other {
            Some(other) => self.connect(peer, other),
            None => Ok(()),
        }
    }

    pub(crate) fn wake(&mut self, peer: PeerIndex, life: u32) -> Result<(), Violation> {
        if self.peers[peer].alive && self.peers[peer].life == life {
            self.feed(peer, Input::Tick)?;
        }
        Ok(())
    }

    /// Gives a node's table an input and does what it asks.
    pub(crate) fn feed(&mut self, peer: PeerIndex, input: Input) -> Result<(), Violation> {
        let outputs = self.peers[peer]
            .table
            .handle(input, self.now, &mut self.rng);
        for output in outputs {
            self.act(peer, output)?;
        }
        Ok(())
    }

    fn act(&mut self, peer: PeerIndex, output: Output) -> Result<(), Violation> {
        match output {
            Output::Sign(ticket) => {
                let signed = self.peers[peer].sign_advert(&ticket).map_err(|error| {
                    self.violation(format!("an advert was not signed: {error}"))
                })?;
                self.peers[peer].advert = Some(signed.clone());
                self.peers[peer].advert_told = false;
                self.feed(peer, Input::Local(signed))
            }
            Output::Publish(bytes) => {
                self.peers[peer].first_time(&bytes);
                self.pass_on(peer, None, &bytes.into());
                Ok(())
            }
            Output::Repeat(bytes) => {
                if self.peers[peer].first_time(&bytes) {
                    self.pass_on(peer, None, &bytes.into());
                }
                Ok(())
            }
            Output::RequestTable { to, summary } => {
                if let Some(to) = self.by_id.get(&to).copied() {
                    self.send(Happening::TableRequest {
                        to,
                        from: peer,
                        summary,
                    });
                }
                Ok(())
            }
            Output::SendTable { to, adverts } => {
                self.send_table(peer, to, Some(adverts));
                Ok(())
            }
            Output::RefuseTable { to } => {
                self.send_table(peer, to, None);
                Ok(())
            }
            Output::WakeAt(at) => {
                let life = self.peers[peer].life;
                self.schedule(at.since(self.now), Happening::Wake(peer, life));
                Ok(())
            }
            Output::Distrust { peer: whom, reason } => {
                Err(self.violation(format!("an honest node was distrusted: {whom}: {reason}")))
            }
            Output::Equivocation(_) | Output::KeyElsewhere { .. } => {
                Err(self.violation("an honest node was taken for a cheat"))
            }
            Output::Verdict(_) | Output::Changed(_) | Output::Gone(_) => Ok(()),
        }
    }

    fn send_table(
        &mut self,
        from: PeerIndex,
        to: embermesh_crypto::PeerId,
        adverts: Option<Vec<Known>>,
    ) {
        if let Some(to) = self.by_id.get(&to).copied() {
            self.send(Happening::Table { to, from, adverts });
        }
    }

    fn pass_on(&mut self, from: PeerIndex, except: Option<PeerIndex>, bytes: &Arc<[u8]>) {
        let neighbours: Vec<PeerIndex> = self.peers[from].neighbours.iter().copied().collect();
        for to in neighbours.into_iter().filter(|to| Some(*to) != except) {
            if self.rng.random_bool(GOSSIP_LOSS) {
                self.counts.lost += 1;
                continue;
            }
            let bytes = Arc::clone(bytes);
            self.send(Happening::Gossip { to, from, bytes });
        }
    }

    pub(crate) fn gossip_arrives(
        &mut self,
        to: PeerIndex,
        from: PeerIndex,
        bytes: &Arc<[u8]>,
    ) -> Result<(), Violation> {
        if !self.peers[to].alive || !self.peers[to].first_time(bytes) {
            return Ok(());
        }
        let input = Input::Gossip {
            from: self.peers[from].id(),
            bytes: bytes.to_vec(),
        };
        let outputs = self.peers[to].table.handle(input, self.now, &mut self.rng);
        let mut accepted = false;
        for output in outputs {
            match output {
                Output::Verdict(Verdict::Accept) => accepted = true,
                Output::Verdict(Verdict::Reject(reason)) => {
                    return Err(self.violation(format!("an honest advert was rejected: {reason}")));
                }
                other => self.act(to, other)?,
            }
        }
        if accepted {
            self.pass_on(to, Some(from), bytes);
        }
        Ok(())
    }

    pub(crate) fn table_asked(
        &mut self,
        to: PeerIndex,
        from: PeerIndex,
        summary: Summary,
    ) -> Result<(), Violation> {
        if !self.peers[to].alive {
            self.send(Happening::Table {
                to: from,
                from: to,
                adverts: None,
            });
            return Ok(());
        }
        let from = self.peers[from].id();
        self.feed(to, Input::TableRequest { from, summary })
    }

    pub(crate) fn table_arrives(
        &mut self,
        to: PeerIndex,
        from: PeerIndex,
        adverts: Option<Vec<Known>>,
    ) -> Result<(), Violation> {
        if !self.peers[to].alive {
            return Ok(());
        }
        let from = self.peers[from].id();
        let complete = adverts.is_some();
        if let Some(adverts) = adverts {
            let adverts = adverts
                .iter()
                .map(|advert| advert.bytes().to_vec())
                .collect();
            self.feed(to, Input::TableResponse { from, adverts })?;
        }
        self.feed(to, Input::TableDone { from, complete })
    }
}
