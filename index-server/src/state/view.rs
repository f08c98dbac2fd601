//! A job as it is shown. The reasons why it waits are worked out when it is
//! looked at, so they are never older than the question; a list does without
//! them, because they cost a placement for each job.

use bytes::Bytes;
use embermesh_crypto::{
    ids::{JobId, PeerId},
    time::UnixMillis,
};
use embermesh_job::{
    lifecycle::{Job, JobState},
    wire::Charge,
};

use super::{Refused, State, bills::charge, settings::PASSED_OVER_SHOWN};

/// Why every job waits while there is nobody to run it.
const NO_NODE: &str = "no live node is registered";

/// A node that a waiting job was not given to, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PassedOver {
    /// The node.
    pub node: PeerId,
    /// A stable word.
    pub code: &'static str,
    /// The same for people.
    pub message: String,
}

/// A job at one moment.
#[derive(Clone, Debug)]
pub struct JobSnapshot {
    /// Its lifecycle.
    pub job: Job,
    /// When it was taken on.
    pub submitted_at: UnixMillis,
    /// When its state last changed.
    pub updated_at: UnixMillis,
    /// Why it waits, for people; empty when it does not.
    pub reason: String,
    /// Why each node was passed over, while it waits; empty in a list.
    pub passed_over: Vec<PassedOver>,
    /// The canonical spec, where it is in memory; not in a list.
    pub spec: Option<Bytes>,
    /// What it costs; nothing where no money is in it.
    pub charge: Option<Charge>,
}

impl State {
    /// A job as it is now.
    pub(super) fn snapshot(&self, id: JobId) -> Result<JobSnapshot, Refused> {
        let record = self.record(id)?;
        let waits = record.job.state == JobState::Queued;
        let passed_over = if waits {
            self.passed_over(id)
        } else {
            Vec::new()
        };
        let reason = match (waits, self.registry.live(), passed_over.len()) {
            (false, ..) => String::new(),
            (true, 0, _) => NO_NODE.to_owned(),
            (true, _, 0) => "waits for its turn".to_owned(),
            (true, _, n) => format!("no node fits now; {n} passed over"),
        };
        Ok(JobSnapshot {
            job: record.job.clone(),
            submitted_at: record.submitted_at,
            updated_at: record.updated_at,
            reason,
            passed_over,
            spec: record.open.as_ref().map(|open| open.canonical.clone()),
            charge: charge(record.bill.as_ref(), record.terms.as_ref()),
        })
    }

    /// A job as a list shows it.
    pub(super) fn summary(&mut self, id: JobId) -> Option<JobSnapshot> {
        let live = self.registry.live();
        let record = self.jobs.get_mut(&id)?;
        let reason = match (record.job.state, live) {
            (JobState::Queued, 0) => NO_NODE.to_owned(),
            (JobState::Queued, _) => "waits for a node".to_owned(),
            _ => record
                .job
                .journal
                .last()
                .map(|entry| entry.reason.clone())
                .unwrap_or_default(),
        };
        Some(JobSnapshot {
            job: record.without_journal(),
            submitted_at: record.submitted_at,
            updated_at: record.updated_at,
            reason,
            passed_over: Vec::new(),
            spec: None,
            charge: charge(record.bill.as_ref(), record.terms.as_ref()),
        })
    }

    fn passed_over(&self, id: JobId) -> Vec<PassedOver> {
        let Some(placement) = self.placement(id, &[], 0) else {
            return Vec::new();
        };
        placement
            .passed_over
            .into_iter()
            .take(PASSED_OVER_SHOWN)
            .map(|passed| PassedOver {
                node: passed.peer,
                code: passed.why.code(),
                message: passed.why.to_string(),
            })
            .collect()
    }
}
