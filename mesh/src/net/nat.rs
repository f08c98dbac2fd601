//! What kind of box is between this process and the internet, in the words of RFC 4787:
//! judged by what several peers saw. Pure.
//!
//! What a box lets in (its filtering) cannot be told by what goes out: whether this process
//! is reached from outside, AutoNAT v2 finds out.

use std::net::{IpAddr, SocketAddr};

use super::report::{Observed, Transport};

/// How a box gives its ports to those inside (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// There is no box: others see this machine's own address.
    None,
    /// One port for all that is spoken to: a hole can be punched.
    EndpointIndependent,
    /// Another port for each address that is spoken to.
    AddressDependent,
    /// Another port for each address and port that is spoken to.
    AddressAndPortDependent,
    /// Another port for each that is spoken to; by what, too few peers tell.
    Dependent,
}

/// Why it cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untold {
    /// No peer was reached over this transport.
    NoPeer,
    /// Whoever was reached is on this machine or in the same private network, so no box is
    /// between.
    Near,
    /// One peer alone saw this process come, or several at one address: whether another would
    /// see the same port is not known.
    OnePeer,
}

/// What peers saw over one transport.
pub type Judged = Result<Mapping, Untold>;

/// Judges what peers saw over a transport. `own` has the addresses of this machine's
/// interfaces.
///
/// # Errors
/// Why it cannot be told.
pub(crate) fn judge(observed: &[Observed], transport: Transport, own: &[IpAddr]) -> Judged {
    let over: Vec<&Observed> = observed
        .iter()
        .filter(|one| one.transport == transport)
        .collect();
    if over.is_empty() {
        return Err(Untold::NoPeer);
    }
    let is_own = |at: &IpAddr| at.is_loopback() || own.contains(at);
    let (plain, translated): (Vec<&Observed>, Vec<&Observed>) =
        over.into_iter().partition(|one| is_own(&one.seen.ip()));
    // A peer nearby sees an address that is private; only one far away tells of a box.
    if translated.is_empty() {
        let public = plain.iter().any(|one| is_public(one.seen.ip()));
        return if public {
            Ok(Mapping::None)
        } else {
            Err(Untold::Near)
        };
    }
    // The boxes of the two families have nothing to do with each other.
    let v4: Vec<&Observed> = translated
        .iter()
        .copied()
        .filter(|one| one.seen.is_ipv4())
        .collect();
    of_family(if v4.is_empty() { &translated } else { &v4 })
}

fn of_family(seen: &[&Observed]) -> Judged {
    let pairs = || {
        let rest = |n: usize| seen.iter().skip(n + 1);
        seen.iter()
            .enumerate()
            .flat_map(move |(n, one)| rest(n).map(move |other| (*one, *other)))
    };
    let apart = |one: &Observed, other: &Observed| one.peer.ip() != other.peer.ip();
    if pairs().any(|(one, other)| one.seen != other.seen) {
        let of_port = pairs().any(|(one, other)| {
            !apart(one, other) && one.peer != other.peer && one.seen != other.seen
        });
        let not_of_port = pairs().any(|(one, other)| {
            !apart(one, other) && one.peer != other.peer && one.seen == other.seen
        });
        return Ok(match (of_port, not_of_port) {
            (true, _) => Mapping::AddressAndPortDependent,
            (false, true) => Mapping::AddressDependent,
            (false, false) => Mapping::Dependent,
        });
    }
    if pairs().any(|(one, other)| apart(one, other)) {
        Ok(Mapping::EndpointIndependent)
    } else {
        Err(Untold::OnePeer)
    }
}

/// The addresses of this machine among those that it listens on.
#[must_use]
pub(crate) fn own_addresses(listening: &[String]) -> Vec<IpAddr> {
    let sockets = listening.iter().filter_map(|at| super::socket_of(at));
    sockets.map(|(_, at)| SocketAddr::ip(&at)).collect()
}

/// Whether an address is one of the whole internet's.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    super::address::is_public(&libp2p::Multiaddr::from(ip))
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    const OWN: &str = "192.168.1.2";

    fn saw(peers: &[(&str, &str)]) -> Vec<Observed> {
        let one = |(number, (peer, seen)): (usize, &(&str, &str))| Observed {
            by: Keypair::from_seed(&[u8::try_from(number).unwrap(); 32]).peer_id(),
            transport: Transport::Udp,
            peer: peer.parse().unwrap(),
            seen: seen.parse().unwrap(),
        };
        peers.iter().enumerate().map(one).collect()
    }

    fn judged(peers: &[(&str, &str)]) -> Judged {
        judge(&saw(peers), Transport::Udp, &[OWN.parse().unwrap()])
    }

    #[test]
    fn a_port_that_all_see_is_independent_of_them() {
        let both = [("5.0.0.1:1", "5.9.9.9:4001"), ("5.0.0.2:1", "5.9.9.9:4001")];
        assert_eq!(judged(&both), Ok(Mapping::EndpointIndependent));
    }

    #[test]
    fn ports_that_differ_depend_on_what_the_peers_differ_in() {
        let two = [("5.0.0.1:1", "5.9.9.9:7"), ("5.0.0.2:1", "5.9.9.9:8")];
        assert_eq!(judged(&two), Ok(Mapping::Dependent));
        let same_host = [("5.0.0.1:1", "5.9.9.9:7"), ("5.0.0.1:2", "5.9.9.9:8")];
        assert_eq!(judged(&same_host), Ok(Mapping::AddressAndPortDependent));
        let by_host = [
            ("5.0.0.1:1", "5.9.9.9:7"),
            ("5.0.0.1:2", "5.9.9.9:7"),
            ("5.0.0.2:1", "5.9.9.9:8"),
        ];
        assert_eq!(judged(&by_host), Ok(Mapping::AddressDependent));
    }

    #[test]
    fn a_machine_that_is_seen_as_it_is_has_no_box() {
        let public: IpAddr = "5.0.1.1".parse().unwrap();
        let seen = saw(&[("5.0.0.1:1", "5.0.1.1:4001")]);
        assert_eq!(judge(&seen, Transport::Udp, &[public]), Ok(Mapping::None));
        assert_eq!(judge(&seen, Transport::Tcp, &[public]), Err(Untold::NoPeer));
    }

    #[test]
    fn what_cannot_be_told_says_why() {
        assert_eq!(judged(&[]), Err(Untold::NoPeer));
        let one = [("5.0.0.1:1", "5.9.9.9:7")];
        assert_eq!(judged(&one), Err(Untold::OnePeer));
        let one_host = [("5.0.0.1:1", "5.9.9.9:7"), ("5.0.0.1:2", "5.9.9.9:7")];
        assert_eq!(judged(&one_host), Err(Untold::OnePeer));
        let near = [
            ("192.168.1.3:1", "192.168.1.2:7"),
            ("127.0.0.1:1", "127.0.0.1:7"),
        ];
        assert_eq!(judged(&near), Err(Untold::Near));
        // A neighbour beside one far away says nothing of the box.
        let mixed = [near[0], one[0]];
        assert_eq!(judged(&mixed), Err(Untold::OnePeer));
    }

    #[test]
    fn the_two_families_are_not_mixed() {
        let both = [
            ("5.0.0.1:1", "5.9.9.9:7"),
            ("5.0.0.2:1", "5.9.9.9:7"),
            ("[2a00::1]:1", "[2a01::9]:7"),
        ];
        assert_eq!(judged(&both), Ok(Mapping::EndpointIndependent));
    }
}
