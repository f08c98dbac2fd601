//! How adverts travel between tables: over connections, each message passed on once and
//! only where the protocol's verdict accepts it. Stands in for gossipsub; the tables are
//! the production code.

use std::{sync::Arc, time::Duration};

use embermesh_crypto::{PeerId, UnixMillis};
use embermesh_mesh::protocol::{Input, Known, Output, Summary, Ticket, Verdict};
use rand::Rng;

use crate::{
    Violation, World,
    faults::Sabotage,
    happening::{Happening, Place},
    world::PeerIndex,
};

/// When what a table exchange has brought late is repeated, in milliseconds, as
/// `mesh::net::pause` does it.
const REPEATS_WITHIN_MS: std::ops::RangeInclusive<u64> = 5_000..=13_000;

impl World {
    pub(crate) fn wake(&mut self, peer: PeerIndex, life: u32) -> Result<(), Violation> {
        let stuck = self.sabotage == Some(Sabotage::StuckTable) && peer == 2;
        if self.peers[peer].alive && self.peers[peer].life == life && !stuck {
            self.feed(peer, Input::Tick)?;
        }
        Ok(())
    }

    /// Gives a node's table an input, at the time of its own clock, and does what it asks.
    pub(crate) fn feed(&mut self, peer: PeerIndex, input: Input) -> Result<(), Violation> {
        let clock = self.peers[peer].clock(self.now);
        let outputs = self.peers[peer].table.handle(input, clock, &mut self.rng);
        self.touched.tables.insert(peer);
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
                let id = self.peers[peer].id();
                let what = self.peers[peer].says(&Ticket {
                    sequence: 0,
                    issued_at: UnixMillis(0),
                    expires_at: UnixMillis(0),
                    ..ticket
                });
                let what = minicbor::to_vec(what).unwrap_or_default();
                self.audit
                    .signed(id, ticket.sequence, signed.bytes(), &what);
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
                let pause = self.rng.random_range(REPEATS_WITHIN_MS);
                let life = self.peers[peer].life;
                let repeat = Happening::Repeat(peer, life, bytes.into());
                self.schedule(Duration::from_millis(pause), repeat);
                Ok(())
            }
            Output::RequestTable { to, summary } => {
                if let Some(to) = self.by_id.get(&to).copied() {
                    let request = Happening::TableRequest {
                        to,
                        from: peer,
                        summary,
                    };
                    self.send(Place::Node(peer), Place::Node(to), request);
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
                let at = self.peers[peer].true_time(at);
                self.schedule(at.since(self.now), Happening::Wake(peer, life));
                Ok(())
            }
            Output::Distrust { peer: whom, reason } => {
                self.must_be_odd(peer, whom, &format!("was distrusted: {reason}"))
            }
            Output::Equivocation(evidence) => {
                self.must_be_odd(peer, evidence.peer, "was taken for a cheat")
            }
            Output::KeyElsewhere { .. } => self.must_be_odd(
                peer,
                self.peers[peer].id(),
                "has a key that is used elsewhere",
            ),
            Output::Verdict(_) | Output::Changed(_) | Output::Gone(_) => Ok(()),
        }
    }

    /// What an exchange has brought late is passed on, unless somebody else has by now.
    pub(crate) fn repeat(&mut self, peer: PeerIndex, life: u32, bytes: &Arc<[u8]>) {
        let node = &mut self.peers[peer];
        if node.alive && node.life == life && node.first_time(bytes) {
            self.pass_on(peer, None, bytes);
        }
    }

    /// What is said of `whom` may only be said of a peer that lies or whose clock is
    /// wrong, or by one.
    fn must_be_odd(&self, by: PeerIndex, whom: PeerId, what: &str) -> Result<(), Violation> {
        let sound = self
            .by_id
            .get(&whom)
            .is_some_and(|peer| self.peers[*peer].is_sound());
        if sound && self.peers[by].is_sound() {
            return Err(self.violation(format!("an honest node {what}: {whom}")));
        }
        Ok(())
    }

    fn send_table(&mut self, from: PeerIndex, to: PeerId, adverts: Option<Vec<Known>>) {
        if let Some(to) = self.by_id.get(&to).copied() {
            let table = Happening::Table { to, from, adverts };
            self.send(Place::Node(from), Place::Node(to), table);
        }
    }

    pub(crate) fn pass_on(
        &mut self,
        from: PeerIndex,
        except: Option<PeerIndex>,
        bytes: &Arc<[u8]>,
    ) {
        let neighbours: Vec<PeerIndex> = self.peers[from].neighbours.iter().copied().collect();
        for to in neighbours.into_iter().filter(|to| Some(*to) != except) {
            if self.chance(self.faults.gossip_loss) {
                self.counts.messages += 1;
                self.counts.lost += 1;
                continue;
            }
            let bytes = Arc::clone(bytes);
            let gossip = Happening::Gossip { to, from, bytes };
            self.send(Place::Node(from), Place::Node(to), gossip);
        }
    }

    pub(crate) fn gossip_arrives(
        &mut self,
        to: PeerIndex,
        from: PeerIndex,
        bytes: &Arc<[u8]>,
    ) -> Result<(), Violation> {
        self.counts.copies += 1;
        if !self.peers[to].alive || !self.peers[to].first_time(bytes) {
            return Ok(());
        }
        self.peers[to].hoard_advert(bytes);
        let input = Input::Gossip {
            from: self.peers[from].id(),
            bytes: bytes.to_vec(),
        };
        let clock = self.peers[to].clock(self.now);
        let outputs = self.peers[to].table.handle(input, clock, &mut self.rng);
        self.touched.tables.insert(to);
        let mut accepted = false;
        for output in outputs {
            match output {
                Output::Verdict(Verdict::Accept | Verdict::Renew) => accepted = true,
                Output::Verdict(Verdict::Reject(reason)) => {
                    if !self.peers[from].lies {
                        let text = format!("an honest node passed on what was rejected: {reason}");
                        return Err(self.violation(text));
                    }
                    self.counts.refused += 1;
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
        let asker = self.peers[from].id();
        if !self.peers[to].alive {
            self.send_table(to, asker, None);
            return Ok(());
        }
        self.feed(
            to,
            Input::TableRequest {
                from: asker,
                summary,
            },
        )
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
        self.feed(to, Input::TableDone { from, complete })?;
        if complete {
            self.widen(to)?;
        }
        Ok(())
    }

    /// The advert of a node says how many slots are free.
    pub(crate) fn slots_changed(&mut self, peer: PeerIndex) -> Result<(), Violation> {
        self.feed(peer, Input::Change)
    }
}

/// What is measured of gossip, to hold a model to it.
impl World {
    /// A node has news; says under which number it told them.
    ///
    /// # Errors
    /// As every step.
    pub fn tell_news(&mut self, peer: PeerIndex) -> Result<u64, Violation> {
        self.slots_changed(peer)?;
        let advert = self.peers[peer].advert.as_ref();
        let opened = advert.and_then(|advert| advert.open().ok());
        Ok(opened.map_or(0, |advert| advert.sequence))
    }

    /// How many nodes know what a node told under a number, or later.
    #[must_use]
    pub fn knowers(&self, of: PeerIndex, sequence: u64) -> usize {
        let id = self.peers[of].id();
        let knows = |peer: &&crate::peer::Peer| {
            let known = peer.table.roster().sequence_of(&id);
            known.is_some_and(|known| known >= sequence)
        };
        self.peers.iter().filter(knows).count()
    }

    /// Copies of adverts that arrived so far.
    #[must_use]
    pub fn copies(&self) -> u64 {
        self.counts.copies
    }

    /// How many neighbours a node has, on average.
    #[must_use]
    pub fn mean_degree(&self) -> f64 {
        let sum: usize = self.peers.iter().map(|peer| peer.neighbours.len()).sum();
        sum as f64 / self.peers.len().max(1) as f64
    }
}

/// How long after a heal of the network every table is whole again.
pub(crate) const WHOLE_AFTER: Duration = Duration::from_secs(30);
