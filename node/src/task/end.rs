//! The end of an attempt: the receipt, the last event, the report; each durable
//! before it is shown.

use std::time::Duration;

use embermesh_compute::pipe::WorkSummary;
use embermesh_crypto::{
    statement::{Outcome, StatementError},
    time::UnixMillis,
};
use embermesh_job::{
    event::{Event, EventKind},
    order::Report,
};
use thiserror::Error;
use tokio::{sync::MutexGuard, time::sleep};

use super::run::{Attempt, End};
use crate::{
    receipt::{self, Ended},
    store::{AttemptEnd, StoreError},
};

/// Tries to write the end of an attempt, when the disk refuses.
const TRIES: u32 = 5;

/// How long to wait between them.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// How long the last checkpoint of a failed attempt may take to reach another node
/// before the failure is reported: the next attempt goes on from what is known then.
const LAST_COPY: Duration = Duration::from_secs(10);

/// Bytes of a message that are told.
const MAX_MESSAGE: usize = 4096;

/// Why there is no receipt.
#[derive(Debug, Error)]
enum Unsigned {
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("the one before it cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// Ends an attempt whose worker is gone.
pub(super) async fn end(attempt: Attempt, ended: End) -> Attempt {
    let key = attempt.key;
    match ended {
        End::Done(summary) => {
            let message = attempt.stopped.as_deref().unwrap_or_default();
            finish(&attempt, Outcome::Succeeded, message, Some(summary)).await;
        }
        End::Impossible(message) => finish(&attempt, Outcome::Failed, &message, None).await,
        End::Cancelled => {
            finish(&attempt, Outcome::Cancelled, "cancelled by its owner", None).await
        }
        End::StoppedByIndex => stopped_by_index(&attempt).await,
        End::Gone { code, message } => {
            tracing::warn!(job = %key.job, epoch = %key.epoch, code, message, "an attempt failed");
            if code != "superseded" {
                attempt.copies.settle(LAST_COPY).await;
            }
            gone(&attempt, code, &message, None).await;
        }
    }
    attempt.site.report_posted();
    attempt
}

/// The task is over: its last event says how, under a receipt.
async fn finish(attempt: &Attempt, outcome: Outcome, message: &str, summary: Option<WorkSummary>) {
    // Held until the receipt is on the disk: the next one names it.
    let chain = attempt.site.receipts.lock().await;
    let event = match last_event(attempt, &chain, outcome, message, summary).await {
        Ok(event) => event,
        Err(reason) => {
            let message = format!("the receipt cannot be signed: {reason}");
            drop(chain);
            return gone(attempt, "internal", &message, None).await;
        }
    };
    let store = &attempt.site.store;
    let reports_to = attempt.order.reports_to;
    let written = insist(|| store.finish(attempt.key, &event, reports_to)).await;
    drop(chain);
    match written {
        Ok(()) => {
            tracing::info!(job = %attempt.key.job, epoch = %attempt.key.epoch, ?outcome, message, "a task ended");
            attempt.log.show(event, Some(AttemptEnd::Finished));
        }
        Err(error) => unwritten(attempt, &error),
    }
}

/// The last event of a task, with a receipt that goes on from the node's newest. That
/// is read while nobody else signs one.
async fn last_event(
    attempt: &Attempt,
    _chain: &MutexGuard<'_, ()>,
    outcome: Outcome,
    message: &str,
    summary: Option<WorkSummary>,
) -> Result<Event, Unsigned> {
    let previous = attempt.site.store.newest_receipt().await?;
    let ended = UnixMillis::now();
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    let summary = served(attempt, summary);
    let receipt = receipt::sign(
        Ended {
            claims: attempt.order.assignment.claims(),
            spec: &attempt.order.spec,
            outcome,
            device: &attempt.device,
            device_kind: attempt.slot.kind(),
            artifacts: &attempt.artifacts,
            summary,
            began: attempt.began,
            ended,
            message,
            software: &attempt.software,
            usage: attempt.usage,
            wall_ms: u64::try_from(attempt.wall.as_millis()).unwrap_or(u64::MAX),
            resumed_from: attempt.order.resume.as_ref().map(|from| from.blob.digest),
            previous,
        },
        &attempt.site.keypair,
    )?;
    let next = attempt.log.head().last.max(attempt.order.resume_after()) + 1;
    Ok(Event {
        seq: summary.map_or(next, |summary| summary.next_seq.max(next)),
        epoch: attempt.key.epoch,
        at: ended,
        kind: EventKind::Finished {
            outcome,
            receipt,
            message: message.to_owned(),
        },
    })
}

/// What a resident model has served, however it ended: as the node has counted it,
/// which its askers have heard to the end.
fn served(attempt: &Attempt, summary: Option<WorkSummary>) -> Option<WorkSummary> {
    let Some(desk) = &attempt.desk else {
        return summary;
    };
    let (answered, made) = desk.served();
    Some(WorkSummary {
        steps: made,
        samples: answered,
        loss: None,
        accuracy: None,
        next_seq: summary.map_or(0, |summary| summary.next_seq),
    })
}

/// The index wants the attempt gone, and only it knows why: the task was cancelled,
/// or it runs elsewhere by now. So the index is given the receipt of a cancelled
/// attempt, which it takes if that is what it is; the stream says only that this
/// attempt has ended.
async fn stopped_by_index(attempt: &Attempt) {
    let code = "stopped";
    let message = "the index stopped this attempt: the job was cancelled, or it was moved";
    let chain = attempt.site.receipts.lock().await;
    let why = "cancelled at the index";
    let report = last_event(attempt, &chain, Outcome::Cancelled, why, None)
        .await
        .map(|event| Report::Event(Box::new(event)))
        .ok();
    gone(attempt, code, message, report).await;
}

/// The attempt is over and the task is not.
async fn gone(attempt: &Attempt, code: &str, message: &str, report: Option<Report>) {
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    let report = report.unwrap_or_else(|| Report::AttemptFailed {
        code: code.to_owned(),
        message: message.to_owned(),
    });
    let report = attempt.order.reports_to.map(|index| (index, report));
    let store = &attempt.site.store;
    let now = UnixMillis::now();
    let written =
        insist(|| store.end_attempt(attempt.key, code, message, report.clone(), now)).await;
    match written {
        Ok(()) => attempt.log.show_end(AttemptEnd::Gone {
            code: code.to_owned(),
            message: message.to_owned(),
        }),
        Err(error) => unwritten(attempt, &error),
    }
}

/// Nothing more can be kept. Nobody is told that the task is done, because that
/// would be forgotten; the lease lapses, and the job moves.
fn unwritten(attempt: &Attempt, error: &StoreError) {
    tracing::error!(job = %attempt.key.job, %error, "the end of an attempt could not be kept");
    attempt.log.show_end(AttemptEnd::Gone {
        code: "storage_failed".to_owned(),
        message: error.to_string(),
    });
}

async fn insist<F>(mut write: impl FnMut() -> F) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut tries = 1;
    loop {
        match write().await {
            Err(error) if tries < TRIES => {
                tracing::warn!(%error, tries, "the end of an attempt is written again");
                tries += 1;
                sleep(TRY_EVERY).await;
            }
            end => return end,
        }
    }
}
