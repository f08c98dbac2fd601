//! What is free on each node.
//!
//! A registered node's slots are counted here, from what its advert said was
//! free and what this index has assigned to it since, because an advert is
//! always a little old.

use std::{collections::BTreeMap, time::Duration};

use embermesh_crypto::ids::{JobId, PeerId};
use embermesh_job::{assignment::TaskKey, place::NodeView};

use super::Registry;
use crate::state::settings::ROUND_TRIP_STEP;

impl Registry {
    /// The nodes, as placement sees them.
    pub(in crate::state) fn views(&self) -> &[NodeView] {
        &self.views
    }

    /// A node, as placement sees it.
    pub(in crate::state) fn view(&self, peer: &PeerId) -> Option<&NodeView> {
        self.positions.get(peer).map(|at| &self.views[*at])
    }

    /// A node takes the jobs of one client alone from now on, or of everybody.
    pub(in crate::state) fn reserve(&mut self, peer: &PeerId, client: Option<PeerId>) {
        if let Some(at) = self.positions.get(peer).copied() {
            self.nodes[at].reserved_for = client;
            self.refresh(at);
        }
    }

    /// Every node takes the jobs of everybody.
    pub(in crate::state) fn clear_reserved(&mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].reserved_for.take().is_some() {
                self.refresh(at);
            }
        }
    }

    /// How many slots are free on live nodes.
    pub(in crate::state) fn free_slots(&self) -> u64 {
        self.free
    }

    /// A job took one of the node's slots.
    pub(in crate::state) fn take(&mut self, peer: &PeerId, job: JobId) {
        if let Some(at) = self.positions.get(peer).copied() {
            self.nodes[at].tasks.insert(job);
            self.recount(at);
        }
    }

    /// One of the node's places for resident models was given away, which its next
    /// advert will say.
    pub(in crate::state) fn promise_residence(&mut self, peer: &PeerId) {
        if let Some(at) = self.positions.get(peer).copied() {
            self.nodes[at].promised = self.nodes[at].promised.saturating_add(1);
            self.refresh(at);
        }
    }

    /// A job left the node. `succeeded` is what became of the attempt, where
    /// that says something about the node.
    pub(in crate::state) fn free(&mut self, peer: &PeerId, job: &JobId, succeeded: Option<bool>) {
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
    pub(in crate::state) fn stopping(&mut self, peer: &PeerId, key: TaskKey) {
        if let Some(at) = self.positions.get(peer).copied()
            && self.nodes[at].alive_until.is_some()
        {
            self.nodes[at].stopping.insert(key);
            self.refresh(at);
        }
    }

    /// Frees the slots of attempts that have stopped. Returns whether there were
    /// any.
    pub(in crate::state) fn left(
        &mut self,
        peer: &PeerId,
        stopped: impl Fn(&TaskKey) -> bool,
    ) -> bool {
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
    pub(in crate::state) fn clear_tasks(&mut self) {
        for at in 0..self.nodes.len() {
            self.nodes[at].tasks.clear();
            self.nodes[at].stopping.clear();
            self.refresh(at);
        }
    }

    /// Takes the round trips measured now; who is not among them has none.
    pub(in crate::state) fn measured(&mut self, round_trips: &BTreeMap<PeerId, Duration>) {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.round_trip = round_trips.get(&node.content.peer).copied();
            self.views[at].latency_ms = node.round_trip.map(latency_ms);
        }
    }

    /// Takes back what a node that is forgotten offered.
    pub(super) fn withdraw(&mut self, at: usize) {
        self.free -= offered(&self.views.swap_remove(at));
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
        self.reckon(at);
    }

    /// Brings the placement's view of a node up to what is known of it.
    pub(super) fn refresh(&mut self, at: usize) {
        let node = &self.nodes[at];
        let mut view = NodeView::of(&node.content);
        view.live = node.alive_until.is_some();
        view.free_slots = 0;
        view.free_residents = view.free_residents.saturating_sub(node.promised);
        view.draining = node.draining;
        view.reserved_for = node.reserved_for;
        view.latency_ms = node.round_trip.map(latency_ms);
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

/// A round trip as placement takes it, rounded to whole steps.
fn latency_ms(round_trip: Duration) -> u32 {
    let step = ROUND_TRIP_STEP.as_millis().max(1);
    let steps = (round_trip.as_millis() + step / 2) / step;
    u32::try_from(steps * step).unwrap_or(u32::MAX)
}
