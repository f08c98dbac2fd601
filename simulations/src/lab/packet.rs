//! Addresses and ports of a packet with UDP or TCP in it: read, and changed in place where it
//! is one of IPv4. Nobody translates those of IPv6.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6};

use etherparse::{
    IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, UdpHeaderSlice, ip_number,
};

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// Between whom a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<A = SocketAddrV4> {
    /// Over what.
    pub transport: Transport,
    /// Its sender.
    pub from: A,
    /// Its receiver.
    pub to: A,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its sender.
    From,
    /// Its receiver.
    To,
}

/// Between whom a packet goes; nothing for what is neither UDP nor TCP over IPv4, and for a
/// piece of a packet.
#[must_use]
pub fn flow(packet: &[u8]) -> Option<Flow> {
    let ip = Ipv4HeaderSlice::from_slice(packet).ok()?;
    if ip.is_fragmenting_payload() {
        return None;
    }
    let (transport, from, to) = ports(ip.protocol(), packet.get(ip.slice().len()..)?)?;
    Some(Flow {
        transport,
        from: SocketAddrV4::new(ip.source_addr(), from),
        to: SocketAddrV4::new(ip.destination_addr(), to),
    })
}

/// The same over IPv6, and nothing for a packet with headers between the two.
#[must_use]
pub fn flow6(packet: &[u8]) -> Option<Flow<SocketAddrV6>> {
    let ip = Ipv6HeaderSlice::from_slice(packet).ok()?;
    let (transport, from, to) = ports(ip.next_header(), packet.get(ip.slice().len()..)?)?;
    Some(Flow {
        transport,
        from: SocketAddrV6::new(ip.source_addr(), from, 0, 0),
        to: SocketAddrV6::new(ip.destination_addr(), to, 0, 0),
    })
}

/// What is carried, from which port and to which.
fn ports(protocol: IpNumber, rest: &[u8]) -> Option<(Transport, u16, u16)> {
    match protocol {
        ip_number::UDP => {
            let udp = UdpHeaderSlice::from_slice(rest).ok()?;
            Some((Transport::Udp, udp.source_port(), udp.destination_port()))
        }
        ip_number::TCP => {
            let tcp = TcpHeaderSlice::from_slice(rest).ok()?;
            Some((Transport::Tcp, tcp.source_port(), tcp.destination_port()))
        }
        _ => None,
    }
}

/// To whom any packet goes.
#[must_use]
pub fn receiver(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => receiver4(packet).map(IpAddr::V4),
        6 => {
            let ip = Ipv6HeaderSlice::from_slice(packet).ok()?;
            Some(IpAddr::V6(ip.destination_addr()))
        }
        _ => None,
    }
}

/// To whom a packet over IPv4 goes.
#[must_use]
pub fn receiver4(packet: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4HeaderSlice::from_slice(packet).ok()?.destination_addr())
}

/// Puts another address and port in, and makes the checksums right. A packet without a
/// [`flow`] stays as it is.
pub fn rewrite(packet: &mut [u8], end: End, with: SocketAddrV4) {
    let Some(old) = flow(packet) else { return };
    let Ok(ip) = Ipv4HeaderSlice::from_slice(packet) else {
        return;
    };
    let head = ip.slice().len();
    let (address, port) = match end {
        End::From => (12, head),
        End::To => (16, head + 2),
    };
    packet[address..address + 4].copy_from_slice(&with.ip().octets());
    packet[port..port + 2].copy_from_slice(&with.port().to_be_bytes());
    let Ok(ip) = Ipv4HeaderSlice::from_slice(packet) else {
        return;
    };
    let rest = &packet[head..];
    let (at, sum) = match old.transport {
        Transport::Udp => {
            let Ok(udp) = UdpHeaderSlice::from_slice(rest) else {
                return;
            };
            let data = &rest[udp.slice().len()..];
            let sum = udp
                .to_header()
                .calc_checksum_ipv4_raw(ip.source(), ip.destination(), data);
            (head + 6, sum)
        }
        Transport::Tcp => {
            let Ok(tcp) = TcpHeaderSlice::from_slice(rest) else {
                return;
            };
            let data = &rest[tcp.slice().len()..];
            (head + 16, tcp.calc_checksum_ipv4(&ip, data))
        }
    };
    let head_sum = ip.to_header().calc_header_checksum();
    // Only a packet of over 64 KiB has none, and IPv4 has no such packets.
    let sum = sum.unwrap_or_default();
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet[10..12].copy_from_slice(&head_sum.to_be_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};

    use super::*;

    pub(crate) fn at(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    pub(crate) fn packet(transport: Transport, from: &str, to: &str) -> Vec<u8> {
        let (from, to) = (at(from), at(to));
        let ip = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64);
        with_hello(ip, transport, from.port(), to.port())
    }

    pub(crate) fn packet6(transport: Transport, from: &str, to: &str) -> Vec<u8> {
        let (from, to): (SocketAddrV6, SocketAddrV6) = (from.parse().unwrap(), to.parse().unwrap());
        let ip = PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 64);
        with_hello(ip, transport, from.port(), to.port())
    }

    fn with_hello(
        ip: PacketBuilderStep<IpHeaders>,
        transport: Transport,
        from: u16,
        to: u16,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        match transport {
            Transport::Udp => ip.udp(from, to).write(&mut bytes, b"hello").unwrap(),
            Transport::Tcp => ip
                .tcp(from, to, 77, 1024)
                .write(&mut bytes, b"hello")
                .unwrap(),
        }
        bytes
    }

    #[test]
    fn a_packet_of_ipv6_says_between_whom_it_goes() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let bytes = packet6(transport, "[2a00::1]:4000", "[2a01::1]:80");
            let flow = flow6(&bytes).unwrap();
            assert_eq!(flow.transport, transport);
            assert_eq!(flow.from, "[2a00::1]:4000".parse().unwrap());
            assert_eq!(flow.to, "[2a01::1]:80".parse().unwrap());
            assert_eq!(receiver(&bytes), Some("2a01::1".parse().unwrap()));
            for cut in 0..48 {
                assert_eq!(flow6(&bytes[..cut]), None, "{cut}");
            }
        }
        let four = packet(Transport::Udp, "192.168.1.2:4000", "5.0.0.1:80");
        assert_eq!(flow6(&four), None);
        assert_eq!(receiver(&four), Some("5.0.0.1".parse().unwrap()));
        assert_eq!(receiver(&[]), None);
    }

    #[test]
    fn a_changed_packet_is_the_one_that_would_have_been_made() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut bytes = packet(transport, "192.168.1.2:4000", "5.0.0.1:80");
            rewrite(&mut bytes, End::From, at("5.9.9.9:61000"));
            assert_eq!(bytes, packet(transport, "5.9.9.9:61000", "5.0.0.1:80"));
            rewrite(&mut bytes, End::To, at("10.0.0.7:443"));
            assert_eq!(bytes, packet(transport, "5.9.9.9:61000", "10.0.0.7:443"));
        }
    }

    #[test]
    fn what_is_no_packet_has_no_flow_and_is_left_alone() {
        let whole = packet(Transport::Tcp, "192.168.1.2:4000", "5.0.0.1:80");
        for cut in 0..40 {
            let mut bytes = whole[..cut].to_vec();
            assert_eq!(flow(&bytes), None, "{cut}");
            rewrite(&mut bytes, End::From, at("5.9.9.9:61000"));
            assert_eq!(bytes, whole[..cut]);
        }
        assert_eq!(flow(&[0x60; 60]), None);
    }
}
