//! Carries packets by a plan: out of a host's link, through the boxes of both sites, and in
//! by another's. No IO and no clock: what holds the rooms together calls it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::{
    Firewall, Link, Nat, Plan,
    packet::{Transport, flow, flow6, receiver, receiver4},
};

/// A host's place in the order of the plan, over all sites.
pub type HostIndex = usize;

/// A packet that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives.
    pub at: Duration,
    /// At whom.
    pub host: HostIndex,
    /// What the host sees.
    pub packet: Vec<u8>,
}

/// What a fabric has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that arrive.
    pub carried: u64,
    /// Packets that a link lost.
    pub lost: u64,
    /// Packets that a box let not pass, or that were for nobody.
    pub refused: u64,
}

/// The network of a plan. Times are since some beginning.
#[derive(Clone, Debug)]
pub struct Fabric {
    hosts: Vec<Seat>,
    edges: Vec<Edge>,
    /// Hosts with public addresses.
    public: BTreeMap<Ipv4Addr, HostIndex>,
    /// Hosts with addresses of IPv6.
    six: BTreeMap<Ipv6Addr, HostIndex>,
    /// Boxes, as places in `edges`.
    boxes: BTreeMap<Ipv4Addr, usize>,
    counts: Counts,
}

#[derive(Clone, Debug)]
struct Seat {
    site: usize,
    up: Link,
    down: Link,
}

#[derive(Clone, Debug)]
struct Edge {
    nat: Option<Nat>,
    firewall: Option<Firewall>,
    udp: bool,
    /// Its hosts by their addresses.
    hosts: BTreeMap<Ipv4Addr, HostIndex>,
}

