//! What each event of the swarm means to the mesh.

use std::{collections::BTreeMap, time::Instant};

use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    gossipsub::{self, MessageAcceptance},
    identify, kad, mdns, ping, relay,
    swarm::{ConnectionError, ConnectionId, SwarmEvent},
};

use super::{
    MeshError, MeshEvent, PeerView,
    actor::{Actor, Neighbour},
    address,
    behaviour::{self, BehaviourEvent},
    dialing::Need,
    gossip,
    neighbourhood::ENOUGH_PEERS,
    pause::{Judged, Pauses},
};
use crate::protocol::{Input, Reason, Verdict};

/// Letters of what a peer says of itself that are kept.
const MAX_AGENT_LEN: usize = 64;

impl Actor {
    /// Takes in one event of the swarm.
    pub(crate) fn swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let of_reach = self.note(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                self.gone(peer_id, cause);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                ..
            } => self.line_closed(peer_id, connection_id),
            SwarmEvent::ExternalAddrConfirmed { address } => self.reachable_at(address),
            SwarmEvent::ExternalAddrExpired { address } => self.not_reachable_at(&address),
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } if !self.neighbours.contains_key(&peer) => {
                self.dial_failed(peer, &error);
                self.unroute(&peer, &error);
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: None,
                connection_id,
                error,
            } => {
                self.waiters.dial_of_unknown_failed(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError {
                error,
                send_back_addr,
                ..
            } => {
                tracing::debug!(%error, from = %send_back_addr, "an inbound connection failed");
            }
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                self.unbound.remove(&listener_id);
                tracing::debug!(%address, "listening");
                if !self.listening.contains(&address) {
                    self.listening.push(address.clone());
                    self.addresses_changed();
                    self.may_be_reachable_at(address);
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.not_listening(&[address]),
            SwarmEvent::ListenerClosed {
                addresses,
                reason,
                listener_id,
            } => {
                self.reach.released(listener_id);
                if let Err(error) = reason {
                    tracing::warn!(%error, ?addresses, "no longer listening");
                }
                self.not_listening(&addresses);
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener failed to accept");
            }
            _ => {}
        }
        if of_reach {
            self.show_reach();
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, info);
            }
            BehaviourEvent::Identify(identify::Event::Error { peer_id, error, .. }) => {
                tracing::debug!(peer = %peer_id, %error, "a peer does not say who it is");
            }
            BehaviourEvent::Gossip(event) => self.gossip_event(event),
            BehaviourEvent::Kad(event) => self.kad_event(event),
            BehaviourEvent::Ping(event) => self.pinged(event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.found_on_lan(found),
            BehaviourEvent::Punch(event) => self.punched(&event),
            BehaviourEvent::Relay(event) => self.carried(&event),
            BehaviourEvent::Relayed(relay::client::Event::ReservationReqAccepted {
                relay_peer_id,
                ..
            }) => self.relay_given(&relay_peer_id),
            _ => {}
        }
    }

    fn not_listening(&mut self, addresses: &[Multiaddr]) {
        let before = self.listening.len();
        self.listening
            .retain(|address| !addresses.contains(address));
        if self.listening.len() != before {
            self.addresses_changed();
        }
    }

    fn established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(id) = address::ours(&peer) else {
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        };
        self.waiters.established(connection, peer);
        let loopback = address::is_loopback(endpoint.get_remote_address());
        let neighbour = self.neighbours.entry(peer).or_insert(Neighbour {
            id,
            confirmed: false,
            loopback,
            dialled: endpoint.is_dialer(),
            since: Instant::now(),
            silent: false,
            connections: BTreeMap::new(),
        });
        neighbour.loopback |= loopback;
        neighbour
            .connections
            .insert(connection, endpoint.is_relayed());
        let confirmed = neighbour.confirmed;
        self.show_whether_local();
        if confirmed {
            self.waiters.settle(&peer, &Ok(id));
        } else if let Some(refusal) = self.refusal_of(&peer) {
            self.waiters.settle(&peer, &Err(refusal));
        }
    }

    /// Our form of a peer's id. That of a neighbour is at hand; of another its key has to be
    /// shown to be one, which takes as long as half a check of a signature.
    fn id_of(&self, peer: &PeerId) -> Option<embermesh_crypto::ids::PeerId> {
        let neighbour = self.neighbours.get(peer).map(|neighbour| neighbour.id);
        neighbour.or_else(|| address::ours(peer))
    }

    fn gone(&mut self, peer: PeerId, cause: Option<ConnectionError>) {
        let Some(neighbour) = self.neighbours.remove(&peer) else {
            return;
        };
        self.show_whether_local();
        self.control.lines.cut(&neighbour.id);
        self.reach.gone(&peer);
        let need = if self.is_settled() {
            Need::Little
        } else if matches!(cause, Some(ConnectionError::KeepAliveTimeout)) {
            Need::Some
        } else {
            Need::Great
        };
        self.seeds.disconnected(&peer, need, Instant::now());
        if need != Need::Little {
            self.seeds.hurry(Instant::now());
        }
        self.may_be_lost(neighbour.id, neighbour.silent, cause.as_ref());
        if neighbour.confirmed {
            tracing::debug!(peer = %neighbour.id, ?cause, "disconnected");
            self.shared.remove_peer(&neighbour.id);
            self.shared.tell(MeshEvent::Disconnected(neighbour.id));
            self.feed(Input::Disconnected(neighbour.id));
        }
        let reason = match cause {
            Some(cause) => format!("the connection broke before the peer said who it is ({cause})"),
            None => "the connection was closed before the peer said who it is".to_owned(),
        };
        let error = MeshError::Unreachable {
            peer: peer.to_string(),
            reason,
        };
        self.waiters.settle(&peer, &Err(error));
        self.stand();
    }

    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let id = neighbour.id;
        let theirs = behaviour::network_of(&info.protocol_version);
        if theirs != Some(self.network.as_str()) {
            let theirs = theirs.map_or_else(
                || format!("(not embermesh: {})", printable(&info.protocol_version)),
                printable,
            );
            return self.refuse(peer, id, theirs);
        }
        let is_new = !std::mem::replace(&mut neighbour.confirmed, true);
        let addresses = address::dialable(info.listen_addrs, neighbour.loopback);
        let is_relayed = neighbour.is_relayed();
        self.route(peer, &info.protocols, &addresses);
        self.may_relay(peer, &info.protocols, &addresses);
        self.shared.set_peer(PeerView {
            peer: id,
            agent: printable(&info.agent_version),
            round_trip: self.shared.peer(&id).and_then(|view| view.round_trip),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            relayed: is_relayed,
        });
        if is_new {
            self.confirmed(peer, id);
        }
    }

    fn confirmed(&mut self, peer: PeerId, id: embermesh_crypto::ids::PeerId) {
        let was_alone = self.neighbours.values().filter(|n| n.confirmed).count() == 1;
        self.seeds.connected(&peer);
        self.waiters.settle(&peer, &Ok(id));
        self.shared.tell(MeshEvent::Connected(id));
        self.feed(Input::Connected(id));
        if was_alone {
            let kad = &mut self.swarm.behaviour_mut().kad;
            // Fails only while the table is empty: beside nothing but clients.
            let _ = kad.bootstrap();
            self.queries.announce_all(kad);
        }
        self.stand();
    }

    fn gossip_event(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                self.shared.traffic.delivered();
                let verdict = self.judge(propagation_source, message.data);
                self.judged((message_id, propagation_source), verdict);
            }
            gossipsub::Event::Subscribed { .. } => self.say_unheard(),
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "a peer is slow to take gossip");
            }
            _ => {}
        }
    }

    /// Tells gossip at once what is not to be passed on, and the rest after a pause.
    fn judged(&mut self, message: Judged, verdict: Verdict) {
        let pauses = match verdict {
            Verdict::Accept => &mut self.pauses,
            Verdict::Renew => &mut self.renewals,
            Verdict::Keep | Verdict::Ignore(_) => {
                return self.report(&message, MessageAcceptance::Ignore);
            }
            Verdict::Reject(_) => {
                self.report(&message, MessageAcceptance::Reject);
                if self.is_excluded(&message.1) {
                    // Gossip does not hear it any more; its connection is for somebody else.
                    self.shun(message.1);
                }
                return;
            }
        };
        self.shared.traffic.accepted();
        if let Some(message) = pauses.add(message, Instant::now(), &mut self.rng) {
            self.report(&message, MessageAcceptance::Accept);
        }
    }

    /// Whether a peer has sent so much that no honest peer sends that gossip is deaf to it.
    fn is_excluded(&self, peer: &PeerId) -> bool {
        let score = self.swarm.behaviour().gossip.peer_score(peer);
        score.is_some_and(|score| score < gossip::EXCLUDED_BELOW)
    }

    /// Passes on the adverts that have waited enough.
    pub(crate) fn pass_on(&mut self, now: Instant) {
        let due = |pauses: &mut Pauses<Judged>| pauses.due(now);
        while let Some(message) = due(&mut self.pauses).or_else(|| due(&mut self.renewals)) {
            self.report(&message, MessageAcceptance::Accept);
        }
    }

    fn report(&mut self, (id, from): &Judged, acceptance: MessageAcceptance) {
        // False when the message has left the cache: then nobody waits for it.
        self.swarm
            .behaviour_mut()
            .gossip
            .report_message_validation_result(id, from, acceptance);
    }

    fn judge(&mut self, from: PeerId, bytes: Vec<u8>) -> Verdict {
        let Some(from) = self.id_of(&from) else {
            return Verdict::Reject(Reason::Forged);
        };
        let fed = self.feed(Input::Gossip { from, bytes });
        // The table judges each.
        let verdict = fed.verdict.unwrap_or(Verdict::Keep);
        match verdict {
            Verdict::Reject(reason) => {
                tracing::debug!(peer = %from, %reason, "rejected an advert");
                self.shared.tell(MeshEvent::AdvertRejected { from, reason });
            }
            Verdict::Ignore(reason) => {
                tracing::trace!(peer = %from, %reason, "ignored an advert");
            }
            Verdict::Accept | Verdict::Renew | Verdict::Keep => {}
        }
        verdict
    }

    fn kad_event(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed {
                id, result, step, ..
            } => {
                let kad = &mut self.swarm.behaviour_mut().kad;
                self.queries.progressed(kad, id, result, &step);
            }
            kad::Event::InboundRequest {
                request:
                    kad::InboundRequest::AddProvider {
                        record: Some(record),
                    },
            } => {
                // Kademlia has checked that the provider itself is asking.
                let store = self.swarm.behaviour_mut().kad.store_mut();
                if let Err(error) = kad::store::RecordStore::add_provider(store, record) {
                    tracing::debug!(%error, "a provider record was not kept");
                }
            }
            _ => {}
        }
    }

    fn pinged(&mut self, event: ping::Event) {
        match event.result {
            Ok(round_trip) => {
                if let Some(neighbour) = self.neighbours.get_mut(&event.peer) {
                    neighbour.silent = false;
                }
                if let Some(id) = self.id_of(&event.peer) {
                    self.shared.set_round_trip(&id, round_trip);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            // libp2p only reports it; a connection that does not answer is dead.
            Err(error) => {
                tracing::debug!(peer = %event.peer, %error, "a connection is dead");
                if let Some(neighbour) = self.neighbours.get_mut(&event.peer) {
                    neighbour.silent = true;
                }
                self.swarm.close_connection(event.connection);
                // It says goodbye first, which a dead one never ends.
                if let Some(id) = self.id_of(&event.peer) {
                    self.control.lines.cut(&id);
                }
            }
        }
    }

    fn found_on_lan(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        for (peer, address) in found {
            if self.neighbours.len() >= ENOUGH_PEERS {
                return;
            }
            if self.strangers.contains_key(&peer) {
                continue;
            }
            if let Err(error) = self.dial(peer, vec![address]) {
                self.dial_failed(peer, &error);
            }
        }
    }
}

/// What a peer says of itself, fit for a log line.
fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_AGENT_LEN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_write_into_our_log() {
        assert_eq!(
            printable("good\n2026 ERROR evil\u{1b}[2J"),
            "good2026 ERROR evil[2J"
        );
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_AGENT_LEN);
    }
}
