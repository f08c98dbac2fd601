//! Between our ids and addresses and libp2p's. The only place that converts them.

use std::net::IpAddr;

use embermesh_crypto::ids::PeerId;
use libp2p::{Multiaddr, multiaddr::Protocol};

use super::MeshError;

/// A libp2p peer id that carries an ed25519 key inline: the identity multihash (0,
/// 36 bytes) of a protobuf key of type ed25519 (8, 1) with 32 bytes (18, 32).
const ED25519_MULTIHASH_HEAD: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Addresses believed of one peer, so that nobody fills a table with one peer.
pub(crate) const MAX_ADDRESSES_PER_PEER: usize = 12;

/// Our form of a libp2p peer id; `None` for a key that is not ed25519.
pub(crate) fn ours(peer: &libp2p::PeerId) -> Option<PeerId> {
    let bytes = peer.to_bytes();
    let key: [u8; 32] = bytes
        .strip_prefix(&ED25519_MULTIHASH_HEAD)?
        .try_into()
        .ok()?;
    PeerId::from_public_key(&key).ok()
}

/// libp2p's form of our peer id.
pub(crate) fn theirs(peer: &PeerId) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(&peer.to_multihash())
        .expect("an ed25519 key in an identity multihash: is a peer id by construction")
}

/// Parses a multiaddr as a person wrote it.
pub(crate) fn parse(text: &str) -> Result<Multiaddr, MeshError> {
    text.parse().map_err(
        |error: libp2p::multiaddr::Error| MeshError::InvalidAddress {
            text: text.to_owned(),
            reason: error.to_string(),
        },
    )
}

/// Splits `/p2p/<peer>` off the end of an address.
pub(crate) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<libp2p::PeerId>) {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (address, Some(peer))
        }
        _ => (address, None),
    }
}

/// Whether only this machine can dial the address.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        // Canonical, because an IPv4 address can be dressed as one of IPv6.
        Protocol::Ip6(ip) => IpAddr::V6(ip).to_canonical().is_loopback(),
        // Not even another process can; only a simulation listens on one.
        Protocol::Memory(_) => true,
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            name == "localhost" || name.ends_with(".localhost")
        }
        _ => false,
    })
}

/// Whether nobody can dial the address.
fn is_unspecified(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => IpAddr::V6(ip).to_canonical().is_unspecified(),
        Protocol::Tcp(port) | Protocol::Udp(port) => port == 0,
        _ => false,
    })
}

/// Whether an address of IPv6 is that of a link alone: it takes the name of an interface to
/// dial one, which is another on every machine.
fn is_of_a_link(address: &Multiaddr) -> bool {
    let is_of_a_link = |part| matches!(part, Protocol::Ip6(ip) if ip.is_unicast_link_local());
    address.iter().next().is_some_and(is_of_a_link)
}

/// Whether a process with these addresses, and these neighbours over loopback or not,
/// is part of a mesh of this machine alone. Elsewhere a loopback address of another
/// process leads back to this machine, and to whatever listens there.
pub(crate) fn is_local<'a>(
    own: impl IntoIterator<Item = &'a Multiaddr>,
    neighbours_over_loopback: impl IntoIterator<Item = bool>,
) -> bool {
    own.into_iter().all(is_loopback) && neighbours_over_loopback.into_iter().all(|over| over)
}

/// The addresses of a peer that are worth dialling from here, without its id. A
/// loopback address counts only where the peer was seen over loopback, or where this
/// process [`is_local`]: elsewhere it would lead back to this machine.
pub(crate) fn dialable(
    addresses: impl IntoIterator<Item = Multiaddr>,
    over_loopback: bool,
) -> Vec<Multiaddr> {
    let mut kept = Vec::new();
    for address in addresses {
        let (address, _) = split_peer(address);
        let usable = !is_unspecified(&address)
            && !is_of_a_link(&address)
            && circuits(&address) < 2
            && (over_loopback || !is_loopback(&address));
        if usable && !kept.contains(&address) && kept.len() < MAX_ADDRESSES_PER_PEER {
            kept.push(address);
        }
    }
    kept
}

/// The addresses to advertise: those given from outside first, then what is
/// listened on, the likeliest to be reached first; loopback only where there is nothing
/// else.
pub(crate) fn advertised(external: &[Multiaddr], listening: &[Multiaddr]) -> Vec<Multiaddr> {
    let mut listening = listening.to_vec();
    listening.sort_by_key(|address| match address {
        address if is_circuit(address) => 1,
        address if is_public(address) => 0,
        _ => 2,
    });
    let all = dialable(external.iter().cloned().chain(listening), true);
    let (local, wide): (Vec<_>, Vec<_>) = all.into_iter().partition(is_loopback);
    if wide.is_empty() { local } else { wide }
}

