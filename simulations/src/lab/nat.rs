//! Boxes that translate addresses, in the words of RFC 4787 (UDP) and RFC 5382 (TCP):
//! mapping says which port stands for a host outside, filtering who may answer it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::packet::{End, Transport, flow, rewrite};

/// How long a mapping lasts that nothing goes out by, for UDP: the least that RFC 4787
/// allows.
const UDP_LIFE: Duration = Duration::from_secs(120);
/// The same for TCP (RFC 5382, an established connection).
const TCP_LIFE: Duration = Duration::from_secs(2 * 60 * 60 + 4 * 60);
/// The first port that is given where the host's own is taken.
const FIRST_PORT: u16 = 40_000;

/// What kind of box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// One port for a host's port, and anybody may answer it.
    FullCone,
    /// One port, and only an address may answer that was spoken to.
    Restricted,
    /// One port, and only an address and port may answer that were spoken to.
    PortRestricted,
    /// Another port for each that is spoken to, who alone may answer it.
    Symmetric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Inside {
    transport: Transport,
    host: SocketAddrV4,
    /// To whom, where the port depends on it.
    to: Option<SocketAddrV4>,
}

#[derive(Clone, Debug)]
struct Mapping {
    inside: Inside,
    spoken_to: BTreeSet<SocketAddrV4>,
    used: Duration,
}

/// A box with one address outside. Times are since some beginning.
#[derive(Clone, Debug)]
pub struct Nat {
    kind: NatKind,
    address: Ipv4Addr,
    /// Whether UDP passes at all.
    udp: bool,
    ports: BTreeMap<Inside, u16>,
    mappings: BTreeMap<(Transport, u16), Mapping>,
    next: u16,
}

impl Nat {
    /// A box that has seen nothing.
    #[must_use]
    pub fn new(kind: NatKind, address: Ipv4Addr, udp: bool) -> Self {
        Self {
            kind,
            address,
            udp,
            ports: BTreeMap::new(),
            mappings: BTreeMap::new(),
            next: FIRST_PORT,
        }
    }

    /// Its address outside.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A packet leaves: gets the box's address and a port of it. Whether it passes.
    pub fn out(&mut self, packet: &mut [u8], now: Duration) -> bool {
        let Some(flow) = flow(packet) else {
            return false;
        };
        if flow.transport == Transport::Udp && !self.udp {
            return false;
        }
        let inside = Inside {
            transport: flow.transport,
            host: flow.from,
            to: (self.kind == NatKind::Symmetric).then_some(flow.to),
        };
        let Some(port) = self.port(inside, now) else {
            return false;
        };
        let mapping = self
            .mappings
            .entry((flow.transport, port))
            .or_insert_with(|| Mapping {
                inside,
                spoken_to: BTreeSet::new(),
                used: now,
            });
        mapping.spoken_to.insert(flow.to);
        mapping.used = now;
        rewrite(packet, End::From, SocketAddrV4::new(self.address, port));
        true
    }

    /// A packet comes to the box's address: gets that of the host, where there is one that
    /// may have it. Whether it passes.
    pub fn enter(&mut self, packet: &mut [u8], now: Duration) -> bool {
        let Some(flow) = flow(packet) else {
            return false;
        };
        if flow.transport == Transport::Udp && !self.udp {
            return false;
        }
        let key = (flow.transport, flow.to.port());
        let Some(mapping) = self.mappings.get(&key) else {
            return false;
        };
        if is_over(flow.transport, mapping, now) {
            return false;
        }
        let from = flow.from;
        let may = match self.kind {
            NatKind::FullCone => true,
            NatKind::Restricted => mapping.spoken_to.iter().any(|to| to.ip() == from.ip()),
            NatKind::PortRestricted | NatKind::Symmetric => mapping.spoken_to.contains(&from),
        };
        if may {
            rewrite(packet, End::To, mapping.inside.host);
        }
        may
    }

    /// The port that stands for a host: the one that it has, else its own number, else
    /// the next free one.
    fn port(&mut self, inside: Inside, now: Duration) -> Option<u16> {
        let transport = inside.transport;
        if let Some(port) = self.ports.get(&inside).copied() {
            let mapping = self.mappings.get(&(transport, port));
            if mapping.is_some_and(|mapping| !is_over(transport, mapping, now)) {
                return Some(port);
            }
            self.mappings.remove(&(transport, port));
            self.ports.remove(&inside);
        }
        let is_free = |port: u16| match self.mappings.get(&(transport, port)) {
            None => true,
            Some(mapping) => is_over(transport, mapping, now),
        };
        let own = inside.host.port();
        // Where the port depends on the receiver, the host's own says nothing.
        let port = if self.kind != NatKind::Symmetric && is_free(own) {
            own
        } else {
            let span = u16::MAX - FIRST_PORT;
            let tried = (0..=span).map(|n| FIRST_PORT + (self.next - FIRST_PORT + n) % span);
            let port = tried.into_iter().find(|port| is_free(*port))?;
            self.next = FIRST_PORT + (port - FIRST_PORT + 1) % span;
            port
        };
        if let Some(old) = self.mappings.remove(&(transport, port)) {
            self.ports.remove(&old.inside);
        }
        self.ports.insert(inside, port);
        Some(port)
    }
}