impl Fabric {
    /// A network in which nothing is on its way.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut fabric = Self {
            hosts: Vec::new(),
            edges: Vec::new(),
            public: BTreeMap::new(),
            six: BTreeMap::new(),
            boxes: BTreeMap::new(),
            counts: Counts::default(),
        };
        for (site, of) in plan.sites.iter().enumerate() {
            let mut hosts = BTreeMap::new();
            for host in &of.hosts {
                let index = fabric.hosts.len();
                // Two streams of draws for each host.
                let seed =
                    plan.seed ^ ((index as u64) << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hosts.insert(host.address, index);
                fabric
                    .six
                    .extend(host.address6.map(|address| (address, index)));
                if of.nat.is_none() {
                    fabric.public.insert(host.address, index);
                }
                fabric.hosts.push(Seat {
                    site,
                    up: Link::new(host.up, seed),
                    down: Link::new(host.down, !seed),
                });
            }
            let nat = of
                .nat
                .map(|(kind, address)| Nat::new(kind, address, of.udp));
            if let Some(nat) = &nat {
                fabric.boxes.insert(nat.address(), site);
            }
            fabric.edges.push(Edge {
                nat,
                firewall: of.firewall.then(Firewall::default),
                udp: of.udp,
                hosts,
            });
        }
        fabric
    }

    /// What it has carried so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A host sends a packet; nothing when it does not arrive.
    pub fn send(&mut self, from: HostIndex, mut packet: Vec<u8>, now: Duration) -> Option<Arrival> {
        let Some(host) = self.route(from, &mut packet, now) else {
            self.counts.refused += 1;
            return None;
        };
        let bytes = packet.len();
        let sent = self.hosts[from].up.carry(now, bytes);
        let arrives = sent.and_then(|sent| self.hosts[host].down.carry(sent, bytes));
        let Some(at) = arrives else {
            self.counts.lost += 1;
            return None;
        };
        self.counts.carried += 1;
        Some(Arrival { at, host, packet })
    }

    /// To which host a packet goes, with the addresses that it then has. The boxes see it
    /// when it is sent, not when it comes by.
    fn route(&mut self, from: HostIndex, packet: &mut [u8], now: Duration) -> Option<HostIndex> {
        let here = self.hosts.get(from)?.site;
        let to = match receiver(packet)? {
            IpAddr::V4(to) => to,
            IpAddr::V6(to) => return self.route6(here, to, packet, now),
        };
        // Within the site nothing is in the way.
        if let Some(host) = self.edges[here].hosts.get(&to) {
            return Some(*host);
        }
        let leaves = match &mut self.edges[here].nat {
            Some(nat) => nat.out(packet, now),
            None => self.passes(here, packet),
        };
        if !leaves {
            return None;
        }
        if let Some(host) = self.public.get(&to).copied() {
            let there = self.hosts[host].site;
            return self.passes(there, packet).then_some(host);
        }
        let there = *self.boxes.get(&to)?;
        let edge = &mut self.edges[there];
        if !edge.nat.as_mut()?.enter(packet, now) {
            return None;
        }
        edge.hosts.get(&receiver4(packet)?).copied()
    }

    /// The same for IPv6, where nothing is translated.
    fn route6(
        &mut self,
        here: usize,
        to: Ipv6Addr,
        packet: &[u8],
        now: Duration,
    ) -> Option<HostIndex> {
        let host = *self.six.get(&to)?;
        let there = self.hosts[host].site;
        if there == here {
            return Some(host);
        }
        if !self.passes(here, packet) || !self.passes(there, packet) {
            return None;
        }
        let flow = flow6(packet);
        if let (Some(firewall), Some(flow)) = (&mut self.edges[here].firewall, flow) {
            firewall.out(flow, now);
        }
        match &self.edges[there].firewall {
            Some(firewall) => flow.is_some_and(|flow| firewall.lets_in(flow, now)),
            None => true,
        }
        .then_some(host)
    }

    /// Whether a site without a box lets a packet pass its edge.
    fn passes(&self, site: usize, packet: &[u8]) -> bool {
        let transport = flow(packet).map(|flow| flow.transport);
        let transport = transport.or_else(|| flow6(packet).map(|flow| flow.transport));
        self.edges[site].udp || transport != Some(Transport::Udp)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            LinkConfig, NatKind, Site,
            packet::tests::{at, packet, packet6},
        },
        *,
    };

    const MS: Duration = Duration::from_millis(1);

    fn two_boxes(kind: NatKind) -> Fabric {
        let link = LinkConfig::delay(10);
        Fabric::new(&Plan {
            seed: 1,
            sites: vec![
                Site::public([5, 0, 0, 1], link),
                Site::behind(kind, [5, 0, 1, 1], [192, 168, 1, 2], link),
                Site::behind(kind, [5, 0, 2, 1], [192, 168, 1, 2], LinkConfig::delay(30)),
            ],
        })
    }

    fn udp(from: &str, to: &str) -> Vec<u8> {
        packet(Transport::Udp, from, to)
    }

    #[test]
    fn a_packet_and_its_answer_cross_a_box() {
        let mut fabric = two_boxes(NatKind::PortRestricted);
        let asked = fabric.send(1, udp("192.168.1.2:9000", "5.0.0.1:80"), MS);
        let asked = asked.unwrap();
        assert_eq!((asked.host, asked.at), (0, 21 * MS));
        let flow_there = flow(&asked.packet).unwrap();
        assert_eq!(flow_there.from, at("5.0.1.1:9000"));
        let answer = udp("5.0.0.1:80", &flow_there.from.to_string());
        let answered = fabric.send(0, answer, 21 * MS).unwrap();
        assert_eq!((answered.host, answered.at), (1, 41 * MS));
        assert_eq!(flow(&answered.packet).unwrap().to, at("192.168.1.2:9000"));
    }

    #[test]
    fn holes_are_punched_through_two_boxes_but_not_through_symmetric_ones() {
        for (kind, pierced) in [
            (NatKind::FullCone, true),
            (NatKind::Restricted, true),
            (NatKind::PortRestricted, true),
            (NatKind::Symmetric, false),
        ] {
            let mut fabric = two_boxes(kind);
            // Each learns its address outside from the public host.
            let outside = [1, 2].map(|host| {
                let hello = udp("192.168.1.2:9000", "5.0.0.1:80");
                let arrival = fabric.send(host, hello, MS).unwrap();
                flow(&arrival.packet).unwrap().from.to_string()
            });
            let unasked = fabric.send(2, udp("192.168.1.2:9000", &outside[0]), MS);
            assert_eq!(unasked.is_some(), kind == NatKind::FullCone, "{kind:?}");
            fabric.send(1, udp("192.168.1.2:9000", &outside[1]), MS);
            let now = fabric.send(2, udp("192.168.1.2:9000", &outside[0]), MS);
            assert_eq!(now.is_some(), pierced, "{kind:?}");
        }
    }

    #[test]
    fn ipv6_is_translated_by_nobody_and_a_firewall_lets_answers_in() {
        let link = LinkConfig::delay(1);
        let six = |text: &str| text.parse().unwrap();
        let home = Site::behind(NatKind::Symmetric, [5, 0, 1, 1], [192, 168, 1, 2], link);
        let mut fabric = Fabric::new(&Plan {
            seed: 1,
            sites: vec![
                Site::public([5, 0, 0, 1], link).with_ipv6(six("2a00::1")),
                home.with_ipv6(six("2a01::1")).with_firewall(),
                Site::public([5, 0, 0, 2], link),
            ],
        });
        let udp = |from: &str, to: &str| packet6(Transport::Udp, from, to);
        let (public, home) = ("[2a00::1]:80", "[2a01::1]:9");
        assert_eq!(fabric.send(0, udp(public, home), MS), None, "unasked");
        let asked = fabric.send(1, udp(home, public), MS).unwrap();
        assert_eq!((asked.host, &asked.packet), (0, &udp(home, public)));
        let answer = fabric.send(0, udp(public, home), 2 * MS).unwrap();
        assert_eq!(answer.host, 1);
        let other = fabric.send(0, udp("[2a00::1]:81", home), 2 * MS);
        assert_eq!(other, None, "another port was not spoken to");
        assert_eq!(fabric.send(2, udp("[2a02::1]:1", "[2a03::1]:1"), MS), None);
    }

    #[test]
    fn nobody_hears_what_is_for_nobody_and_a_site_can_shut_udp_out() {
        let link = LinkConfig::default();
        let mut fabric = Fabric::new(&Plan {
            seed: 1,
            sites: vec![
                Site::public([5, 0, 0, 1], link),
                Site::public([5, 0, 0, 2], link).without_udp(),
            ],
        });
        assert_eq!(fabric.send(0, udp("5.0.0.1:1", "5.0.0.9:1"), MS), None);
        assert_eq!(fabric.send(0, udp("5.0.0.1:1", "5.0.0.2:1"), MS), None);
        assert_eq!(fabric.send(1, udp("5.0.0.2:1", "5.0.0.1:1"), MS), None);
        let tcp = packet(Transport::Tcp, "5.0.0.1:1", "5.0.0.2:1");
        assert!(fabric.send(0, tcp, MS).is_some());
        assert_eq!(fabric.send(7, Vec::new(), MS), None);
        let counts = fabric.counts();
        assert_eq!((counts.carried, counts.lost, counts.refused), (1, 0, 4));
    }
}
