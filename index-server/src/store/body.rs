//! A job's row: what of it is text, and what is a column.

use embermesh_crypto::time::UnixMillis;
use embermesh_job::{
    bill::{Bill, Terms},
    event::Event,
    lifecycle::{Job, JobState, MAX_JOURNAL},
};
use embermesh_proto::v1;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::state::{JobSnapshot, StoredJob, bills::charge};

/// The number of the first state that is final, in the order of the column.
pub(super) const FIRST_FINAL_STATE: i64 = 10;

/// How much of a journal is read back.
pub(super) const JOURNAL_KEPT: usize = MAX_JOURNAL;

/// What changes as a job runs, as it is written.
#[derive(Serialize)]
struct BodyOut<'a> {
    job: &'a Job,
    submitted_at: UnixMillis,
    updated_at: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    bill: Option<&'a Bill>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<&'a Terms>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unclaimed: bool,
}

/// The same as it is read.
#[derive(Deserialize)]
struct BodyIn {
    job: Job,
    submitted_at: UnixMillis,
    updated_at: UnixMillis,
    #[serde(default)]
    bill: Option<Bill>,
    #[serde(default)]
    terms: Option<Terms>,
    #[serde(default)]
    unclaimed: bool,
}

/// The text of a job's row. The journal has a table of its own.
pub(super) fn encode(stored: &StoredJob) -> String {
    let body = BodyOut {
        job: &stored.job,
        submitted_at: stored.submitted_at,
        updated_at: stored.updated_at,
        bill: stored.bill.as_ref(),
        terms: stored.terms.as_ref(),
        unclaimed: stored.unclaimed,
    };
    // Only a map with keys that are not texts can fail, and there is none.
    serde_json::to_string(&body).unwrap_or_default()
}

/// The job of a row's text.
pub(super) fn decode(text: &str, idempotency: &[u8]) -> Result<StoredJob, StoreError> {
    let body: BodyIn =
        serde_json::from_str(text).map_err(|error| StoreError::bad_row("jobs", error))?;
    Ok(StoredJob {
        job: body.job,
        latest: None,
        finished: None,
        idempotency: idempotency
            .try_into()
            .map_err(|_| StoreError::bad_row("jobs", "an idempotency key is not 16 bytes"))?,
        submitted_at: body.submitted_at,
        updated_at: body.updated_at,
        journal: Vec::new(),
        bill: body.bill,
        terms: body.terms,
        unclaimed: body.unclaimed,
    })
}

/// The bytes of an event's column.
pub(super) fn encode_event(event: &Event) -> Vec<u8> {
    v1::Event::from(event.clone()).encode_to_vec()
}

/// The event of a column's bytes.
pub(super) fn decode_event(bytes: Vec<u8>) -> Result<Event, StoreError> {
    let event =
        v1::Event::decode(bytes.as_slice()).map_err(|error| StoreError::bad_row("jobs", error))?;
    event
        .try_into()
        .map_err(|error| StoreError::bad_row("jobs", error))
}

/// A stored job as it is shown.
pub(super) fn snapshot(stored: StoredJob) -> JobSnapshot {
    JobSnapshot {
        charge: charge(stored.bill.as_ref(), stored.terms.as_ref()),
        submitted_at: stored.submitted_at,
        updated_at: stored.updated_at,
        job: stored.into_job(),
        reason: String::new(),
        passed_over: Vec::new(),
        spec: None,
    }
}

/// The number of a state; open ones are below [`FIRST_FINAL_STATE`].
pub(super) const fn state_number(state: JobState) -> i64 {
    match state {
        JobState::Queued => 1,
        JobState::Assigned => 2,
        JobState::Running => 3,
        JobState::Paused => 4,
        JobState::Succeeded => 10,
        JobState::Failed => 11,
        JobState::Cancelled => 12,
    }
}

/// The state of a number.
pub(super) fn state(number: i64) -> Result<JobState, StoreError> {
    Ok(match number {
        1 => JobState::Queued,
        2 => JobState::Assigned,
        3 => JobState::Running,
        4 => JobState::Paused,
        10 => JobState::Succeeded,
        11 => JobState::Failed,
        12 => JobState::Cancelled,
        other => {
            return Err(StoreError::bad_row(
                "journal",
                format!("there is no state {other}"),
            ));
        }
    })
}
