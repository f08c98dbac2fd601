//! What this process knows of how it is reached, gathered from what happens anyway: for
//! whoever looks for the reason why others do not reach it.
//!
//! Nothing is decided by it; `reach` decides, [`super::nat`] judges what peers saw.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use embermesh_crypto::ids::PeerId;
use libp2p::{
    Multiaddr, autonat,
    core::ConnectedPoint,
    identify,
    multiaddr::Protocol,
    relay,
    swarm::{ConnectionId, SwarmEvent},
    upnp,
};

use super::{
    actor::Actor,
    address,
    behaviour::{self, BehaviourEvent},
};

/// What is remembered of how peers saw this process come: one entry for each peer and
/// transport.
const MAX_OBSERVED: usize = 128;
/// Dialled connections of which it is remembered where they lead.
const MAX_LINES: usize = 1024;
/// Addresses that are remembered as tried from outside in vain.
const MAX_REFUTED: usize = 32;
/// Relays that are remembered as having given a reservation, or as having refused one.
const MAX_RELAYS: usize = 32;

/// What an address is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP, under QUIC.
    Udp,
}

impl Transport {
    /// Its name, as people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// How one peer saw this process come, on a connection that this process made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Who says so.
    pub by: PeerId,
    /// Over what.
    pub transport: Transport,
    /// Where that peer is.
    pub peer: SocketAddr,
    /// Whence it saw this process come.
    pub seen: SocketAddr,
}

/// What the router of the local network said when it was asked for a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Upnp {
    /// Nothing yet, or it was not asked.
    #[default]
    Silent,
    /// It leads these multiaddrs here.
    Mapped(Vec<String>),
    /// There is none that understands UPnP.
    NoGateway,
    /// There is one, which is itself behind another.
    NotRoutable,
}

/// A relay that this process is to be reached through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayView {
    /// Who it is.
    pub peer: PeerId,
    /// Whether it has given a reservation; else it is still being asked, or has refused.
    pub granted: bool,
    /// Why there is none, where it said.
    pub refused: Option<String>,
}

/// What is known of how this process is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReachView {
    /// Multiaddrs that it listens on.
    pub listening: Vec<String>,
    /// Multiaddrs at which it was reached from outside (AutoNAT v2).
    pub confirmed: Vec<String>,
    /// Multiaddrs that were tried from outside in vain.
    pub refuted: Vec<String>,
    /// How peers saw it come, the newest of each peer and transport.
    pub observed: Vec<Observed>,
    /// Connected peers that offer to relay.
    pub offers: usize,
    /// The relays that it asked.
    pub relays: Vec<RelayView>,
    /// What the router said.
    pub upnp: Upnp,
}

/// What is gathered.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Where the connections lead that this process has made.
    lines: HashMap<ConnectionId, (Transport, SocketAddr)>,
    observed: Vec<Observed>,
    refuted: Vec<Multiaddr>,
    /// Relays that have given a reservation, or have said why not.
    relays: HashMap<libp2p::PeerId, Result<(), String>>,
    upnp: Upnp,
}

impl Report {
    fn made(&mut self, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let is_dialled = endpoint.is_dialer() && !endpoint.is_relayed();
        if is_dialled
            && self.lines.len() < MAX_LINES
            && let Some(line) = socket(endpoint.get_remote_address())
        {
            self.lines.insert(connection, line);
        }
    }

    fn seen(&mut self, by: PeerId, connection: ConnectionId, at: &Multiaddr) {
        let Some(&(transport, peer)) = self.lines.get(&connection) else {
            return;
        };
        let Some((_, seen)) = socket(at).filter(|(over, _)| *over == transport) else {
            return;
        };
        self.observed
            .retain(|old| (old.by, old.transport) != (by, transport));
        if self.observed.len() >= MAX_OBSERVED {
            self.observed.remove(0);
        }
        self.observed.push(Observed {
            by,
            transport,
            peer,
            seen,
        });
    }

