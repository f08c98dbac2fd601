//! A job in memory: its lifecycle, and what the index adds to it.

use bytes::Bytes;
use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, PeerId, TaskIndex},
    time::UnixMillis,
};
use embermesh_job::{
    bill::{Bill, Terms},
    event::Outcome,
    lifecycle::{Attempt, Job, JobState},
    place::Takes,
    spec::{Askers, Input, JobSpec, Limits, Requirements, Runtime, Work},
};

use super::writes::StoredJob;

/// The word for an attempt whose node fell silent.
const LEASE_LAPSED: &str = "lease_lapsed";

/// A plan has one task for now, and this is its index.
pub(super) const TASK: TaskIndex = TaskIndex(0);

/// What is only needed of a job until it has ended. The work itself stays in
/// the canonical bytes: the index never looks at it again.
#[derive(Debug)]
pub(super) struct OpenSpec {
    pub(super) requires: Requirements,
    pub(super) limits: Limits,
    pub(super) runtime: Option<Runtime>,
    pub(super) inputs: Vec<Input>,
    pub(super) canonical: Bytes,
    pub(super) takes: Takes,
    /// What is deployed, where the job is a deployment.
    pub(super) deployed: Option<Deployed>,
}

/// What a list of deployments shows of one, and to whom.
#[derive(Debug)]
pub(super) struct Deployed {
    pub(super) model: Digest,
    pub(super) askers: Askers,
}

impl OpenSpec {
    pub(super) fn new(spec: &JobSpec, canonical: Bytes) -> Self {
        Self {
            requires: spec.requires.clone(),
            limits: spec.limits,
            runtime: spec.runtime(),
            inputs: spec.inputs(),
            canonical,
            takes: Takes::of(&spec.work),
            deployed: match &spec.work {
                Work::Serve(serve) => Some(Deployed {
                    model: serve.digest(),
                    askers: serve.askers.clone(),
                }),
                _ => None,
            },
        }
    }
}

/// A job.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) job: Job,
    pub(super) open: Option<OpenSpec>,
    pub(super) idempotency: [u8; 16],
    pub(super) submitted_at: UnixMillis,
    pub(super) updated_at: UnixMillis,
    /// The number of the last journal entry that the store was given.
    pub(super) journal_written: u64,
    /// The budget, where the job has one.
    pub(super) bill: Option<Bill>,
    /// What was agreed for the newest attempt, where anything was.
    pub(super) terms: Option<Terms>,
    /// Its client may have gone elsewhere with it: he has not been heard of since he
    /// submitted it tentatively.
    pub(super) unclaimed: bool,
}

/// Where a job stands, as far as the queue, the leases and the registry care.
pub(super) struct Standing {
    pub(super) node: Option<PeerId>,
    pub(super) lease: Option<UnixMillis>,
}

impl Record {
    /// The attempt that has a node now.
    pub(super) fn running(&self) -> Option<&Attempt> {
        self.job.current()
    }

    pub(super) fn standing(&self) -> Standing {
        let attempt = self.running();
        Standing {
            node: attempt.map(|attempt| attempt.node),
            lease: attempt.map(|attempt| attempt.lease_until),
        }
    }

    /// Whether a node has been heard of that has it.
    pub(super) fn has_begun(&self) -> bool {
        let last = self.job.attempts.last();
        last.is_some_and(|attempt| attempt.started.is_some())
    }

    /// How the job ended, once it has.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self.job.state {
            JobState::Succeeded => Some(Outcome::Succeeded),
            JobState::Failed => Some(Outcome::Failed),
            JobState::Cancelled => Some(Outcome::Cancelled),
            _ => None,
        }
    }

    /// When the last attempt ended.
    pub(super) fn last_ended(&self) -> Option<UnixMillis> {
        Some(self.job.attempts.last()?.ended.as_ref()?.at)
    }

    /// What the last attempt says about its node: nothing where the client
    /// ended it or never came, or the job itself could not be done.
    pub(super) fn last_outcome(&self) -> Option<bool> {
        match self.job.state {
            JobState::Succeeded => Some(true),
            JobState::Cancelled => None,
            JobState::Failed if self.job.finished.is_some() => None,
            _ => self
                .job
                .attempts
                .last()
                .filter(|attempt| attempt.started.is_some() || was_ignored(attempt))
                .map(|_| false),
        }
    }

    /// The nodes that had the job and did not end it: others come first next time.
    /// A token that nobody presented says nothing about its node.
    pub(super) fn tried(&self) -> Vec<PeerId> {
        let mut nodes: Vec<PeerId> = self.lost().map(|attempt| attempt.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// How many attempts came to nothing at a node that had the job.
    pub(super) fn losses(&self) -> u32 {
        let real = self.lost().filter(|attempt| !attempt.was_declined());
        u32::try_from(real.count()).unwrap_or(u32::MAX)
    }

    fn lost(&self) -> impl Iterator<Item = &Attempt> {
        self.job
            .attempts
            .iter()
            .filter(|attempt| attempt.started.is_some() || was_ignored(attempt) || !lapsed(attempt))
    }

    /// A copy of the job without its journal, which may be long.
    pub(super) fn without_journal(&mut self) -> Job {
        let kept = std::mem::take(&mut self.job.journal);
        let job = self.job.clone();
        self.job.journal = kept;
        job
    }

    /// The job for the store, with the journal entries that it lacks.
    pub(super) fn hand_over(&mut self) -> StoredJob {
        let journal: Vec<_> = self
            .job
            .journal
            .iter()
            .filter(|entry| entry.number > self.journal_written)
            .cloned()
            .collect();
        if let Some(last) = journal.last() {
            self.journal_written = last.number;
        }
        let mut job = self.without_journal();
        StoredJob {
            latest: job.latest.take(),
            finished: job.finished.take(),
            job,
            idempotency: self.idempotency,
            submitted_at: self.submitted_at,
            updated_at: self.updated_at,
            journal,
            bill: self.bill.clone(),
            terms: self.terms.clone(),
            unclaimed: self.unclaimed,
        }
    }
}

/// Whether an attempt was ordered from its node, which never began it. A node that claims
/// slots which it does not have would else be given the same job until no attempt is left.
/// A first attempt that never began says nothing: its client may not have presented it.
fn was_ignored(attempt: &Attempt) -> bool {
    attempt.started.is_none() && attempt.epoch > Epoch::FIRST && lapsed(attempt)
}

fn lapsed(attempt: &Attempt) -> bool {
    let end = attempt.ended.as_ref();
    end.is_some_and(|end| end.code == LEASE_LAPSED)
}
