//! Who is alive, and who is forgotten: a node that has been silent for a lease
//! counts as dead, and one that is dead, has no task and whose advert is over is
//! forgotten, so that the registry holds the nodes there are and not every key
//! that ever was.

use std::time::Duration;

use embermesh_crypto::{ids::PeerId, statement::MAX_ADVERT_LIFE, time::UnixMillis};

use super::{Node, Registry};
use crate::state::{Settings, settings::CLOCK_SKEW};

/// How long a node that says nothing more is known at most, whatever its clock
/// made of the times in its advert.
const LONGEST_MEMORY: Duration = MAX_ADVERT_LIFE.saturating_add(CLOCK_SKEW);

impl Node {
    /// When it is forgotten, unless something keeps it.
    pub(super) fn forgettable_at(&self) -> Option<UnixMillis> {
        let kept =
            self.alive_until.is_some() || !self.tasks.is_empty() || self.reserved_for.is_some();
        let silent_until = self.last_seen.saturating_add(LONGEST_MEMORY);
        (!kept).then(|| self.content.expires_at.min(silent_until))
    }
}

impl Registry {
    /// Counts as dead whoever has been silent for a lease, and forgets whoever
    /// has been gone for long.
    pub(in crate::state) fn expire(&mut self, now: UnixMillis) {
        while let Some((until, peer)) = self.alive.first().copied() {
            if until > now {
                break;
            }
            self.alive.remove(&(until, peer));
            if let Some(at) = self.positions.get(&peer).copied() {
                self.nodes[at].alive_until = None;
                self.nodes[at].stopping.clear();
                self.refresh(at);
            }
        }
        while let Some((at, peer)) = self.leaving.first().copied() {
            if at > now {
                break;
            }
            self.leaving.remove(&(at, peer));
            self.forget(&peer);
        }
    }

    /// Makes room in a full registry for a node that speaks to this index: whoever
    /// would be forgotten next is forgotten now.
    pub(super) fn make_room(&mut self, settings: &Settings) {
        if self.nodes.len() >= settings.nodes
            && let Some((_, peer)) = self.leaving.pop_first()
        {
            self.forget(&peer);
        }
    }

    /// When [`Registry::expire`] next has something to do.
    pub(in crate::state) fn next_due(&self) -> Option<UnixMillis> {
        let firsts = [self.alive.first(), self.leaving.first()];
        firsts.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// The nodes that were forgotten since this was last asked, and that the
    /// store has a row of.
    pub(in crate::state) fn take_forgotten(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.forgotten)
    }

    /// A sign of life. `draining` is what the node says of itself, if it does.
    /// Returns whether the node was thought dead.
    pub(in crate::state) fn touch(
        &mut self,
        peer: &PeerId,
        draining: Option<bool>,
        settings: &Settings,
        now: UnixMillis,
    ) -> bool {
        let Some(at) = self.positions.get(peer).copied() else {
            return false;
        };
        let until = now.saturating_add(settings.lease);
        let node = &mut self.nodes[at];
        node.registered = true;
        // Whoever registers is written down; see `State::register`.
        node.stored = true;
        node.last_seen = now;
        node.draining = draining.unwrap_or(node.draining);
        let before = node.alive_until.replace(until);
        if let Some(before) = before {
            self.alive.remove(&(before, *peer));
        }
        self.alive.insert((until, *peer));
        self.refresh(at);
        before.is_none()
    }

    /// Gives every live node a full lease from now on, and leaves no time that
    /// is still to come in what was seen: the clock leapt, forwards or back.
    pub(in crate::state) fn grace(&mut self, settings: &Settings, now: UnixMillis) {
        let until = now.saturating_add(settings.lease);
        self.alive.clear();
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.last_seen = node.last_seen.min(now);
            if node.alive_until.is_some() {
                node.alive_until = Some(until);
                self.alive.insert((until, node.content.peer));
            }
            self.reckon(at);
        }
    }

    /// Brings a node's entry among those to forget up to what is known of it.
    pub(super) fn reckon(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let (before, after) = (node.forget_at, node.forgettable_at());
        if before == after {
            return;
        }
        node.forget_at = after;
        let peer = node.content.peer;
        if let Some(before) = before {
            self.leaving.remove(&(before, peer));
        }
        if let Some(after) = after {
            self.leaving.insert((after, peer));
        }
    }

    fn forget(&mut self, peer: &PeerId) {
        let Some(at) = self.positions.remove(peer) else {
            return;
        };
        let node = self.nodes.swap_remove(at);
        self.withdraw(at);
        if node.stored {
            self.forgotten.push(*peer);
        }
        if let Some(moved) = self.nodes.get(at) {
            self.positions.insert(moved.content.peer, at);
        }
    }
}