    fn tested(&mut self, event: &autonat::v2::client::Event) {
        let at = &event.tested_addr;
        self.refuted.retain(|old| old != at);
        if event.result.is_err() && self.refuted.len() < MAX_REFUTED {
            self.refuted.push(at.clone());
        }
    }

    fn mapped(&mut self, event: &upnp::Event) {
        match event {
            upnp::Event::NewExternalAddr { external_addr, .. } => {
                let text = external_addr.to_string();
                match &mut self.upnp {
                    Upnp::Mapped(all) if all.contains(&text) => {}
                    Upnp::Mapped(all) => all.push(text),
                    other => *other = Upnp::Mapped(vec![text]),
                }
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                let text = external_addr.to_string();
                if let Upnp::Mapped(all) = &mut self.upnp {
                    all.retain(|at| *at != text);
                }
            }
            upnp::Event::GatewayNotFound => self.upnp = Upnp::NoGateway,
            upnp::Event::NonRoutableGateway => self.upnp = Upnp::NotRoutable,
        }
    }

    fn relay(&mut self, peer: libp2p::PeerId, end: Result<(), String>) {
        if self.relays.len() < MAX_RELAYS || self.relays.contains_key(&peer) {
            self.relays.insert(peer, end);
        }
    }
}

impl Actor {
    /// Notes what an event says of how this process is reached, before it is acted upon.
    /// Whether there is something to show.
    pub(crate) fn note(&mut self, event: &SwarmEvent<BehaviourEvent>) -> bool {
        match event {
            SwarmEvent::ConnectionEstablished {
                connection_id,
                endpoint,
                ..
            } => {
                self.report.made(*connection_id, endpoint);
                false
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.report.lines.remove(connection_id);
                false
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } => {
                if let (Some(relay), Err(error)) = (self.reach.relay_of(*listener_id), reason) {
                    let why = super::dialing::root(error);
                    self.report.relay(relay, Err(why));
                }
                true
            }
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. } => true,
            SwarmEvent::Behaviour(event) => self.note_behaviour(event),
            _ => false,
        }
    }

    fn note_behaviour(&mut self, event: &BehaviourEvent) -> bool {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => {
                let theirs = behaviour::network_of(&info.protocol_version);
                if theirs == Some(self.network.as_str())
                    && let Some(by) = address::ours(peer_id)
                {
                    self.report.seen(by, *connection_id, &info.observed_addr);
                }
            }
            BehaviourEvent::AsksWhetherReachable(event) => self.report.tested(event),
            BehaviourEvent::Upnp(event) => self.report.mapped(event),
            BehaviourEvent::Relayed(relay::client::Event::ReservationReqAccepted {
                relay_peer_id,
                ..
            }) => self.report.relay(*relay_peer_id, Ok(())),
            _ => return false,
        }
        true
    }

    /// Shows what is known of how this process is reached.
    pub(crate) fn show_reach(&self) {
        let texts = |all: &[Multiaddr]| all.iter().map(ToString::to_string).collect();
        // One that gave a reservation which was given back is no relay any more.
        let asked: BTreeSet<libp2p::PeerId> = self.reach.asked().collect();
        let refused = self.report.relays.iter().filter(|(_, end)| end.is_err());
        let refused: BTreeSet<_> = refused.map(|(relay, _)| *relay).collect();
        let view = ReachView {
            listening: texts(&self.listening),
            confirmed: texts(self.reach.confirmed()),
            refuted: texts(&self.report.refuted),
            observed: self.report.observed.clone(),
            offers: self.reach.offered(),
            relays: asked
                .union(&refused)
                .filter_map(|relay| {
                    let end = self.report.relays.get(relay);
                    Some(RelayView {
                        peer: address::ours(relay)?,
                        granted: matches!(end, Some(Ok(()))),
                        refused: end.and_then(|end| end.clone().err()),
                    })
                })
                .collect(),
            upnp: self.report.upnp.clone(),
        };
        self.shared.reach.send_if_modified(|shown| {
            let changed = *shown != view;
            *shown = view;
            changed
        });
    }
}

