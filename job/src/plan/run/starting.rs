//! How an attempt begins: its epoch, its lease, and where it wants to be.

use embermesh_crypto::UnixMillis;

use super::{Output, Run, index, slot::Attempt};
use crate::plan::{NodeName, Wish};

impl<T> Run<T> {
    pub(super) fn start_attempt(&mut self, place: usize, now: UnixMillis) -> Output {
        let node = self.wished(place);
        let mut avoid = self.slots[place].failed_on.clone();
        if self.plan.draft().apart {
            let others = (0..self.slots.len()).filter(|&other| other != place);
            for node in others.filter_map(|other| self.slots[other].node()) {
                if !avoid.contains(node) {
                    avoid.push(node.clone());
                }
            }
        }
        let lease = self.plan.draft().lease;
        let deadline = now.saturating_add(self.plan.tasks()[place].timeout);
        let epoch = self.slots[place].begin(Attempt::new(node.clone(), lease, deadline, now));
        Output::Start {
            task: index(place),
            epoch,
            node,
            avoid,
        }
    }

    /// Where the next attempt of a task wants to be.
    fn wished(&self, place: usize) -> Option<NodeName> {
        let failed_on = &self.slots[place].failed_on;
        match &self.plan.tasks()[place].wish {
            Wish::Any => None,
            Wish::Only(node) => Some(node.clone()),
            Wish::Prefer(node) => Some(node.clone()).filter(|node| !failed_on.contains(node)),
            Wish::First => self
                .plan
                .reads(place)
                .iter()
                .filter_map(|&read| self.slots[read].result())
                .filter(|done| done.node.as_ref().is_some_and(|on| !failed_on.contains(on)))
                .min_by_key(|done| done.order)
                .and_then(|done| done.node.clone()),
        }
    }
}
