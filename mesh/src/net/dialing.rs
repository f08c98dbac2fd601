//! Whom to dial and when: bootstrap peers for ever, with a growing pause, and the
//! callers who wait for a connection.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use embermesh_crypto::ids::PeerId;
use libp2p::{
    Multiaddr,
    swarm::{ConnectionId, DialError},
};
use rand::Rng;
use tokio::sync::oneshot;

use super::{MeshError, address};

/// The pause before a bootstrap peer is dialled a second time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between two attempts at a bootstrap peer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause where other peers are connected: what holds a mesh together is that all of its
/// members know each other, and peers to join through would have all of them at their doors.
const SETTLED_PAUSE: Duration = Duration::from_secs(300);
/// Callers that wait for a connection, in all.
const MAX_WAITERS: usize = 1024;

/// Answers a caller who waits for a connection.
pub(crate) type Reply = oneshot::Sender<Result<PeerId, MeshError>>;

/// How much a peer to join through is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Few others are connected.
    Great,
    /// Nobody used the connection.
    Some,
    /// Others are connected.
    Little,
}

impl Need {
    const fn first_pause(self) -> Duration {
        match self {
            Self::Great => FIRST_PAUSE,
            Self::Some => LONGEST_PAUSE,
            Self::Little => SETTLED_PAUSE,
        }
    }
}

/// A peer to join through.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) peer: libp2p::PeerId,
    pub(crate) id: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
    attempts: u32,
    next: Instant,
    refused: Option<MeshError>,
}

/// The peers to join through.
#[derive(Debug, Default)]
pub(crate) struct Seeds(Vec<Seed>);

impl Seeds {
    /// Reads the configured addresses; several of one peer become one seed.
    pub(crate) fn parse(texts: &[String], now: Instant) -> Result<Self, MeshError> {
        let mut seeds: Vec<Seed> = Vec::new();
        for text in texts {
            let (address, peer) = address::split_peer(address::parse(text)?);
            let (peer, id) = peer
                .and_then(|peer| Some((peer, address::ours(&peer)?)))
                .ok_or_else(|| MeshError::BootstrapWithoutPeer(text.clone()))?;
            match seeds.iter_mut().find(|seed| seed.peer == peer) {
                Some(seed) => seed.addresses.push(address),
                None => seeds.push(Seed {
                    peer,
                    id,
                    addresses: vec![address],
                    attempts: 0,
                    next: now,
                    refused: None,
                }),
            }
        }
        Ok(Self(seeds))
    }

    /// Who they are.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.0.iter().map(|seed| seed.id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&mut self, peer: &libp2p::PeerId) -> Option<&mut Seed> {
        self.0.iter_mut().find(|seed| seed.peer == *peer)
    }

    /// Drops a seed that is this very process, which a shared config file brings about.
    pub(crate) fn forget(&mut self, peer: &libp2p::PeerId) {
        self.0.retain(|seed| seed.peer != *peer);
    }

    /// The seeds to dial now. Each is not due again before its pause is over.
    pub(crate) fn due(
        &mut self,
        need: Need,
        now: Instant,
        connected: impl Fn(&libp2p::PeerId) -> bool,
        rng: &mut impl Rng,
    ) -> Vec<(libp2p::PeerId, Vec<Multiaddr>)> {
        let mut due = Vec::new();
        for seed in &mut self.0 {
            if seed.next > now || connected(&seed.peer) {
                continue;
            }
            seed.pause(need, now, rng);
            due.push((seed.peer, seed.addresses.clone()));
        }
        due
    }

    /// When the next seed is due.
    pub(crate) fn next(&self, connected: impl Fn(&libp2p::PeerId) -> bool) -> Option<Instant> {
        self.0
            .iter()
            .filter(|seed| !connected(&seed.peer))
            .map(|seed| seed.next)
            .min()
    }

    /// A peer was identified as one of this network.
    pub(crate) fn connected(&mut self, peer: &libp2p::PeerId) {
        if let Some(seed) = self.find(peer) {
            seed.attempts = 0;
            seed.refused = None;
        }
    }

    /// The last connection with a peer has closed.
    pub(crate) fn disconnected(&mut self, peer: &libp2p::PeerId, need: Need, now: Instant) {
        if let Some(seed) = self.find(peer) {
            seed.next = seed.next.max(now + need.first_pause());
        }
    }

    /// Few others are connected any more: none is waited for as it was among many.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for seed in &mut self.0 {
            seed.next = seed.next.min(now + LONGEST_PAUSE);
        }
    }

    /// A dial has failed; says which seed it was and how long the pause is now.
    pub(crate) fn failed(&self, peer: &libp2p::PeerId, now: Instant) -> Option<(PeerId, Duration)> {
        let seed = self.0.iter().find(|seed| seed.peer == *peer)?;
        Some((seed.id, seed.next.saturating_duration_since(now)))
    }

    /// A seed turned out to belong to another network.
    pub(crate) fn refused(&mut self, peer: &libp2p::PeerId, error: MeshError) {
        if let Some(seed) = self.find(peer) {
            seed.refused = Some(error);
        }
    }

    /// The reason, when every seed belongs to another network.
    pub(crate) fn all_refused(&self) -> Option<MeshError> {
        let all = !self.0.is_empty() && self.0.iter().all(|seed| seed.refused.is_some());
        if all {
            self.0.first().and_then(|seed| seed.refused.clone())
        } else {
            None
        }
    }
}

