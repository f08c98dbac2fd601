//! Who may knock: of the connections that come in, no single source takes all places.
//!
//! `connection_limits` counts connections, whoever makes them: one machine that opens them
//! and says nothing would hold every place there is, for the ten seconds that a handshake
//! may take, again and again. Here each source has a share of the places.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

/// One source may have one in so many of the places.
const SHARE: u32 = 4;

/// A source has as many connections as one may.
#[derive(Debug, thiserror::Error)]
#[error("{source_ip} has {held} connections here that {what}, which is its share")]
struct TooMany {
    source_ip: IpAddr,
    held: u32,
    what: &'static str,
}

/// Places of one kind, and who holds them.
#[derive(Debug)]
struct Places {
    of_one: u32,
    what: &'static str,
    holders: HashMap<ConnectionId, IpAddr>,
    held: HashMap<IpAddr, u32>,
}

impl Places {
    fn new(places: u32, what: &'static str) -> Self {
        Self {
            of_one: (places / SHARE).max(1),
            what,
            holders: HashMap::new(),
            held: HashMap::new(),
        }
    }

    fn take(&mut self, connection: ConnectionId, source_ip: IpAddr) -> Result<(), TooMany> {
        let held = self.held.entry(source_ip).or_default();
        if *held >= self.of_one {
            return Err(TooMany {
                source_ip,
                held: *held,
                what: self.what,
            });
        }
        *held += 1;
        self.holders.insert(connection, source_ip);
        Ok(())
    }

    fn give_back(&mut self, connection: &ConnectionId) {
        let Some(source) = self.holders.remove(connection) else {
            return;
        };
        if let Some(held) = self.held.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&source);
            }
        }
    }
}

/// The behaviour: it speaks nothing and only counts.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    knocking: Places,
    inside: Places,
}

impl Doorkeeper {
    /// Shares out so many handshakes under way, and so many connections from outside.
    pub(crate) fn new(pending: u32, inbound: u32) -> Self {
        Self {
            knocking: Places::new(pending, "are not proven yet"),
            inside: Places::new(inbound, "stand"),
        }
    }
}

impl NetworkBehaviour for Doorkeeper {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // What comes through a relay has the relay's bounds.
        match source_of(remote) {
            Some(source) => self
                .knocking
                .take(connection, source)
                .map_err(ConnectionDenied::new),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.knocking.give_back(&connection);
        match source_of(remote) {
            // Many processes on one machine are a test or a demo, not an attack.
            Some(source) if !source.is_loopback() => self
                .inside
                .take(connection, source)
                .map_err(ConnectionDenied::new)?,
            _ => {}
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            // Also one that another behaviour has refused after it was counted here.
            FromSwarm::ListenFailure(failed) => {
                self.knocking.give_back(&failed.connection_id);
                self.inside.give_back(&failed.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) => self.inside.give_back(&closed.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// Who makes a connection. None for what comes through a relay.
fn source_of(remote: &Multiaddr) -> Option<IpAddr> {
    let mut ip = None;
    for part in remote {
        match part {
            Protocol::Ip4(v4) => ip = Some(IpAddr::V4(v4)),
            Protocol::Ip6(v6) => ip = Some(IpAddr::V6(v6)),
            Protocol::P2pCircuit => return None,
            _ => {}
        }
    }
    ip.map(crate::source::source_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn knock(door: &mut Doorkeeper, number: usize, remote: &str) -> bool {
        let local = from("/ip4/0.0.0.0/tcp/1");
        door.handle_pending_inbound_connection(
            ConnectionId::new_unchecked(number),
            &local,
            &from(remote),
        )
        .is_ok()
    }

    fn enter(door: &mut Doorkeeper, number: usize, remote: &str) -> bool {
        let local = from("/ip4/0.0.0.0/tcp/1");
        door.handle_established_inbound_connection(
            ConnectionId::new_unchecked(number),
            PeerId::random(),
            &local,
            &from(remote),
        )
        .is_ok()
    }

    #[test]
    fn one_source_takes_its_share_and_leaves_the_rest() {
        let mut door = Doorkeeper::new(8, 8);
        assert!(knock(&mut door, 1, "/ip4/192.0.2.1/tcp/1"));
        assert!(knock(&mut door, 2, "/ip4/192.0.2.1/udp/2/quic-v1"));
        assert!(!knock(&mut door, 3, "/ip4/192.0.2.1/tcp/3"));
        assert!(knock(&mut door, 4, "/ip4/192.0.2.2/tcp/3"));
        // Who has proven itself knocks no more.
        assert!(enter(&mut door, 1, "/ip4/192.0.2.1/tcp/1"));
        assert!(knock(&mut door, 5, "/ip4/192.0.2.1/tcp/5"));
        assert!(enter(&mut door, 5, "/ip4/192.0.2.1/tcp/5"));
        assert!(knock(&mut door, 6, "/ip4/192.0.2.1/tcp/6"));
        assert!(!enter(&mut door, 6, "/ip4/192.0.2.1/tcp/6"));
        assert!(enter(&mut door, 7, "/ip4/192.0.2.3/tcp/6"));
        door.inside.give_back(&ConnectionId::new_unchecked(1));
        assert!(enter(&mut door, 8, "/ip4/192.0.2.1/tcp/6"));
        for number in 1..=8 {
            let id = ConnectionId::new_unchecked(number);
            door.knocking.give_back(&id);
            door.inside.give_back(&id);
        }
        assert!(door.knocking.held.is_empty() && door.inside.held.is_empty());
        assert!(door.knocking.holders.is_empty() && door.inside.holders.is_empty());
    }

    #[test]
    fn every_transport_has_a_source_and_a_relay_has_none() {
        let source = |text: &str| source_of(&from(text));
        assert_eq!(
            source("/ip6/2001:db8::1/tcp/1"),
            source("/ip6/2001:db8::2:3/udp/1/quic-v1")
        );
        let relay = "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";
        assert_eq!(source(relay), None);
    }

    #[test]
    fn loopback_has_no_share_of_what_stands() {
        let mut door = Doorkeeper::new(64, 4);
        for number in 0..16 {
            assert!(enter(&mut door, number, "/ip4/127.0.0.1/tcp/1"));
        }
    }
}
