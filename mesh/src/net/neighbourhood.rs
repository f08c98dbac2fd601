//! How many peers this process is connected with, and with whom.
//!
//! - Where few are connected, peers of the table are dialled.
//! - Where there are enough, one of the table by chance is dialled now and then, so that
//!   nobody's neighbours stay the same.
//! - Who fell silent is dialled again for as long as its advert lasts: what was cut in two and
//!   is whole again grows together.
//! - What is more than enough is let go, unless it is used. libp2p does not do that by
//!   itself: gossip has a stream open with every peer, so that none of them ever counts as
//!   idle, and each connection costs a ping and a share of every heartbeat.

use std::{
    collections::{HashMap, HashSet},
    io,
    time::{Duration, Instant},
};

use embermesh_crypto::ids;
use libp2p::{Multiaddr, PeerId, relay, swarm::ConnectionError};
use rand::{Rng as _, seq::IteratorRandom as _, seq::SliceRandom as _};

use super::{
    actor::{Actor, Neighbour},
    address, parse_advertised,
};
use crate::protocol::Known;

/// With fewer connected peers than this, others from the table are dialled.
const FEW_PEERS: usize = 4;
/// Connected peers above which those that are not used are let go, and none found on the LAN
/// are dialled: some times as many as gossip goes to directly.
pub(super) const ENOUGH_PEERS: usize = 24;
/// A peer that came lately is not let go: what it came for may take a moment.
const GRACE: Duration = Duration::from_secs(60);
/// At one in so many upkeeps somebody by chance is dialled.
const ROAM_ONE_IN: u32 = 6;
/// Peers that fell silent and are remembered.
const MAX_LOST: usize = 256;
/// Of these, how many are dialled at one upkeep.
const SEEK_AT_ONCE: usize = 2;

/// What this process carries for others, as a relay.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    reservations: HashSet<PeerId>,
    /// Ends of circuits, each by the number of its circuits.
    ends: HashMap<PeerId, u32>,
}

impl Carried {
    fn is_for(&self, peer: &PeerId) -> bool {
        self.reservations.contains(peer) || self.ends.contains_key(peer)
    }

    fn begin(&mut self, end: PeerId) {
        *self.ends.entry(end).or_default() += 1;
    }

    fn end(&mut self, end: &PeerId) {
        if let Some(count) = self.ends.get_mut(end) {
            *count -= 1;
            if *count == 0 {
                self.ends.remove(end);
            }
        }
    }

    fn note(&mut self, event: &relay::Event) {
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, .. } => {
                self.reservations.insert(*src_peer_id);
            }
            relay::Event::ReservationClosed { src_peer_id }
            | relay::Event::ReservationTimedOut { src_peer_id } => {
                self.reservations.remove(src_peer_id);
            }
            relay::Event::CircuitReqAccepted {
                src_peer_id,
                dst_peer_id,
            } => {
                self.begin(*src_peer_id);
                self.begin(*dst_peer_id);
            }
            relay::Event::CircuitClosed {
                src_peer_id,
                dst_peer_id,
                ..
            } => {
                self.end(src_peer_id);
                self.end(dst_peer_id);
            }
            _ => {}
        }
    }
}

impl Actor {
    /// Notes what is carried for others.
    pub(crate) fn carried(&mut self, event: &relay::Event) {
        self.carried.note(event);
    }

    /// Whether enough peers are connected to be part of the mesh.
    pub(crate) fn is_settled(&self) -> bool {
        let confirmed = self.neighbours.values().filter(|n| n.confirmed);
        confirmed.count() >= FEW_PEERS
    }

    /// Dials a few peers of the table, where few are connected.
    pub(crate) fn widen(&mut self) {
        let missing = FEW_PEERS.saturating_sub(self.neighbours.len());
        self.dial_some(missing);
    }

    /// Dials somebody of the table now and then, where enough are connected.
    pub(crate) fn roam(&mut self) {
        if self.is_settled() && self.rng.random_ratio(1, ROAM_ONE_IN) {
            self.dial_some(1);
        }
    }

    /// A peer has gone. One that closed its connection wants to be gone; of one that fell
    /// silent, or whose line broke, nobody knows.
    pub(crate) fn may_be_lost(
        &mut self,
        peer: ids::PeerId,
        was_silent: bool,
        cause: Option<&ConnectionError>,
    ) {
        let broken = match cause {
            Some(ConnectionError::IO(error)) => matches!(
                error.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::ConnectionReset
            ),
            Some(ConnectionError::KeepAliveTimeout) | None => false,
        };
        if (was_silent || broken) && self.lost.len() < MAX_LOST {
            self.lost.insert(peer);
        }
    }

    /// Dials some of those who were lost and are still counted on.
    pub(crate) fn seek_lost(&mut self) {
        let (roster, neighbours) = (self.table.roster(), &self.neighbours);
        self.lost.retain(|peer| {
            !neighbours.contains_key(&address::theirs(peer))
                && roster.of(peer).is_some_and(|advert| !advert.draining)
        });
        let local = self.is_local();
        let sought = self.lost.iter().filter_map(|peer| roster.of(peer).cloned());
        for advert in sought.choose_multiple(&mut self.rng, SEEK_AT_ONCE) {
            let addresses = parse_advertised(&advert.mesh_addresses, local);
            let _ = self.dial(address::theirs(&advert.peer), addresses);
        }
    }

    /// Dials peers of the table by chance.
    fn dial_some(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        for (peer, addresses) in self.some_strange(count) {
            // A peer that is gone is forgotten when its advert expires.
            let _ = self.dial(peer, addresses);
        }
    }

    fn some_strange(&mut self, count: usize) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let local = self.is_local();
        let strange = |advert: &&Known| {
            let peer = address::theirs(&advert.peer);
            advert.peer != self.me && !self.neighbours.contains_key(&peer)
        };
        let reachable = |advert: &Known| {
            let addresses = parse_advertised(&advert.mesh_addresses, local);
            (!addresses.is_empty()).then(|| (address::theirs(&advert.peer), addresses))
        };
        let adverts = self.table.roster().adverts();
        adverts
            .filter(strange)
            .filter_map(reachable)
            .choose_multiple(&mut self.rng, count)
    }

    /// Lets go who is not used, where more are connected than enough: first those who came
    /// by themselves, so that a crowd that dials in does not push out whom this process has
    /// chosen.
    pub(crate) fn trim(&mut self, now: Instant) {
        let excess = self.neighbours.len().saturating_sub(ENOUGH_PEERS);
        if excess == 0 {
            return;
        }
        let gossip = &self.swarm.behaviour().gossip;
        let near: HashSet<PeerId> = gossip.mesh_peers(&self.topic.hash()).copied().collect();
        let relays: HashSet<PeerId> = self.reach.asked().collect();
        let mut idle: Vec<(bool, PeerId)> = self
            .neighbours
            .iter()
            .filter(|(_, neighbour)| now.saturating_duration_since(neighbour.since) >= GRACE)
            .filter(|(peer, _)| !near.contains(*peer) && !relays.contains(*peer))
            .filter(|(peer, neighbour)| !self.is_used(peer, neighbour))
            .map(|(peer, neighbour)| (neighbour.dialled, *peer))
            .collect();
        idle.shuffle(&mut self.rng);
        idle.sort_by_key(|(dialled, _)| *dialled);
        for (_, peer) in idle.into_iter().take(excess) {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn is_used(&self, peer: &PeerId, neighbour: &Neighbour) -> bool {
        self.control.lines.is_used(&neighbour.id)
            || neighbour.is_relayed()
            || self.carried.is_for(peer)
    }
}
