//! What the index has made durable: what its database holds, in memory. Rows are
//! written and read back as `index_server::store` does, whose own tests hold it to
//! that.

use std::collections::BTreeMap;

use bytes::Bytes;
use embermesh_crypto::{JobId, PeerId};
use embermesh_index_server::state::{
    IssuerSnapshot, LoadedJob, RememberedSubmit, Snapshot, StoredJob, StoredNode, Writes,
};
use embermesh_job::{
    ledger::{Key, LedgerSnapshot, Seen, Transaction, Why},
    lifecycle::JournalEntry,
};

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    jobs: BTreeMap<JobId, StoredJob>,
    journals: BTreeMap<JobId, BTreeMap<u64, JournalEntry>>,
    specs: BTreeMap<JobId, Bytes>,
    nodes: BTreeMap<PeerId, StoredNode>,
    issuer: IssuerSnapshot,
    pub(crate) ledger: LedgerSnapshot,
    transactions: Vec<Transaction>,
}

impl Disk {
    /// Makes one transaction durable.
    pub(crate) fn commit(&mut self, writes: Writes) {
        for (job, bytes) in writes.specs {
            self.specs.entry(job).or_insert(bytes);
        }
        for mut stored in writes.jobs {
            let journal = self.journals.entry(stored.job.id).or_default();
            for entry in std::mem::take(&mut stored.journal) {
                journal.entry(entry.number).or_insert(entry);
            }
            self.jobs.insert(stored.job.id, stored);
        }
        for (peer, row) in writes.nodes {
            match row {
                Some(node) => {
                    self.nodes.insert(peer, node);
                }
                None => {
                    self.nodes.remove(&peer);
                }
            }
        }
        if let Some(keys) = writes.keys {
            self.issuer.keys = keys.keys;
            self.issuer.key_set = Some(keys.key_set);
        }
        if let Some(revocation) = writes.revocation {
            self.issuer.revocation = Some(revocation.statement);
            if revocation.all_void {
                self.issuer.revoked.clear();
            }
            let expired_by = revocation.expired_by;
            self.issuer
                .revoked
                .retain(|_, token| token.expires_at > expired_by);
            self.issuer.revoked.extend(revocation.added);
        }
        if let Some(changes) = writes.ledger {
            self.ledger.accounts.extend(changes.accounts);
            self.ledger
                .accounts
                .retain(|_, balance| *balance != embermesh_job::ledger::Balance::default());
            for (id, hold) in changes.holds {
                match hold {
                    Some(hold) => {
                        self.ledger.holds.insert(id, hold);
                    }
                    None => {
                        self.ledger.holds.remove(&id);
                    }
                }
            }
            if let Some(last) = changes.transactions.last() {
                self.ledger.last = last.number;
            }
            self.transactions.extend(changes.transactions);
        }
    }

    /// What an index goes on from.
    pub(crate) fn load(&self) -> Snapshot {
        let (ended, open): (Vec<_>, Vec<_>) = self
            .jobs
            .values()
            .partition(|stored| stored.job.state.is_final());
        let loaded = |stored: &&StoredJob| {
            let mut stored = (*stored).clone();
            let id = stored.job.id;
            stored.job.journal = self
                .journals
                .get(&id)
                .into_iter()
                .flat_map(BTreeMap::values)
                .cloned()
                .collect();
            let spec = (!stored.job.state.is_final())
                .then(|| self.specs.get(&id).cloned())
                .flatten();
            LoadedJob { stored, spec }
        };
        Snapshot {
            jobs: ended.iter().chain(&open).map(loaded).collect(),
            idempotency: self
                .jobs
                .values()
                .map(|stored| RememberedSubmit {
                    client: stored.job.owner,
                    key: stored.idempotency,
                    job: stored.job.id,
                    spec: stored.job.spec_digest,
                })
                .collect(),
            nodes: self.nodes.values().cloned().collect(),
            issuer: self.issuer.clone(),
            ledger: self.ledger.clone(),
            reservations: Vec::new(),
        }
    }

    /// What is known of a caller's key from the transactions.
    pub(crate) fn seen(&self, caller: PeerId, key: &Key) -> Seen {
        let earlier = self.transactions.iter().find(|transaction| {
            matches!(&transaction.why, Why::Asked { caller: by, key: with, .. } if *by == caller && with == key)
        });
        match earlier {
            Some(earlier) => Seen::Earlier(Box::new(earlier.clone())),
            None => Seen::NotUpTo(self.ledger.last),
        }
    }
}
