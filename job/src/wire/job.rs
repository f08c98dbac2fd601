//! A job as an index shows it to clients.

use embermesh_crypto::{Digest, Epoch, JobId, PeerId, UnixMillis};
use embermesh_proto::v1;
use serde::Serialize;

use super::{Charge, InvalidMessage, digest, digest_bytes, job_id, list, peer, text};
use crate::{
    address::Checkpoint,
    event::{Artifact, Event},
    lifecycle::{JobState, JournalEntry},
    spec::MAX_SPEC_LEN,
};

/// A job as an index shows it to clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: PeerId,
    /// Where it stands.
    pub state: JobState,
    /// The digest of its canonical spec.
    pub spec_digest: Digest,
    /// The newest attempt, 0 before the first.
    pub epoch: Epoch,
    /// The node of the current attempt, or of the last.
    pub node: Option<PeerId>,
    /// When it was taken on.
    pub submitted_at: UnixMillis,
    /// When it last changed its state.
    pub updated_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// The newest event that the index heard of.
    pub latest: Option<Event>,
    /// The event that ended it, with the receipt.
    pub finished: Option<Event>,
    /// What it made.
    pub artifacts: Vec<Artifact>,
    /// Where the next attempt would go on from.
    pub checkpoint: Option<Checkpoint>,
    /// Why it waits, or why it failed.
    pub reason: String,
    /// Why each node was passed over: node, stable word, and the same for
    /// people.
    pub passed_over: Vec<(PeerId, String, String)>,
    /// The changes of its state.
    pub journal: Vec<JournalEntry>,
    /// The canonical spec, where the index still has it.
    #[serde(skip)]
    pub spec: Vec<u8>,
    /// What it costs; nothing for a job that costs nothing.
    pub charge: Option<Charge>,
}

impl From<JobState> for v1::JobState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Assigned => Self::Assigned,
            JobState::Running => Self::Running,
            JobState::Paused => Self::Paused,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl TryFrom<v1::JobState> for JobState {
    type Error = InvalidMessage;

    fn try_from(wire: v1::JobState) -> Result<Self, Self::Error> {
        Ok(match wire {
            v1::JobState::Queued => Self::Queued,
            v1::JobState::Assigned => Self::Assigned,
            v1::JobState::Running => Self::Running,
            v1::JobState::Paused => Self::Paused,
            v1::JobState::Succeeded => Self::Succeeded,
            v1::JobState::Failed => Self::Failed,
            v1::JobState::Cancelled => Self::Cancelled,
            v1::JobState::Unspecified => return Err(InvalidMessage::missing("state")),
        })
    }
}

impl From<JournalEntry> for v1::JournalEntry {
    fn from(entry: JournalEntry) -> Self {
        Self {
            number: entry.number,
            at_ms: entry.at.0,
            state: v1::JobState::from(entry.state).into(),
            epoch: entry.epoch.0,
            node_id: entry.node.map(|node| node.to_string()).unwrap_or_default(),
            reason: entry.reason,
        }
    }
}

impl TryFrom<v1::JournalEntry> for JournalEntry {
    type Error = InvalidMessage;

    fn try_from(wire: v1::JournalEntry) -> Result<Self, Self::Error> {
        Ok(Self {
            number: wire.number,
            at: UnixMillis(wire.at_ms),
            state: wire.state().try_into()?,
            epoch: Epoch(wire.epoch),
            node: optional_peer("journal.node_id", &wire.node_id)?,
            reason: text("journal.reason", wire.reason)?,
        })
    }
}

impl From<JobView> for v1::Job {
    fn from(job: JobView) -> Self {
        Self {
            id: job.id.to_string(),
            name: job.name,
            owner: job.owner.to_string(),
            state: v1::JobState::from(job.state).into(),
            spec_digest: digest_bytes(&job.spec_digest),
            epoch: job.epoch.0,
            node_id: job.node.map(|node| node.to_string()).unwrap_or_default(),
            submitted_at_ms: job.submitted_at.0,
            updated_at_ms: job.updated_at.0,
            ended_at_ms: job.ended_at.unwrap_or_default().0,
            latest: job.latest.map(Into::into),
            finished: job.finished.map(Into::into),
            artifacts: job.artifacts.into_iter().map(Into::into).collect(),
            checkpoint: job.checkpoint.map(Into::into),
            reason: job.reason,
            passed_over: job
                .passed_over
                .into_iter()
                .map(|(node, code, message)| v1::PassedOver {
                    node_id: node.to_string(),
                    code,
                    message,
                })
                .collect(),
            journal: job.journal.into_iter().map(Into::into).collect(),
            spec: job.spec.into(),
            charge: job.charge.map(Into::into),
        }
    }
}

impl TryFrom<v1::Job> for JobView {
    type Error = InvalidMessage;

    fn try_from(wire: v1::Job) -> Result<Self, Self::Error> {
        if wire.spec.len() > MAX_SPEC_LEN {
            return Err(InvalidMessage::new("spec", "it is too large"));
        }
        Ok(Self {
            state: wire.state().try_into()?,
            id: job_id(&wire.id)?,
            name: text("name", wire.name)?,
            owner: peer("owner", &wire.owner)?,
            spec_digest: digest("spec_digest", &wire.spec_digest)?,
            epoch: Epoch(wire.epoch),
            node: optional_peer("node_id", &wire.node_id)?,
            submitted_at: UnixMillis(wire.submitted_at_ms),
            updated_at: UnixMillis(wire.updated_at_ms),
            ended_at: (wire.ended_at_ms > 0).then_some(UnixMillis(wire.ended_at_ms)),
            latest: wire.latest.map(TryInto::try_into).transpose()?,
            finished: wire.finished.map(TryInto::try_into).transpose()?,
            artifacts: list("artifacts", wire.artifacts, TryInto::try_into)?,
            checkpoint: wire.checkpoint.map(TryInto::try_into).transpose()?,
            reason: text("reason", wire.reason)?,
            passed_over: list("passed_over", wire.passed_over, |passed| {
                Ok((
                    peer("passed_over.node_id", &passed.node_id)?,
                    text("passed_over.code", passed.code)?,
                    text("passed_over.message", passed.message)?,
                ))
            })?,
            journal: list("journal", wire.journal, TryInto::try_into)?,
            spec: wire.spec.to_vec(),
            charge: wire.charge.map(Into::into),
        })
    }
}

fn optional_peer(field: &'static str, text: &str) -> Result<Option<PeerId>, InvalidMessage> {
    if text.is_empty() {
        return Ok(None);
    }
    peer(field, text).map(Some)
}
