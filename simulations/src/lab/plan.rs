//! Which hosts there are, and behind what.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{LinkConfig, NatKind};

/// A machine, with a link to its site's edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its address.
    pub address: Ipv4Addr,
    /// One of IPv6 beside it, which is the whole network's.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// What it sends goes by this.
    #[serde(default)]
    pub up: LinkConfig,
    /// What it receives comes by this.
    #[serde(default)]
    pub down: LinkConfig,
}

/// Hosts that reach each other without a box between them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The box before it and its address; nothing where the hosts' addresses are public.
    #[serde(default)]
    pub nat: Option<(NatKind, Ipv4Addr)>,
    /// Whether a firewall stands before its addresses of IPv6, which lets nobody in who was
    /// not spoken to.
    #[serde(default)]
    pub firewall: bool,
    /// Whether UDP passes its edge.
    #[serde(default = "yes")]
    pub udp: bool,
    /// Its machines.
    pub hosts: Vec<Host>,
}

const fn yes() -> bool {
    true
}

/// A whole network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What everything that is drawn is drawn from.
    #[serde(default)]
    pub seed: u64,
    /// Its sites.
    pub sites: Vec<Site>,
}

impl Site {
    /// One host with a public address.
    #[must_use]
    pub fn public(address: [u8; 4], link: LinkConfig) -> Self {
        Self {
            nat: None,
            firewall: false,
            udp: true,
            hosts: vec![Host::new(address, link)],
        }
    }

    /// One host behind a box.
    #[must_use]
    pub fn behind(kind: NatKind, outside: [u8; 4], host: [u8; 4], link: LinkConfig) -> Self {
        Self {
            nat: Some((kind, outside.into())),
            firewall: false,
            udp: true,
            hosts: vec![Host::new(host, link)],
        }
    }

    /// The same with an address of IPv6 for each host, the first of which is this one.
    #[must_use]
    pub fn with_ipv6(mut self, first: Ipv6Addr) -> Self {
        for (host, address) in self.hosts.iter_mut().zip(first.to_bits()..) {
            host.address6 = Some(Ipv6Addr::from_bits(address));
        }
        self
    }

    /// The same with a firewall before these addresses.
    #[must_use]
    pub fn with_firewall(self) -> Self {
        Self {
            firewall: true,
            ..self
        }
    }

    /// The same without UDP.
    #[must_use]
    pub fn without_udp(self) -> Self {
        Self { udp: false, ..self }
    }
}

impl Host {
    /// A host with the same link both ways.
    #[must_use]
    pub fn new(address: [u8; 4], link: LinkConfig) -> Self {
        Self {
            address: address.into(),
            address6: None,
            up: link,
            down: link,
        }
    }
}
