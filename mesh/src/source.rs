//! Whom an address of the internet stands for, where places are shared out by source.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that name whom it was given to: the rest is theirs to vary.
const IPV6_SOURCE_BITS: u32 = 64;

/// The address itself, or the network that one customer is given. A loopback stays one.
pub(crate) fn source_of(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let network = ip.to_bits() >> (128 - IPV6_SOURCE_BITS) << (128 - IPV6_SOURCE_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        assert_eq!(source_of(ip("2001:db8::1")), source_of(ip("2001:db8::2:3")));
        assert_ne!(
            source_of(ip("2001:db8::1")),
            source_of(ip("2001:db8:0:1::1"))
        );
        assert_eq!(source_of(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        assert_eq!(source_of(ip("::1")), ip("::1"));
    }
}
