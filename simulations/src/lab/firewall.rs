//! What stands before the IPv6 addresses of a home: nothing is translated, and nobody is let
//! in who was not spoken to (RFC 6092, endpoint-dependent filtering).

use std::{collections::BTreeMap, net::SocketAddrV6, time::Duration};

use super::packet::{Flow, Transport};

/// How long somebody may answer, over UDP (RFC 6092, REC-14).
const UDP_LIFE: Duration = Duration::from_secs(120);
/// The same over TCP (REC-35, an established connection).
const TCP_LIFE: Duration = Duration::from_secs(2 * 60 * 60 + 4 * 60);

/// Who spoke with whom over what: a host inside, then somebody outside.
type Pair = (Transport, SocketAddrV6, SocketAddrV6);

/// A firewall. Times are since some beginning.
#[derive(Clone, Debug, Default)]
pub struct Firewall {
    /// When something last went out.
    spoken: BTreeMap<Pair, Duration>,
}

impl Firewall {
    /// A packet leaves.
    pub fn out(&mut self, flow: Flow<SocketAddrV6>, now: Duration) {
        self.spoken
            .insert((flow.transport, flow.from, flow.to), now);
    }

    /// Whether a packet from outside is let in.
    #[must_use]
    pub fn lets_in(&self, flow: Flow<SocketAddrV6>, now: Duration) -> bool {
        let life = match flow.transport {
            Transport::Udp => UDP_LIFE,
            Transport::Tcp => TCP_LIFE,
        };
        let spoken = self.spoken.get(&(flow.transport, flow.to, flow.from));
        spoken.is_some_and(|at| now.saturating_sub(*at) < life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_spoken_to_is_let_in_and_not_for_ever() {
        let flow = |transport, from: &str, to: &str| Flow {
            transport,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        let (home, there) = ("[2a00::1]:9", "[2a01::1]:80");
        let now = Duration::from_secs(7);
        let mut firewall = Firewall::default();
        firewall.out(flow(Transport::Udp, home, there), now);
        let answer = flow(Transport::Udp, there, home);
        assert!(firewall.lets_in(answer, now));
        assert!(!firewall.lets_in(answer, now + UDP_LIFE));
        assert!(!firewall.lets_in(flow(Transport::Tcp, there, home), now));
        assert!(!firewall.lets_in(flow(Transport::Udp, "[2a01::1]:81", home), now));
        assert!(!firewall.lets_in(flow(Transport::Udp, there, "[2a00::1]:8"), now));
    }
}
