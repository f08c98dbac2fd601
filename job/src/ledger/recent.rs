//! The newest transactions by their keys, so that a request which is sent again
//! before its transaction can be read from the disk is known all the same.

use std::collections::{BTreeMap, VecDeque};

use embermesh_crypto::ids::PeerId;

use super::{Key, Transaction, Why};

/// A window over the newest transactions that somebody asked for.
#[derive(Debug)]
pub(super) struct Recent {
    by_key: BTreeMap<(PeerId, Key), Transaction>,
    order: VecDeque<(PeerId, Key)>,
    /// Every transaction after this number that has a key is in the window.
    complete_after: u64,
    most: usize,
}

impl Recent {
    /// A window that begins behind the transaction `last`.
    pub(super) fn new(last: u64, most: usize) -> Self {
        Self {
            by_key: BTreeMap::new(),
            order: VecDeque::new(),
            complete_after: last,
            most,
        }
    }

    pub(super) fn complete_after(&self) -> u64 {
        self.complete_after
    }

    pub(super) fn find(&self, caller: PeerId, key: &Key) -> Option<&Transaction> {
        self.by_key.get(&(caller, key.clone()))
    }

    /// Remembers a transaction, and leaves the oldest to the disk when there are too
    /// many.
    pub(super) fn remember(&mut self, transaction: Transaction) {
        let Why::Asked { caller, key, .. } = &transaction.why else {
            return;
        };
        let name = (*caller, key.clone());
        self.order.push_back(name.clone());
        self.by_key.insert(name, transaction);
        while self.order.len() > self.most {
            let oldest = self.order.pop_front();
            if let Some(left) = oldest.and_then(|name| self.by_key.remove(&name)) {
                self.complete_after = left.number;
            }
        }
    }
}
