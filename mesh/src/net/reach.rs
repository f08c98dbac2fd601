//! How peers behind boxes that translate addresses are reached.
//!
//! - An address that others were seen to come by is tried from outside (AutoNAT v2); once
//!   it was reached, it is advertised.
//! - As long as no address of its own is one, a few connected peers that offer themselves as
//!   relays are asked for a reservation, and the addresses through them are advertised too.
//! - Two peers that met through a relay try to punch a hole (DCUtR). When that has worked,
//!   the connection through the relay is closed: what ran on it is taken up again on the
//!   direct one by whoever opened it, as after any lost connection.

use std::collections::HashMap;

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::transport::ListenerId,
    dcutr,
    multiaddr::Protocol,
    relay::{self, HOP_PROTOCOL_NAME},
    swarm::ConnectionId,
};

use super::{MeshEvent, actor::Actor, address};

/// Relays that a peer has reservations with, so that the loss of one does not cut it off.
const RELAYS: usize = 2;
/// Peers that offer themselves as relays and are remembered.
const MAX_OFFERS: usize = 32;

/// Who can relay, and who does.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Connected peers that offer themselves, with an address of each.
    offers: HashMap<PeerId, Multiaddr>,
    /// Reservations that stand or are being asked for.
    reserved: HashMap<PeerId, Reservation>,
    /// Addresses at which this process was reached from outside.
    confirmed: Vec<Multiaddr>,
}

/// A place with a relay.
#[derive(Debug)]
struct Reservation {
    listener: ListenerId,
    /// The relay has given it. libp2p panics when the word of that comes for a listener
    /// which is closed already, so that none is closed before.
    is_given: bool,
}

impl Reach {
    /// A peer has gone, and its offer with it.
    pub(crate) fn gone(&mut self, peer: &PeerId) {
        self.offers.remove(peer);
    }

    /// The relay that a listener is for.
    pub(crate) fn relay_of(&self, listener: ListenerId) -> Option<PeerId> {
        let mut reserved = self.reserved.iter();
        reserved.find_map(|(peer, held)| (held.listener == listener).then_some(*peer))
    }

    /// Relays that have given a reservation or are being asked for one.
    pub(crate) fn asked(&self) -> impl Iterator<Item = PeerId> {
        self.reserved.keys().copied()
    }

    /// How many connected peers offer to relay.
    pub(crate) fn offered(&self) -> usize {
        self.offers.len()
    }

    /// Addresses at which this process was reached from outside.
    pub(crate) fn confirmed(&self) -> &[Multiaddr] {
        &self.confirmed
    }

    /// A listener has closed: if it was a reservation, another may be asked for.
    pub(crate) fn released(&mut self, listener: ListenerId) {
        self.reserved.retain(|_, held| held.listener != listener);
    }
}

impl Actor {
    /// A peer has said what it speaks: it may offer itself as a relay, or no more.
    pub(crate) fn may_relay(
        &mut self,
        peer: PeerId,
        protocols: &[StreamProtocol],
        addresses: &[Multiaddr],
    ) {
        let direct = addresses
            .iter()
            .find(|address| !address::is_circuit(address) && !address::is_loopback(address));
        match direct {
            Some(at) if protocols.contains(&HOP_PROTOCOL_NAME) => {
                if self.reach.offers.len() < MAX_OFFERS {
                    self.reach.offers.insert(peer, at.clone());
                }
            }
            _ => {
                self.reach.offers.remove(&peer);
            }
        }
        self.seek_relays();
    }

    /// Asks for reservations, where this process is not known to be reached without.
    pub(crate) fn seek_relays(&mut self) {
        if self.needs_nobody_between() || self.is_local() {
            return;
        }
        let free: Vec<(PeerId, Multiaddr)> = self
            .reach
            .offers
            .iter()
            .filter(|(peer, _)| self.neighbours.contains_key(peer))
            .filter(|(peer, _)| !self.reach.reserved.contains_key(peer))
            .map(|(peer, at)| (*peer, at.clone()))
            .take(RELAYS.saturating_sub(self.reach.reserved.len()))
            .collect();
        for (peer, at) in free {
            let through = at.with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
            match self.swarm.listen_on(through.clone()) {
                Ok(listener) => {
                    let asked = Reservation {
                        listener,
                        is_given: false,
                    };
                    self.reach.reserved.insert(peer, asked);
                }
                Err(error) => tracing::debug!(%through, %error, "a relay cannot be used"),
            }
        }
    }

