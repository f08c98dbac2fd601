//! Tasks as calls find them: the one that a token speaks of, where it stands, and what
//! it may be told. What calls of this system and of others have in common.

use embermesh_compute::pipe::Adjustment;
use embermesh_crypto::token::{Claims, Refusal, TaskRef};
use embermesh_job::{
    event::{EventKind, Outcome},
    lifecycle::JobState,
    spec::Optimizer,
};
use tonic::Status;

use super::refusal;
use crate::{
    site::Site,
    store::AttemptEnd,
    task::{Found, Phase, TaskHandle, Tasks, Told},
};

/// The task that a token speaks of. It must be of the newest attempt here, and of the
/// client and the spec that that attempt was admitted with.
pub(crate) async fn found(tasks: &Tasks, claims: &Claims) -> Result<Found, Status> {
    let task = TaskRef {
        job: claims.job,
        task: claims.task,
    };
    let found = tasks
        .find(task, claims.epoch)
        .await
        .map_err(|error| refusal::store(&error))?;
    let found = found.ok_or_else(|| {
        Status::not_found(format!(
            "attempt {} of job {} has not been started on this node: run it first",
            claims.epoch, task.job
        ))
    })?;
    if found.client != claims.client {
        return Err(refusal::token(&Refusal::WrongClient));
    }
    if found.key.epoch > claims.epoch {
        return Err(refusal::token(&Refusal::StaleEpoch {
            token: claims.epoch,
            newest: found.key.epoch,
        }));
    }
    if found.spec != claims.spec {
        return Err(refusal::token(&Refusal::WrongJob));
    }
    Ok(found)
}

/// Where a task stands.
pub(crate) async fn state(site: &Site, found: &Found) -> Result<JobState, Status> {
    Ok(match (&found.running, found.log.head().end) {
        (Some(handle), None) if handle.phase() != Phase::Ended => handle.phase().state(),
        (_, Some(AttemptEnd::Finished)) => outcome(site, found).await?,
        // The attempt is over and the task is not: it waits for another.
        _ => JobState::Queued,
    })
}

async fn outcome(site: &Site, found: &Found) -> Result<JobState, Status> {
    let task = TaskRef {
        job: found.key.job,
        task: found.key.task,
    };
    let before = found.log.head().last.saturating_sub(1);
    let last = site.store.events(task, before, 1).await;
    let last = last.map_err(|error| refusal::store(&error))?.pop();
    Ok(match last.map(|event| event.kind) {
        Some(EventKind::Finished { outcome, .. }) => match outcome {
            Outcome::Succeeded => JobState::Succeeded,
            Outcome::Failed => JobState::Failed,
            Outcome::Cancelled => JobState::Cancelled,
        },
        _ => JobState::Queued,
    })
}

/// How a running training learns.
// A Status is what a handler returns, and tonic made it large.
#[allow(clippy::result_large_err)]
pub(crate) fn trains(handle: &TaskHandle) -> Result<Optimizer, Status> {
    handle
        .rule()
        .ok_or_else(|| Status::failed_precondition("only a training can be adjusted"))
}

/// What is asked of a training, within the bounds that its spec has, too.
#[allow(clippy::result_large_err)]
pub(crate) fn adjustment(handle: &TaskHandle, asked: Adjustment) -> Result<Adjustment, Status> {
    let rule = trains(handle)?;
    if asked.learning_rate.is_none() && asked.weight_decay.is_none() {
        return Err(Status::invalid_argument(
            "nothing is to be changed: give a learning rate or a weight decay",
        ));
    }
    let rate = asked.learning_rate.unwrap_or(rule.lr());
    let decay = asked.weight_decay.unwrap_or(rule.weight_decay());
    rule.adjusted(rate, decay)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(asked)
}

/// Tells a task to end with what there is.
pub(crate) async fn finish(handle: &TaskHandle) -> Result<(), Status> {
    if !handle.ends_early() {
        return Err(Status::failed_precondition(
            "this work has nothing to show before its end: cancel it instead",
        ));
    }
    handle.tell(Told::Finish).await;
    Ok(())
}
