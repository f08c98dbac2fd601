//! Which nodes are asked, in which order, and why not the others: [`embermesh_job::place`]
//! over the adverts that this side has. Pure.

use std::collections::BTreeMap;

use embermesh_crypto::{
    ids::PeerId,
    statement::{Advert, Role},
};
use embermesh_job::{
    place::{Buyer, NodeView, Pays, Takes, Wanted, Why, place_as},
    spec::JobSpec,
};

use super::PassedOver;
use crate::bounds::{MAX_ASKED, MAX_PASSED_OVER};

/// Whom to ask for a job, the best first, and whom not.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Candidates {
    pub(super) ask: Vec<PeerId>,
    pub(super) passed_over: Vec<PassedOver>,
}

/// Finds them. Nodes that fit and are taken come last: they have queues. `avoid` is a
/// node that has just been lost, `latency_ms` the round trips that are known.
pub(super) fn candidates<'a>(
    spec: &JobSpec,
    me: PeerId,
    adverts: impl Iterator<Item = &'a Advert>,
    latency_ms: &BTreeMap<PeerId, u32>,
    avoid: &[PeerId],
    tie_break: u64,
) -> Candidates {
    let views: Vec<NodeView> = adverts
        .filter(|advert| advert.role == Role::Node)
        .map(|advert| NodeView {
            latency_ms: latency_ms.get(&advert.peer).copied(),
            ..NodeView::of(advert)
        })
        .collect();
    let wanted = Wanted {
        takes: Takes::of(&spec.work),
        requires: &spec.requires,
        limits: &spec.limits,
        runtime: spec.runtime(),
        // Without an index nobody counts money: a price is a reason to prefer others.
        buyer: Some(Buyer {
            client: me,
            pays: Pays::Uncounted,
        }),
    };
    let placement = place_as(&wanted, &views, avoid, tie_break);
    let mut found = Candidates {
        ask: placement.ranked.iter().map(|ranked| ranked.peer).collect(),
        passed_over: Vec::new(),
    };
    for passed in placement.passed_over {
        if matches!(passed.why, Why::Busy | Why::NoResidents) {
            found.ask.push(passed.peer);
        } else if found.passed_over.len() < MAX_PASSED_OVER {
            let (code, message) = (passed.why.code(), passed.why.to_string());
            found
                .passed_over
                .push((passed.peer, code.to_owned(), message));
        }
    }
    found.ask.truncate(MAX_ASKED);
    found
}

#[cfg(test)]
mod tests;
