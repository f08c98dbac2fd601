//! What one transaction must make durable. Commands that follow each other
//! before the commit change the same rows once.

use std::collections::BTreeMap;

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId},
    statement::{Advert, Signed},
    time::UnixMillis,
};
use embermesh_job::{
    bill::{Bill, Terms},
    event::Event,
    ledger::{Changes, LedgerSnapshot},
    lifecycle::{Job, JournalEntry},
    reservation::Kept,
};

use super::{IssuerSnapshot, KeysSnapshot, RevocationWrites};

/// A job as the store keeps it.
#[derive(Clone, Debug)]
pub struct StoredJob {
    /// Everything about its state but its journal and the two events, which have
    /// places of their own.
    pub job: Job,
    /// The newest event that was heard.
    pub latest: Option<Event>,
    /// The event that ended it.
    pub finished: Option<Event>,
    /// The client's name for its submit.
    pub idempotency: [u8; 16],
    /// When it was taken on.
    pub submitted_at: UnixMillis,
    /// When it last changed its state.
    pub updated_at: UnixMillis,
    /// Entries of the journal that the store does not have yet.
    pub journal: Vec<JournalEntry>,
    /// The budget, where the job has one.
    pub bill: Option<Bill>,
    /// What was agreed for the newest attempt.
    pub terms: Option<Terms>,
    /// Whether its client has yet to be heard of again.
    pub unclaimed: bool,
}

/// A receipt, exactly as signed.
#[derive(Clone, Debug)]
pub struct StoredReceipt {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub epoch: Epoch,
    /// The node that signed.
    pub node: PeerId,
    /// The signed bytes.
    pub bytes: Bytes,
}

/// A registered node, as far as it outlives a restart.
#[derive(Clone, Debug)]
pub struct StoredNode {
    /// Its advert, exactly as signed.
    pub advert: Signed<Advert>,
    /// Its key.
    pub peer: PeerId,
    /// When it said so.
    pub seen_at: UnixMillis,
}

/// All that is to be written.
#[derive(Debug, Default)]
pub struct Writes {
    /// Jobs that changed, each once.
    pub jobs: Vec<StoredJob>,
    /// Specs of new jobs.
    pub specs: Vec<(JobId, Bytes)>,
    /// New receipts.
    pub receipts: Vec<StoredReceipt>,
    /// Nodes that registered or moved, and none for those that were forgotten.
    pub nodes: BTreeMap<PeerId, Option<StoredNode>>,
    /// The issuer's keys and their set, when anything about them changed.
    pub keys: Option<KeysSnapshot>,
    /// What changed about the tokens that are withdrawn.
    pub revocation: Option<RevocationWrites>,
    /// What the ledger's transactions changed.
    pub ledger: Option<Changes>,
    /// Reservations that changed, each once.
    pub reservations: Vec<Kept>,
}

impl Writes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
            && self.specs.is_empty()
            && self.receipts.is_empty()
            && self.nodes.is_empty()
            && self.keys.is_none()
            && self.revocation.is_none()
            && self.ledger.is_none()
            && self.reservations.is_empty()
    }
}

impl StoredJob {
    /// The job with its events; its journal is the caller's to give.
    #[must_use]
    pub fn into_job(self) -> Job {
        let mut job = self.job;
        job.latest = self.latest;
        job.finished = self.finished;
        job
    }
}

/// A job as the store gives it back, with its spec while it is open.
#[derive(Clone, Debug)]
pub struct LoadedJob {
    /// The job; its journal holds what the store has.
    pub stored: StoredJob,
    /// The canonical spec, for a job that has not ended.
    pub spec: Option<Bytes>,
}

/// All that the store gives back at the start.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Open jobs, and the newest of those that have ended.
    pub jobs: Vec<LoadedJob>,
    /// The newest idempotency keys, oldest first.
    pub idempotency: Vec<RememberedSubmit>,
    /// Nodes that were registered.
    pub nodes: Vec<StoredNode>,
    /// The issuer.
    pub issuer: IssuerSnapshot,
    /// The ledger: balances and open holds.
    pub ledger: LedgerSnapshot,
    /// Open reservations, and the newest of those that are over.
    pub reservations: Vec<Kept>,
}

/// A submit that may be sent again.
#[derive(Clone, Copy, Debug)]
pub struct RememberedSubmit {
    /// Who sent it.
    pub client: PeerId,
    /// The client's name for it.
    pub key: [u8; 16],
    /// The job that it made.
    pub job: JobId,
    /// The digest of its spec.
    pub spec: Digest,
}