impl Seed {
    fn pause(&mut self, need: Need, now: Instant, rng: &mut impl Rng) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.attempts.min(10))
            .min(LONGEST_PAUSE);
        let pause = if need == Need::Little {
            SETTLED_PAUSE
        } else {
            pause
        };
        self.attempts = self.attempts.saturating_add(1);
        // Half of it at random, so that a mesh whose seed restarts does not knock
        // all at once.
        self.next = now + pause.mul_f64(rng.random_range(0.75..1.25));
    }
}

/// Who waits for a connection to whom.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    known: HashMap<libp2p::PeerId, Vec<Waiter>>,
    unknown: HashMap<ConnectionId, (Multiaddr, Reply)>,
}

#[derive(Debug)]
struct Waiter {
    reply: Reply,
    /// Addresses that the dial under way may not know; taken when it fails.
    untried: Vec<Multiaddr>,
}

impl Waiters {
    /// Whether one more may wait. Forgets those who have given up.
    pub(crate) fn has_room(&mut self) -> bool {
        self.known.retain(|_, list| {
            list.retain(|waiter| !waiter.reply.is_closed());
            !list.is_empty()
        });
        self.unknown.retain(|_, (_, reply)| !reply.is_closed());
        self.known.values().map(Vec::len).sum::<usize>() + self.unknown.len() < MAX_WAITERS
    }

    /// Waits for a peer whose dial is under way.
    pub(crate) fn add(&mut self, peer: libp2p::PeerId, reply: Reply, untried: Vec<Multiaddr>) {
        self.known
            .entry(peer)
            .or_default()
            .push(Waiter { reply, untried });
    }

    /// Waits for whoever answers at an address.
    pub(crate) fn add_unknown(&mut self, id: ConnectionId, address: Multiaddr, reply: Reply) {
        self.unknown.insert(id, (address, reply));
    }

    /// Whoever answered at an address is this peer; it is still to be identified.
    pub(crate) fn established(&mut self, id: ConnectionId, peer: libp2p::PeerId) {
        if let Some((_, reply)) = self.unknown.remove(&id) {
            self.add(peer, reply, Vec::new());
        }
    }

    /// Answers all who wait for a peer.
    pub(crate) fn settle(&mut self, peer: &libp2p::PeerId, result: &Result<PeerId, MeshError>) {
        for waiter in self.known.remove(peer).into_iter().flatten() {
            // Whoever gave up waiting does not mind.
            let _ = waiter.reply.send(result.clone());
        }
    }

    /// A dial of a peer has failed: the addresses that are still to be tried, if
    /// any; otherwise all who wait are told why.
    pub(crate) fn dial_failed(
        &mut self,
        peer: &libp2p::PeerId,
        error: &MeshError,
    ) -> Vec<Multiaddr> {
        let untried: Vec<Multiaddr> = self
            .known
            .get_mut(peer)
            .into_iter()
            .flatten()
            .flat_map(|waiter| std::mem::take(&mut waiter.untried))
            .collect();
        if untried.is_empty() {
            self.settle(peer, &Err(error.clone()));
        }
        untried
    }

