//! The nodes this index knows: those that registered, and those it only heard
//! of through adverts.
//!
//! A registered node's slots are counted here, from what its advert said was
//! free and what this index has assigned to it since, because an advert is
//! always a little old. Placement only considers registered nodes: the others do
//! not take orders from this index.

use std::collections::{BTreeMap, BTreeSet};

use embermesh_crypto::{
    ids::{JobId, PeerId},
    statement::{Advert, Signed, Verified},
    time::UnixMillis,
};
use embermesh_job::{address::PeerAddress, assignment::TaskKey, place::NodeView};

use super::{Refused, Settings, advert::check};

/// A node, as this index knows it.
#[derive(Debug)]
pub struct Node {
    /// The advert, exactly as signed.
    pub advert: Signed<Advert>,
    /// What the advert says.
    pub content: Advert,
    /// True once the node has spoken to this index since it started.
    pub registered: bool,
    /// When it was last heard of.
    pub last_seen: UnixMillis,
    /// The jobs that this index has assigned to it and that have not ended.
    pub tasks: BTreeSet<JobId>,
    /// Attempts that it was told to stop and may still be stopping.
    stopping: BTreeSet<TaskKey>,
    /// Slots taken by others than this index, by the last advert it sent here.
    elsewhere: u32,
    draining: bool,
    /// This node's entry among the live ones, while it is one.
    alive_until: Option<UnixMillis>,
    succeeded: u32,
    failed: u32,
}

/// Every node, with the placement's view of each kept up to date beside it.
#[derive(Debug, Default)]
pub struct Registry {
    nodes: Vec<Node>,
    views: Vec<NodeView>,
    positions: BTreeMap<PeerId, usize>,
    /// Free slots of live nodes, all together.
    free: u64,
    /// Until when each live node counts as alive without another word.
    alive: BTreeSet<(UnixMillis, PeerId)>,
}

impl Registry {
    /// A node by its key.
    #[must_use]
    pub fn node(&self, peer: &PeerId) -> Option<&Node> {
        self.positions.get(peer).map(|at| &self.nodes[*at])
    }

    /// Every node, in no order that means anything.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// How many nodes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no node is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether a node has spoken to this index within one lease.
    #[must_use]
    pub fn is_live(&self, peer: &PeerId) -> bool {
        self.node(peer)
            .is_some_and(|node| node.alive_until.is_some())
    }

    /// How many nodes have spoken to this index within one lease.
    #[must_use]
    pub fn live(&self) -> usize {
        self.alive.len()
    }

    /// Where a node can be reached.
    #[must_use]
    pub fn address(&self, peer: &PeerId) -> Option<PeerAddress> {
        self.node(peer).map(|node| PeerAddress {
            peer: *peer,
            tls: node.content.tls_addresses.clone(),
            mesh: node.content.mesh_addresses.clone(),
        })
    }

    /// The nodes, as placement sees them.
    pub(super) fn views(&self) -> &[NodeView] {
        &self.views
    }

    /// Counts as dead whoever has been silent for a lease.
    pub(super) fn expire(&mut self, now: UnixMillis) {
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
    }

    /// Takes what a node said of itself to this index. `running` is how many of
    /// this index's tasks it said it runs. Returns whether the advert is news.
    pub(super) fn heard(
        &mut self,
        node: &PeerId,
        advert: Signed<Advert>,
        running: u32,
        settings: &Settings,
        now: UnixMillis,
    ) -> Result<bool, Refused> {
        let content = check(&advert, settings, now)?;
        let peer = content.peer;
        if peer != *node {
            return Err(Refused::Advert {
                why: format!("it is of {peer}, and {node} brought it"),
            });
        }
        let at = match self.positions.get(&peer) {
            Some(at) if self.nodes[*at].content.sequence > content.sequence => {
                // A late message: the node is alive, what it says is old.
                self.touch(&peer, None, settings, now);
                return Ok(false);
            }
            Some(at) => *at,
            None => self.insert(advert.clone(), content.clone(), settings, now)?,
        };
        let node = &mut self.nodes[at];
        let news = !node.registered || node.content.sequence != content.sequence;
        node.draining = content.draining;
        node.elsewhere = content
            .slots
            .saturating_sub(content.free_slots)
            .saturating_sub(running);
        node.advert = advert;
        node.content = content;
        self.touch(&peer, None, settings, now);
        Ok(news)
    }

    /// Takes an advert that came by gossip. A registered node's own word to this
    /// index counts for more, so only the rest are updated.
    pub(super) fn gossip(
        &mut self,
        advert: &Verified<Advert>,
        settings: &Settings,
        now: UnixMillis,
    ) {
        let peer = advert.peer;
        match self.positions.get(&peer).copied() {
            Some(at) if self.nodes[at].alive_until.is_some() => {}
            Some(at) if self.nodes[at].content.sequence >= advert.sequence => {}
            Some(at) => {
                let node = &mut self.nodes[at];
                node.advert = advert.to_signed();
                node.content = (**advert).clone();
                node.last_seen = now;
                self.refresh(at);
            }
            None => {
                // A full registry keeps the nodes it serves; hearsay can wait.
                let _ = self.insert(advert.to_signed(), (**advert).clone(), settings, now);
            }
        }
    }

    /// A node kept by the store: where it was, until it registers again.
    pub(super) fn remember(
        &mut self,
        advert: Signed<Advert>,
        seen_at: UnixMillis,
        settings: &Settings,
    ) {
        if let Ok(content) = advert.open() {
            let content = (*content).clone();
            let _ = self.insert(advert, content, settings, seen_at);
        }
    }