    /// An address is listened on. A process that joins through nobody has nobody to ask,
    /// so its public addresses are believed in; others are tried from outside.
    pub(crate) fn may_be_reachable_at(&mut self, address: Multiaddr) {
        if self.seeds.is_empty() && address::is_public(&address) && !address::is_circuit(&address) {
            self.swarm.add_external_address(address.clone());
            self.reachable_at(address);
        }
    }

    /// This process was reached at an address.
    pub(crate) fn reachable_at(&mut self, at: Multiaddr) {
        let (at, _) = address::split_peer(at);
        if address::is_circuit(&at) || self.reach.confirmed.contains(&at) {
            return;
        }
        tracing::info!(address = %at, "reached from outside");
        self.shared.tell(MeshEvent::Reachable(at.to_string()));
        self.reach.confirmed.push(at);
        self.give_relays_back();
        self.offer_to_relay();
        self.addresses_changed();
    }

    /// A relay has given a reservation.
    pub(crate) fn relay_given(&mut self, relay: &PeerId) {
        if let Some(held) = self.reach.reserved.get_mut(relay) {
            held.is_given = true;
        }
        self.give_relays_back();
    }

    /// Gives back what this process does not need; what it has asked for, once it is given.
    fn give_relays_back(&mut self) {
        if !self.needs_nobody_between() {
            return;
        }
        let swarm = &mut self.swarm;
        self.reach.reserved.retain(|_, held| {
            if held.is_given {
                swarm.remove_listener(held.listener);
            }
            !held.is_given
        });
    }

    /// Offers this process as a relay where everybody reaches it, and only there: left
    /// alone, libp2p also offers one that was reached at the address of its box.
    pub(crate) fn offer_to_relay(&mut self) {
        let serves = self.relays && self.needs_nobody_between();
        let status = if serves {
            relay::Status::Enable
        } else {
            relay::Status::Disable
        };
        self.swarm.behaviour_mut().relay.set_status(Some(status));
    }

    /// Whether this process is reached without a relay by everybody: where it was told so,
    /// or was reached at an address of its own. One that was reached at the address of a
    /// box may have been so only because it had spoken to whoever tried.
    fn needs_nobody_between(&self) -> bool {
        let own = |at: &Multiaddr| self.listening.contains(at);
        !self.external.is_empty() || self.reach.confirmed.iter().any(own)
    }

    /// An address does not lead here any more.
    pub(crate) fn not_reachable_at(&mut self, at: &Multiaddr) {
        let (at, _) = address::split_peer(at.clone());
        let before = self.reach.confirmed.len();
        self.reach.confirmed.retain(|confirmed| *confirmed != at);
        if self.reach.confirmed.len() != before {
            tracing::info!(address = %at, "no longer reached from outside");
            self.offer_to_relay();
            self.addresses_changed();
            self.seek_relays();
        }
    }

    /// The addresses at which this process is reached: as configured, then as found.
    pub(crate) fn reached_at(&self) -> Vec<Multiaddr> {
        let found = self.reach.confirmed.iter();
        self.external.iter().chain(found).cloned().collect()
    }

    /// An attempt to punch a hole has ended.
    pub(crate) fn punched(&mut self, event: &dcutr::Event) {
        let peer = event.remote_peer_id;
        match &event.result {
            Ok(_) => self.leave_relay(peer),
            Err(error) => tracing::debug!(%peer, %error, "no hole could be punched"),
        }
    }

    /// Closes what goes through relays to a peer that is reached directly.
    fn leave_relay(&mut self, peer: PeerId) {
        let Some(neighbour) = self.neighbours.get(&peer) else {
            return;
        };
        if neighbour.is_relayed() {
            return;
        }
        let id = neighbour.id;
        let relayed = neighbour.connections.iter();
        let relayed: Vec<ConnectionId> = relayed
            .filter_map(|(connection, relayed)| relayed.then_some(*connection))
            .collect();
        if relayed.is_empty() {
            return;
        }
        for connection in relayed {
            self.swarm.close_connection(connection);
        }
        self.control.lines.cut(&id);
        self.shared.set_relayed(&id, false);
        self.shared.tell(MeshEvent::Direct(id));
    }

    /// One of several connections with a peer has closed.
    pub(crate) fn line_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.connections.remove(&connection);
            let (id, relayed) = (neighbour.id, neighbour.is_relayed());
            self.shared.set_relayed(&id, relayed);
        }
    }
}
