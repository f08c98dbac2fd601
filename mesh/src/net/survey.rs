//! A look around: dials peers over TCP and over UDP, one by one, so that each says how it
//! saw this process come. What came of it tells a box that shuts UDP from peers that are
//! gone, and a box that gives each peer another port from one that does not.

use std::{collections::BTreeMap, time::Duration};

use embermesh_crypto::ids::PeerId;
use futures::{StreamExt as _, stream};
use libp2p::{Multiaddr, multiaddr::Protocol};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Judged, Mesh, MeshError, Observed, Transport, address,
    dialing::Seeds,
    nat::{self, own_addresses},
};

/// Peers that are asked.
const MAX_ASKED: usize = 6;
/// Addresses of a peer that are tried over one transport.
const ADDRESSES_EACH: usize = 2;
/// Dials at one time.
const AT_ONCE: usize = 8;
/// How long a peer that is connected may take to say how it saw us come.
const WORD_TIME: Duration = Duration::from_secs(2);

/// One peer that was dialled over one transport.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Whom.
    pub peer: PeerId,
    /// Over what.
    pub transport: Transport,
    /// What came of it.
    pub result: Result<(), MeshError>,
}

/// What a look around has shown.
#[derive(Debug, Clone)]
pub struct Survey {
    /// How TCP connections get through the box.
    pub tcp: Judged,
    /// The same for UDP.
    pub udp: Judged,
    /// Every dial that was made for it.
    pub tried: Vec<Tried>,
    /// How peers saw this process come.
    pub observed: Vec<Observed>,
}

impl Survey {
    /// Whether UDP goes nowhere: nobody was reached over it, though some who offer it were
    /// reached over TCP.
    #[must_use]
    pub fn is_udp_shut(&self) -> bool {
        let over_udp = self
            .observed
            .iter()
            .any(|one| one.transport == Transport::Udp);
        let over = |transport| {
            let tried = self.tried.iter();
            tried.filter(move |one| one.transport == transport)
        };
        let reached = |peer: &PeerId| {
            self.observed.iter().any(|one| one.by == *peer)
                || over(Transport::Tcp).any(|one| one.peer == *peer && one.result.is_ok())
        };
        let mut udp = over(Transport::Udp).peekable();
        !over_udp
            && udp.peek().is_some()
            && udp.all(|one| one.result.is_err())
            && over(Transport::Udp).any(|one| reached(&one.peer))
    }
}

/// Who a bootstrap address leads to.
///
/// # Errors
/// When it is no multiaddr, or names no peer.
pub fn bootstrap_peer(text: &str) -> Result<PeerId, MeshError> {
    Seeds::parse(&[text.to_owned()], std::time::Instant::now())?
        .ids()
        .next()
        .ok_or_else(|| MeshError::BootstrapWithoutPeer(text.to_owned()))
}

/// Whom to dial, over what, at which addresses.
type Plan = BTreeMap<(PeerId, Transport), Vec<Multiaddr>>;

impl Mesh {
    /// Looks around for `within` at most: at peers of `known`, which are multiaddrs with
    /// `/p2p/PEER`, and those that are connected or in the table.
    pub async fn survey(&self, known: &[String], within: Duration) -> Survey {
        let deadline = Instant::now() + within;
        let plan = self.plan(known);
        let mut tried = Vec::new();
        let dials = stream::iter(plan.into_iter().map(|((peer, transport), addresses)| {
            let mesh = self.clone();
            async move {
                Tried {
                    peer,
                    transport,
                    result: mesh.dial_any(peer, &addresses).await,
                }
            }
        }));
        let mut dials = std::pin::pin!(dials.buffer_unordered(AT_ONCE));
        // Whoever has not answered by then is not waited for.
        while let Ok(Some(one)) = timeout_at(deadline, dials.next()).await {
            tried.push(one);
        }
        self.until_said(&tried, deadline.min(Instant::now() + WORD_TIME))
            .await;
        let view = self.reach().borrow().clone();
        let own = own_addresses(&view.listening);
        Survey {
            tcp: nat::judge(&view.observed, Transport::Tcp, &own),
            udp: nat::judge(&view.observed, Transport::Udp, &own),
            tried,
            observed: view.observed,
        }
    }