    /// A dial of an address has failed.
    pub(crate) fn dial_of_unknown_failed(&mut self, id: ConnectionId, error: &DialError) {
        if let Some((address, reply)) = self.unknown.remove(&id) {
            let _ = reply.send(Err(unreachable(&address.to_string(), error)));
        }
    }
}

/// A dial error in one line, with every address that was tried.
pub(crate) fn unreachable(peer: &str, error: &DialError) -> MeshError {
    let reason = match error {
        DialError::Transport(tried) if !tried.is_empty() => tried
            .iter()
            .map(|(address, error)| format!("{address}: {}", root(error)))
            .collect::<Vec<_>>()
            .join("; "),
        DialError::WrongPeerId { obtained, address } => {
            format!("at {address} answers {obtained}, which is another peer")
        }
        DialError::LocalPeerId { address } => format!("{address} is this very process"),
        DialError::NoAddresses => "no address of it is known".to_owned(),
        DialError::Denied { cause } => root(cause),
        other => root(other),
    };
    MeshError::Unreachable {
        peer: peer.to_owned(),
        reason,
    }
}

/// The innermost source of an error that says anything: libp2p wraps them several
/// times over, and not every wrapper has words of its own.
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !inner.is_empty() {
            text = inner;
        }
        source = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::keys::Keypair;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn seeds(now: Instant) -> (Seeds, libp2p::PeerId) {
        let id = Keypair::from_seed(&[3; 32]).peer_id();
        let texts = [
            format!("/ip4/127.0.0.1/tcp/4001/p2p/{id}"),
            format!("/ip4/127.0.0.1/udp/4001/quic-v1/p2p/{id}"),
        ];
        (Seeds::parse(&texts, now).unwrap(), address::theirs(&id))
    }

    #[test]
    fn a_seed_is_tried_for_ever_with_a_growing_pause() {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut now = Instant::now();
        let (mut seeds, peer) = seeds(now);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let due = seeds.due(Need::Great, now, |_| false, rng);
            assert_eq!(due.len(), 1);
            assert_eq!(due[0].1.len(), 2);
            assert!(seeds.due(Need::Great, now, |_| false, rng).is_empty());
            let next = seeds.next(|_| false).unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses[0] < FIRST_PAUSE * 2);
        assert!(pauses[39] <= LONGEST_PAUSE.mul_f64(1.25) && pauses[39] > LONGEST_PAUSE / 2);
        seeds.connected(&peer);
        assert_eq!(seeds.next(|_| true), None);
        seeds.disconnected(&peer, Need::Great, now);
        assert!(seeds.next(|_| false).unwrap() <= now + LONGEST_PAUSE.mul_f64(1.25));
    }

    #[test]
    fn a_seed_is_left_in_peace_while_others_are_connected() {
        let rng = &mut StdRng::seed_from_u64(1);
        let now = Instant::now();
        let (mut seeds, peer) = seeds(now);
        seeds.disconnected(&peer, Need::Little, now);
        let later = now + LONGEST_PAUSE;
        assert!(seeds.due(Need::Little, later, |_| false, rng).is_empty());
        seeds.hurry(later);
        let soon = later + LONGEST_PAUSE;
        assert_eq!(seeds.due(Need::Great, soon, |_| false, rng).len(), 1);
        let again = seeds.next(|_| false).unwrap();
        assert!(again <= soon + LONGEST_PAUSE);
        assert_eq!(seeds.due(Need::Little, again, |_| false, rng).len(), 1);
        assert!(seeds.next(|_| false).unwrap() > again + SETTLED_PAUSE / 2);
    }

    #[test]
    fn a_seed_without_a_peer_is_refused_with_the_cure() {
        let error = Seeds::parse(&["/ip4/127.0.0.1/tcp/4001".to_owned()], Instant::now());
        assert!(error.unwrap_err().to_string().contains("append /p2p/"));
    }

    #[test]
    fn those_who_wait_are_answered_once_every_address_was_tried() {
        let peer = libp2p::PeerId::random();
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        waiters.add(
            peer,
            reply,
            vec![address::parse("/ip4/127.0.0.1/tcp/9").unwrap()],
        );
        let error = MeshError::Busy("test");
        assert_eq!(waiters.dial_failed(&peer, &error).len(), 1);
        assert!(answer.try_recv().is_err());
        assert!(waiters.dial_failed(&peer, &error).is_empty());
        assert_eq!(answer.try_recv().unwrap(), Err(error));
    }
}
