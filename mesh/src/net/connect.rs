//! How the actor makes connections: to the peers to join through, and to those that a
//! caller asks for.

use std::{sync::atomic::Ordering, time::Instant};

use embermesh_crypto::ids::PeerId;
use libp2p::{
    Multiaddr,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{
    MeshError, MeshEvent,
    actor::Actor,
    address,
    dialing::{self, Need, Reply},
    parse_advertised,
};

impl Actor {
    pub(crate) fn dial_seeds(&mut self) {
        let need = if self.is_settled() {
            Need::Little
        } else {
            Need::Great
        };
        let neighbours = &self.neighbours;
        let connected = |peer: &libp2p::PeerId| neighbours.contains_key(peer);
        let due = self
            .seeds
            .due(need, Instant::now(), connected, &mut self.rng);
        for (peer, addresses) in due {
            if let Err(error) = self.dial(peer, addresses) {
                self.dial_failed(peer, &error);
            }
        }
    }

    /// Whether this process is part of a mesh of this machine alone.
    pub(crate) fn is_local(&self) -> bool {
        let own = self.external.iter().chain(&self.listening);
        address::is_local(own, self.neighbours.values().map(|n| n.loopback))
    }

    /// Addresses or neighbours have changed: the handle filters adverts too.
    pub(crate) fn show_whether_local(&self) {
        self.shared.local.store(self.is_local(), Ordering::Relaxed);
    }

    pub(crate) fn connect(
        &mut self,
        peer: Option<PeerId>,
        addresses: Vec<Multiaddr>,
        reply: Reply,
    ) {
        if !self.waiters.has_room() {
            let _ = reply.send(Err(MeshError::Busy(
                "too many callers wait for connections",
            )));
            return;
        }
        let Some(id) = peer else {
            return self.connect_unknown(addresses, reply);
        };
        if id == self.me {
            let reason = "that is this very process".to_owned();
            let _ = reply.send(Err(MeshError::Unreachable {
                peer: id.to_string(),
                reason,
            }));
            return;
        }
        let peer = address::theirs(&id);
        if self
            .neighbours
            .get(&peer)
            .is_some_and(|neighbour| neighbour.confirmed)
        {
            let _ = reply.send(Ok(id));
            return;
        }
        if let Some(error) = self.refusal_of(&peer) {
            let _ = reply.send(Err(error));
            return;
        }
        let known = self.known_addresses(&id, addresses);
        match self.dial(peer, known.clone()) {
            Ok(()) => self.waiters.add(peer, reply, Vec::new()),
            // A dial is under way, perhaps to fewer addresses than these.
            Err(DialError::DialPeerConditionFalse(_)) => self.waiters.add(peer, reply, known),
            Err(DialError::NoAddresses) => {
                let _ = reply.send(Err(MeshError::NoAddress(id)));
            }
            Err(error) => {
                let _ = reply.send(Err(dialing::unreachable(&id.to_string(), &error)));
            }
        }
    }

    fn connect_unknown(&mut self, addresses: Vec<Multiaddr>, reply: Reply) {
        let Some(address) = addresses.into_iter().next() else {
            let _ = reply.send(Err(MeshError::Busy("no address to dial was given")));
            return;
        };
        let options = DialOpts::unknown_peer_id().address(address.clone()).build();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.waiters.add_unknown(id, address, reply),
            Err(error) => {
                let _ = reply.send(Err(dialing::unreachable(&address.to_string(), &error)));
            }
        }
    }

    /// The addresses given, which a person or a caller has chosen, then those that the
    /// peer's advert names.
    fn known_addresses(&self, peer: &PeerId, given: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let local = self.is_local();
        let advert = self.table.roster().of(peer);
        let advertised = advert.map(|advert| parse_advertised(&advert.mesh_addresses, local));
        address::dialable(
            given.into_iter().chain(advertised.into_iter().flatten()),
            true,
        )
    }

    /// Dials a peer that is neither connected nor being dialled; what Kademlia and
    /// identify know of it is tried too.
    pub(crate) fn dial(
        &mut self,
        peer: libp2p::PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<(), DialError> {
        let options = DialOpts::peer_id(peer)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        self.swarm.dial(options)
    }

    /// Notes that a dial has failed, tries what is left to try, and tells who waits.
    pub(crate) fn dial_failed(&mut self, peer: libp2p::PeerId, error: &DialError) {
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        let name = peer.to_string();
        let failure = match self.refusal_of(&peer) {
            Some(refusal) => refusal,
            None => dialing::unreachable(&name, error),
        };
        let untried = self.waiters.dial_failed(&peer, &failure);
        if !untried.is_empty()
            && let Err(error) = self.dial(peer, untried)
        {
            let failure = dialing::unreachable(&name, &error);
            self.waiters.dial_failed(&peer, &failure);
        }
        if matches!(error, DialError::LocalPeerId { .. }) {
            self.seeds.forget(&peer);
            return;
        }
        self.seed_failed(&peer, failure);
    }

    fn seed_failed(&mut self, peer: &libp2p::PeerId, failure: MeshError) {
        let Some((id, pause)) = self.seeds.failed(peer, Instant::now()) else {
            return;
        };
        let reason = failure.to_string();
        tracing::debug!(bootstrap = %id, ?pause, %reason, "a bootstrap peer did not answer");
        self.shared
            .tell(MeshEvent::BootstrapFailed { peer: id, reason });
        self.last_dial_error = Some(failure);
        self.stand();
    }
}