/// The transport of a multiaddr and the socket that it names by number; nothing for one
/// that goes through a relay, or has a name.
pub(crate) fn socket(address: &Multiaddr) -> Option<(Transport, SocketAddr)> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
        _ => return None,
    };
    let (transport, port) = match parts.next()? {
        Protocol::Tcp(port) => (Transport::Tcp, port),
        Protocol::Udp(port) => (Transport::Udp, port),
        _ => return None,
    };
    (!address::is_circuit(address)).then_some((transport, SocketAddr::new(ip, port)))
}

/// What a multiaddr is of, and the socket that it names by number; nothing for one that
/// goes through a relay or has a name instead.
#[must_use]
pub fn socket_of(multiaddr: &str) -> Option<(Transport, SocketAddr)> {
    socket(&multiaddr.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    fn by(number: u8) -> PeerId {
        Keypair::from_seed(&[number; 32]).peer_id()
    }

    fn dialled(at: &str) -> ConnectedPoint {
        ConnectedPoint::Dialer {
            address: at.parse().unwrap(),
            role_override: libp2p::core::Endpoint::Dialer,
            port_use: libp2p::core::transport::PortUse::Reuse,
        }
    }

    #[test]
    fn a_multiaddr_names_a_socket_unless_it_is_a_relay_s_or_a_name_s() {
        let at = |text: &str| socket_of(text).map(|(over, at)| (over.as_str(), at.to_string()));
        assert_eq!(
            at("/ip4/5.0.0.1/tcp/4001"),
            Some(("TCP", "5.0.0.1:4001".to_owned()))
        );
        assert_eq!(
            at("/ip6/::1/udp/9/quic-v1"),
            Some(("UDP", "[::1]:9".to_owned()))
        );
        let relay = by(1);
        for none in [
            format!("/ip4/5.0.0.1/tcp/1/p2p/{relay}/p2p-circuit"),
            "/dns4/a.example/tcp/1".to_owned(),
            "nonsense".to_owned(),
        ] {
            assert_eq!(at(&none), None, "{none}");
        }
    }

    #[test]
    fn what_a_peer_saw_counts_on_connections_of_our_own_making() {
        let mut report = Report::default();
        let (ours, theirs) = (
            ConnectionId::new_unchecked(1),
            ConnectionId::new_unchecked(2),
        );
        report.made(ours, &dialled("/ip4/5.0.0.1/udp/4001/quic-v1"));
        report.made(
            theirs,
            &ConnectedPoint::Listener {
                local_addr: "/ip4/10.0.0.2/tcp/1".parse().unwrap(),
                send_back_addr: "/ip4/5.0.0.2/tcp/9".parse().unwrap(),
            },
        );
        let at = "/ip4/5.9.9.9/udp/7/quic-v1".parse().unwrap();
        report.seen(by(1), ours, &at);
        report.seen(by(2), theirs, &"/ip4/5.9.9.9/tcp/1".parse().unwrap());
        assert_eq!(report.observed.len(), 1);
        assert_eq!(report.observed[0].seen, "5.9.9.9:7".parse().unwrap());
        // The newest word of a peer stands.
        report.seen(by(1), ours, &"/ip4/5.9.9.9/udp/8/quic-v1".parse().unwrap());
        assert_eq!(report.observed.len(), 1);
        assert_eq!(report.observed[0].seen.port(), 8);
        // A word that does not fit the line is none.
        report.seen(by(1), ours, &"/ip4/5.9.9.9/tcp/9".parse().unwrap());
        assert_eq!(report.observed[0].seen.port(), 8);
    }

    #[test]
    fn a_crowd_of_peers_is_remembered_in_part() {
        let mut report = Report::default();
        let line = ConnectionId::new_unchecked(1);
        report.made(line, &dialled("/ip4/5.0.0.1/tcp/4001"));
        for number in 0..=u8::MAX {
            report.seen(by(number), line, &"/ip4/5.9.9.9/tcp/1".parse().unwrap());
        }
        assert_eq!(report.observed.len(), MAX_OBSERVED);
    }
}