/// Whether an address goes through a relay.
pub(crate) fn is_circuit(address: &Multiaddr) -> bool {
    circuits(address) > 0
}

/// Through how many relays an address goes. A relay names all of its addresses, also those
/// at which it is relayed itself; nobody carries through two.
fn circuits(address: &Multiaddr) -> usize {
    let parts = address.iter();
    parts
        .filter(|part| matches!(part, Protocol::P2pCircuit))
        .count()
}

/// Whether an address is one of the whole internet's, by its number.
pub(crate) fn is_public(address: &Multiaddr) -> bool {
    let is_public = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // Beside the well-known ones, that of carriers' boxes (RFC 6598).
            let is_shared = a == 100 && b & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_documentation()
                || ip.is_multicast()
                || ip.is_broadcast()
                || is_shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    };
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => is_public(ip.into()),
        Some(Protocol::Ip6(ip)) => is_public(ip.into()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::keys::Keypair;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| parse(text).unwrap()).collect()
    }

    #[test]
    fn peer_ids_go_there_and_back() {
        for seed in 0..20 {
            let peer = Keypair::from_seed(&[seed; 32]).peer_id();
            let other = theirs(&peer);
            assert_eq!(other.to_string(), peer.to_string());
            assert_eq!(ours(&other), Some(peer));
        }
    }

    #[test]
    fn loopback_is_kept_only_where_it_means_the_same_machine() {
        let both = addresses(&[
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/192.0.2.7/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
        ]);
        assert_eq!(dialable(both.clone(), true).len(), 2);
        assert_eq!(
            dialable(both.clone(), false),
            addresses(&["/ip4/192.0.2.7/tcp/1"])
        );
        let dressed = addresses(&[
            "/ip6/::1/tcp/1",
            "/ip6/::ffff:127.0.0.1/tcp/1",
            "/dns4/localhost/tcp/1",
            "/ip6/::ffff:0.0.0.0/tcp/1",
        ]);
        assert!(dialable(dressed, false).is_empty());
        let of_links = addresses(&["/ip6/fe80::1/tcp/1", "/ip6/fe80::1/udp/1/quic-v1"]);
        assert!(dialable(of_links, true).is_empty());
        assert_eq!(advertised(&[], &both), addresses(&["/ip4/192.0.2.7/tcp/1"]));
        assert_eq!(advertised(&[], &both[..1]), both[..1]);
    }

    #[test]
    fn a_process_is_local_while_nothing_about_it_is_elsewhere() {
        let own = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"]);
        assert!(is_local(&own, [true, true]));
        assert!(is_local(&[], []));
        assert!(!is_local(&own, [true, false]));
        let wide = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.7/tcp/1"]);
        assert!(!is_local(&wide, []));
        assert!(!is_local(&addresses(&["/dns/node.example/tcp/1"]), []));
    }

    #[test]
    fn what_is_likeliest_to_be_reached_is_advertised_first() {
        let relay = "/ip4/5.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let listening = addresses(&[
            "/ip4/192.168.1.2/tcp/1",
            &format!("{relay}/p2p-circuit"),
            "/ip4/5.9.9.9/tcp/1",
        ]);
        let external = addresses(&["/dns/node.example/tcp/1"]);
        let expected = addresses(&[
            "/dns/node.example/tcp/1",
            "/ip4/5.9.9.9/tcp/1",
            &format!("{relay}/p2p-circuit"),
            "/ip4/192.168.1.2/tcp/1",
        ]);
        assert_eq!(advertised(&external, &listening), expected);
        for private in ["10.0.0.1", "100.64.0.1", "169.254.1.1", "192.0.2.1"] {
            assert!(!is_public(
                &addresses(&[&format!("/ip4/{private}/tcp/1")])[0]
            ));
        }
        for (ip, public) in [("2a00::1", true), ("fd00::1", false), ("fe80::1", false)] {
            assert_eq!(
                is_public(&addresses(&[&format!("/ip6/{ip}/tcp/1")])[0]),
                public
            );
        }
    }

    #[test]
    fn one_peer_has_a_bounded_number_of_addresses() {
        let many = (1..200u16).map(|port| parse(&format!("/ip4/192.0.2.1/tcp/{port}")).unwrap());
        assert_eq!(dialable(many, false).len(), MAX_ADDRESSES_PER_PEER);
    }

    #[test]
    fn a_bad_address_is_named() {
        let error = parse("localhost:4001").unwrap_err().to_string();
        assert!(
            error.contains("localhost:4001") && error.contains("/ip4/"),
            "{error}"
        );
    }
}
