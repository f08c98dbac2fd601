//! The nodes this index knows: those that registered, and those it only heard
//! of through adverts.
//!
//! - `lifetime`: who is alive, and who is forgotten.
//! - `slots`: what is free on each, as placement sees it.
//!
//! Placement only considers registered nodes: the others do not take orders from
//! this index.

mod lifetime;
mod slots;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

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
    /// Places for resident models that were given away since its last advert.
    promised: u32,
    draining: bool,
    /// Whose jobs alone it takes, while it is reserved.
    reserved_for: Option<PeerId>,
    /// The last measured round trip, while there is a connection to measure it on.
    round_trip: Option<Duration>,
    /// This node's entry among the live ones, while it is one.
    alive_until: Option<UnixMillis>,
    /// This node's entry among those to forget, while nothing keeps it.
    forget_at: Option<UnixMillis>,
    /// Whether the store has a row of it.
    stored: bool,
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
    /// When each node that is silent and has no task is forgotten.
    leaving: BTreeSet<(UnixMillis, PeerId)>,
    /// Nodes that were forgotten and still have a row in the store.
    forgotten: Vec<PeerId>,
}

impl Node {
    /// Attempts that it was told to stop and may still be stopping.
    pub(super) fn stopping(&self) -> impl Iterator<Item = &TaskKey> {
        self.stopping.iter()
    }
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

    /// The nodes whose keys follow `after`, in the order of keys.
    pub(super) fn nodes_after(&self, after: Option<PeerId>) -> impl Iterator<Item = &Node> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.positions
            .range((from, Bound::Unbounded))
            .map(|(_, at)| &self.nodes[*at])
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
            None => {
                self.make_room(settings);
                self.insert(advert.clone(), content.clone(), settings, now)?
            }
        };
        let node = &mut self.nodes[at];
        let news = !node.registered || node.content.sequence != content.sequence;
        if news {
            node.promised = 0;
        }
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

    /// A node kept by the store: where it was, until it registers again. Says
    /// whether there was room for it and its advert still means something.
    pub(super) fn remember(
        &mut self,
        advert: Signed<Advert>,
        seen_at: UnixMillis,
        settings: &Settings,
    ) -> bool {
        let Ok(content) = advert.open() else {
            return false;
        };
        let content = (*content).clone();
        let inserted = self.insert(advert, content, settings, seen_at);
        inserted.is_ok_and(|at| {
            self.nodes[at].stored = true;
            true
        })
    }

    fn insert(
        &mut self,
        advert: Signed<Advert>,
        content: Advert,
        settings: &Settings,
        now: UnixMillis,
    ) -> Result<usize, Refused> {
        if self.nodes.len() >= settings.nodes {
            return Err(Refused::TooManyNodes {
                most: settings.nodes,
            });
        }
        let at = self.nodes.len();
        self.positions.insert(content.peer, at);
        let mut view = NodeView::of(&content);
        view.live = false;
        view.free_slots = 0;
        self.views.push(view);
        self.nodes.push(Node {
            advert,
            content,
            registered: false,
            last_seen: now,
            tasks: BTreeSet::new(),
            stopping: BTreeSet::new(),
            elsewhere: 0,
            promised: 0,
            draining: false,
            reserved_for: None,
            round_trip: None,
            alive_until: None,
            forget_at: None,
            stored: false,
            succeeded: 0,
            failed: 0,
        });
        self.refresh(at);
        Ok(at)
    }
}