fn is_over(transport: Transport, mapping: &Mapping, now: Duration) -> bool {
    let life = match transport {
        Transport::Udp => UDP_LIFE,
        Transport::Tcp => TCP_LIFE,
    };
    now.saturating_sub(mapping.used) > life
}

#[cfg(test)]
mod tests {
    use super::{
        super::packet::tests::{at, packet},
        *,
    };

    const HOST: &str = "192.168.1.2:4001";
    const KNOWN: &str = "5.0.0.1:80";
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(5, 9, 9, 9);

    /// Sends from the host and gives the port outside.
    fn send(nat: &mut Nat, to: &str, now: Duration) -> Option<u16> {
        let mut bytes = packet(Transport::Udp, HOST, to);
        nat.out(&mut bytes, now).then(|| {
            let flow = flow(&bytes).unwrap();
            assert_eq!((*flow.from.ip(), flow.to), (OUTSIDE, at(to)));
            flow.from.port()
        })
    }

    /// Whether an answer reaches the host.
    fn answers(nat: &mut Nat, from: &str, port: u16, now: Duration) -> bool {
        let mut bytes = packet(Transport::Udp, from, &format!("{OUTSIDE}:{port}"));
        let passes = nat.enter(&mut bytes, now);
        assert_eq!(passes, flow(&bytes).unwrap().to == at(HOST));
        passes
    }

    #[test]
    fn each_kind_lets_in_whom_it_should() {
        let cases = [
            (NatKind::FullCone, [true, true, true]),
            (NatKind::Restricted, [true, true, false]),
            (NatKind::PortRestricted, [true, false, false]),
            (NatKind::Symmetric, [true, false, false]),
        ];
        for (kind, expected) in cases {
            let mut nat = Nat::new(kind, OUTSIDE, true);
            let now = Duration::ZERO;
            assert!(!answers(&mut nat, KNOWN, 4001, now), "{kind:?}");
            let port = send(&mut nat, KNOWN, now).unwrap();
            let let_in = [KNOWN, "5.0.0.1:81", "5.0.0.2:80"].map(|from| {
                // Each is asked of a box that has heard no other.
                answers(&mut nat, from, port, now)
            });
            assert_eq!(let_in, expected, "{kind:?}");
            let other = send(&mut nat, "5.0.0.3:80", now).unwrap();
            assert_eq!(port == other, kind != NatKind::Symmetric, "{kind:?}");
        }
    }

    #[test]
    fn a_mapping_ends_when_nothing_goes_out_by_it() {
        let mut nat = Nat::new(NatKind::FullCone, OUTSIDE, true);
        let port = send(&mut nat, KNOWN, Duration::ZERO).unwrap();
        assert!(answers(&mut nat, KNOWN, port, UDP_LIFE));
        // An answer keeps nothing open (RFC 4787, REQ-6).
        let later = UDP_LIFE + Duration::from_secs(1);
        assert!(!answers(&mut nat, KNOWN, port, later));
        assert_eq!(send(&mut nat, KNOWN, later), Some(port));
        assert!(answers(&mut nat, KNOWN, port, later + UDP_LIFE));
    }

    #[test]
    fn two_hosts_with_one_port_get_two() {
        let mut nat = Nat::new(NatKind::PortRestricted, OUTSIDE, true);
        let mut other = packet(Transport::Udp, "192.168.1.3:4001", KNOWN);
        assert!(nat.out(&mut other, Duration::ZERO));
        let port = send(&mut nat, KNOWN, Duration::ZERO).unwrap();
        assert_ne!(flow(&other).unwrap().from.port(), port);
        assert!(answers(&mut nat, KNOWN, port, Duration::ZERO));
    }

    #[test]
    fn udp_can_be_shut_and_tcp_goes_on() {
        let mut nat = Nat::new(NatKind::FullCone, OUTSIDE, false);
        assert_eq!(send(&mut nat, KNOWN, Duration::ZERO), None);
        let mut bytes = packet(Transport::Tcp, HOST, KNOWN);
        assert!(nat.out(&mut bytes, Duration::ZERO));
        assert_eq!(flow(&bytes).unwrap().from, at("5.9.9.9:4001"));
    }
}