    /// A sign of life. `draining` is what the node says of itself, if it does.
    /// Returns whether the node was thought dead.
    pub(super) fn touch(
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

    /// A job took one of the node's slots.
    pub(super) fn take(&mut self, peer: &PeerId, job: JobId) {
        if let Some(at) = self.positions.get(peer).copied() {
            self.nodes[at].tasks.insert(job);
            self.recount(at);
        }
    }

    /// A job left the node. `succeeded` is what became of the attempt, where
    /// that says something about the node.
    pub(super) fn free(&mut self, peer: &PeerId, job: &JobId, succeeded: Option<bool>) {
        if let Some(at) = self.positions.get(peer).copied() {
            let node = &mut self.nodes[at];
            node.tasks.remove(job);
            match succeeded {
                Some(true) => node.succeeded = node.succeeded.saturating_add(1),
                Some(false) => node.failed = node.failed.saturating_add(1),
                None => {}
            }
            self.refresh(at);
        }
    }

    /// A node was told to stop an attempt. Until it says that it has, or a
    /// heartbeat does not name the attempt, the slot is not free.
    pub(super) fn stopping(&mut self, peer: &PeerId, key: TaskKey) {
        if let Some(at) = self.positions.get(peer).copied()
            && self.nodes[at].alive_until.is_some()
        {
            self.nodes[at].stopping.insert(key);
            self.refresh(at);
        }
    }

    /// Frees the slots of attempts that have stopped. Returns whether there were
    /// any.
    pub(super) fn left(&mut self, peer: &PeerId, stopped: impl Fn(&TaskKey) -> bool) -> bool {
        let Some(at) = self.positions.get(peer).copied() else {
            return false;
        };
        let before = self.nodes[at].stopping.len();
        self.nodes[at].stopping.retain(|key| !stopped(key));
        let freed = self.nodes[at].stopping.len() != before;
        if freed {
            self.refresh(at);
        }
        freed
    }

    /// Frees every node of every job.
    pub(super) fn clear_tasks(&mut self) {
        for at in 0..self.nodes.len() {
            self.nodes[at].tasks.clear();
            self.nodes[at].stopping.clear();
            self.refresh(at);
        }
    }

    /// Forgets nodes that were only heard of and whose advert has expired.
    pub(super) fn forget_expired(&mut self, now: UnixMillis) {
        let gone: Vec<PeerId> = self
            .nodes
            .iter()
            .filter(|node| {
                !node.registered && node.tasks.is_empty() && node.content.expires_at <= now
            })
            .map(|node| node.content.peer)
            .collect();
        for peer in gone {
            self.remove(&peer);
        }
    }

    /// How many slots are free on live nodes.
    pub(super) fn free_slots(&self) -> u64 {
        self.free
    }

    fn insert(
        &mut self,
        advert: Signed<Advert>,
        content: Advert,
        settings: &Settings,
        now: UnixMillis,
    ) -> Result<usize, Refused> {
        if self.nodes.len() >= settings.nodes {
            self.forget_expired(now);
        }
        if self.nodes.len() >= settings.nodes {
            return Err(Refused::TooManyNodes {
                most: settings.nodes,
            });
        }
        let at = self.nodes.len();
        self.positions.insert(content.peer, at);
        let mut view = NodeView::of(&content);
        view.live = false;
        self.views.push(view);
        self.nodes.push(Node {
            advert,
            content,
            registered: false,
            last_seen: now,
            tasks: BTreeSet::new(),
            stopping: BTreeSet::new(),
            elsewhere: 0,
            draining: false,
            alive_until: None,
            succeeded: 0,
            failed: 0,
        });
        self.refresh(at);
        Ok(at)
    }

    fn remove(&mut self, peer: &PeerId) {
        if let Some(at) = self.positions.remove(peer) {
            self.nodes.swap_remove(at);
            self.free -= offered(&self.views.swap_remove(at));
            if let Some(moved) = self.nodes.get(at) {
                self.positions.insert(moved.content.peer, at);
            }
        }
    }

    /// Counts a node's free slots anew.
    fn recount(&mut self, at: usize) {
        let node = &self.nodes[at];
        let ours = u32::try_from(node.tasks.len() + node.stopping.len()).unwrap_or(u32::MAX);
        let free = node
            .content
            .slots
            .saturating_sub(node.elsewhere)
            .saturating_sub(ours);
        let view = &mut self.views[at];
        self.free -= offered(view);
        view.free_slots = if node.registered { free } else { 0 };
        self.free += offered(view);
    }

    /// Brings the placement's view of a node up to what is known of it.
    fn refresh(&mut self, at: usize) {
        let node = &self.nodes[at];
        let mut view = NodeView::of(&node.content);
        view.live = node.alive_until.is_some();
        view.free_slots = 0;
        view.draining = node.draining;
        // Laplace's rule: one success and one failure are assumed, so that a
        // new node is neither trusted nor shunned.
        view.reputation = (f64::from(node.succeeded) + 1.0)
            / (f64::from(node.succeeded) + f64::from(node.failed) + 2.0);
        self.free = self.free - offered(&self.views[at]) + offered(&view);
        self.views[at] = view;
        self.recount(at);
    }
}

/// The slots that a view adds to what is free.
fn offered(view: &NodeView) -> u64 {
    if view.live && !view.draining {
        u64::from(view.free_slots)
    } else {
        0
    }
}