    /// The peers to ask, each by both transports, unless it has said already.
    fn plan(&self, known: &[String]) -> Plan {
        let mut all: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        let mut order = Vec::new();
        let mut add = |peer: PeerId, texts: &[String]| {
            if peer == self.peer_id() {
                return;
            }
            if !order.contains(&peer) {
                order.push(peer);
            }
            let parsed = texts.iter().filter_map(|text| text.parse().ok());
            all.entry(peer)
                .or_default()
                .extend(parsed.map(|at| address::split_peer(at).0));
        };
        for text in known {
            if let Ok(peer) = bootstrap_peer(text) {
                add(peer, std::slice::from_ref(text));
            }
        }
        for view in self.peers() {
            add(view.peer, &view.addresses);
        }
        for advert in self.adverts() {
            if let Some(at) = self.address_of(advert.peer) {
                add(advert.peer, &at.mesh);
            }
        }
        let said = self.reach().borrow().observed.clone();
        let mut plan = Plan::new();
        for peer in order.into_iter().take(MAX_ASKED) {
            for at in all.remove(&peer).into_iter().flatten() {
                let Some(transport) = transport_of(&at) else {
                    continue;
                };
                if said
                    .iter()
                    .any(|one| (one.by, one.transport) == (peer, transport))
                {
                    continue;
                }
                let addresses = plan.entry((peer, transport)).or_default();
                if addresses.len() < ADDRESSES_EACH && !addresses.contains(&at) {
                    addresses.push(at);
                }
            }
        }
        plan
    }

    /// A new connection with a peer by the first address that leads to it.
    async fn dial_any(&self, peer: PeerId, addresses: &[Multiaddr]) -> Result<(), MeshError> {
        let mut last = MeshError::NoAddress(peer);
        for at in addresses {
            // Without the peer's name in it, so that it is dialled though it is connected.
            match self.dial(&at.to_string()).await {
                Ok(found) if found == peer => return Ok(()),
                Ok(found) => {
                    last = MeshError::Unreachable {
                        peer: peer.to_string(),
                        reason: format!("at {at} answers {found}, which is another peer"),
                    };
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Waits until those who were reached have said how they saw this process come.
    async fn until_said(&self, tried: &[Tried], deadline: Instant) {
        let mut reach = self.reach();
        let all_said = reach.wait_for(|view| {
            let said = |one: &Tried| {
                let word = (one.peer, one.transport);
                view.observed
                    .iter()
                    .any(|saw| (saw.by, saw.transport) == word)
            };
            tried.iter().filter(|one| one.result.is_ok()).all(said)
        });
        let _ = timeout(deadline.saturating_duration_since(Instant::now()), all_said).await;
    }
}

/// What is to be dialled over, where it is no relay.
fn transport_of(at: &Multiaddr) -> Option<Transport> {
    if address::is_circuit(at) {
        return None;
    }
    at.iter().find_map(|part| match part {
        Protocol::Tcp(_) => Some(Transport::Tcp),
        Protocol::QuicV1 => Some(Transport::Udp),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;
    use crate::net::Untold;

    fn peer(number: u8) -> PeerId {
        Keypair::from_seed(&[number; 32]).peer_id()
    }

    fn tried(number: u8, transport: Transport, ok: bool) -> Tried {
        Tried {
            peer: peer(number),
            transport,
            result: if ok { Ok(()) } else { Err(MeshError::Closed) },
        }
    }

    fn survey(tried: Vec<Tried>, observed: Vec<Observed>) -> Survey {
        Survey {
            tcp: Err(Untold::NoPeer),
            udp: Err(Untold::NoPeer),
            tried,
            observed,
        }
    }

    #[test]
    fn udp_is_shut_where_nobody_answers_over_it_who_answers_over_tcp() {
        let shut = vec![
            tried(1, Transport::Tcp, true),
            tried(1, Transport::Udp, false),
        ];
        assert!(survey(shut.clone(), Vec::new()).is_udp_shut());
        // A peer that is gone altogether says nothing of UDP.
        let gone = vec![
            tried(1, Transport::Tcp, false),
            tried(1, Transport::Udp, false),
        ];
        assert!(!survey(gone, Vec::new()).is_udp_shut());
        let some = [shut, vec![tried(2, Transport::Udp, true)]].concat();
        assert!(!survey(some, Vec::new()).is_udp_shut());
        // Nobody was asked over UDP.
        let unasked = vec![tried(1, Transport::Tcp, true)];
        assert!(!survey(unasked, Vec::new()).is_udp_shut());
    }

    #[test]
    fn addresses_are_of_the_transport_that_they_are_dialled_over() {
        let of = |text: &str| transport_of(&text.parse().unwrap());
        assert_eq!(of("/ip4/5.0.0.1/tcp/1"), Some(Transport::Tcp));
        assert_eq!(of("/dns4/a.example/udp/1/quic-v1"), Some(Transport::Udp));
        let circuit = format!("/ip4/5.0.0.1/tcp/1/p2p/{}/p2p-circuit", peer(1));
        assert_eq!(of(&circuit), None);
    }

    #[test]
    fn a_bootstrap_address_names_its_peer() {
        let text = format!("/ip4/5.0.0.1/tcp/1/p2p/{}", peer(3));
        assert_eq!(bootstrap_peer(&text), Ok(peer(3)));
        let error = bootstrap_peer("/ip4/5.0.0.1/tcp/1").unwrap_err();
        assert!(error.to_string().contains("/p2p/"), "{error}");
        assert!(bootstrap_peer("5.0.0.1:1").is_err());
    }
}
