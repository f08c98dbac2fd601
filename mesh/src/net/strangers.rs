//! Peers that are turned away, and remembered for a while so that they are not let in
//! again at once: those of other networks, which identify tells apart, and those that
//! have lost their trust.

use std::time::{Duration, Instant};

use embermesh_crypto::ids::PeerId;

use super::{MeshError, MeshEvent, actor::Actor};

/// How long a peer of another network keeps its connection, so that it too learns
/// why it is turned away, on a machine that is busy as well.
const REFUSAL_GRACE: Duration = Duration::from_secs(3);
/// How long a peer of another network is not let in again.
const REFUSAL_TIME: Duration = Duration::from_secs(60);
/// Peers of other networks that are remembered.
const MAX_STRANGERS: usize = 256;
/// How long a peer that has lost its trust is not let in again.
const SHUN_TIME: Duration = Duration::from_secs(60);
/// Peers without trust that are remembered. Beyond it one is only disconnected.
const MAX_SHUNNED: usize = 256;

/// A peer of another network.
pub(crate) struct Stranger {
    theirs: String,
    /// Not yet blocked: its connection may stand until then.
    pub(crate) block_at: Option<Instant>,
    until: Instant,
}

impl Actor {
    /// Why a peer is not let in, if it is not.
    pub(crate) fn refusal_of(&self, peer: &libp2p::PeerId) -> Option<MeshError> {
        self.strangers
            .get(peer)
            .map(|stranger| MeshError::OtherNetwork {
                peer: peer.to_string(),
                ours: self.network.clone(),
                theirs: stranger.theirs.clone(),
            })
    }

    /// Remembers a peer of another network and lets its connection end soon.
    pub(crate) fn refuse(&mut self, peer: libp2p::PeerId, id: PeerId, theirs: String) {
        if self.strangers.contains_key(&peer) || self.strangers.len() >= MAX_STRANGERS {
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        }
        tracing::warn!(
            peer = %id, ours = %self.network, %theirs,
            "refused a peer of another network"
        );
        let now = Instant::now();
        let block_at = Some(now + REFUSAL_GRACE);
        let event_theirs = theirs.clone();
        self.strangers.insert(
            peer,
            Stranger {
                theirs,
                block_at,
                until: now + REFUSAL_TIME,
            },
        );
        if let Some(error) = self.refusal_of(&peer) {
            self.waiters.settle(&peer, &Err(error.clone()));
            self.seeds.refused(&peer, error.clone());
            self.last_dial_error = Some(error);
        }
        let ours = self.network.clone();
        self.shared.tell(MeshEvent::OtherNetwork {
            peer: id,
            ours,
            theirs: event_theirs,
        });
        self.stand();
    }

    /// Turns a peer away that has lost its trust. It would dial again at once.
    pub(crate) fn shun(&mut self, peer: libp2p::PeerId) {
        let known = self.shunned.contains_key(&peer);
        if known || self.shunned.len() < MAX_SHUNNED {
            self.shunned.insert(peer, Instant::now() + SHUN_TIME);
            self.swarm.behaviour_mut().strangers.block_peer(peer);
        }
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    pub(crate) fn block_strangers(&mut self, now: Instant) {
        let blocks = &mut self.swarm.behaviour_mut().strangers;
        self.shunned.retain(|peer, until| {
            let keep = *until > now;
            if !keep {
                blocks.unblock_peer(*peer);
            }
            keep
        });
        self.strangers.retain(|peer, stranger| {
            if stranger.block_at.is_some_and(|at| at <= now) {
                stranger.block_at = None;
                blocks.block_peer(*peer);
            }
            let keep = stranger.until > now;
            if !keep {
                blocks.unblock_peer(*peer);
            }
            keep
        });
    }
}
