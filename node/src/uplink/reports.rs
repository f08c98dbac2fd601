//! What the index has still to hear: the outbox, oldest first, until each report
//! is acknowledged. It survives restarts of either side.

use tokio::time::timeout;
use tonic::Code;

use super::{CALL_WAIT, session::Session};
use crate::store::OutboxEntry;

/// Sends what waits, and what comes, until the connection is lost.
pub(super) async fn send(session: &Session<'_>) -> Result<(), String> {
    let site = &session.parts.site;
    let mut posted = site.posted.subscribe();
    loop {
        posted.mark_unchanged();
        while let Some(entry) = next(session).await? {
            deliver(session, entry).await?;
        }
        if posted.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn next(session: &Session<'_>) -> Result<Option<OutboxEntry>, String> {
    let store = &session.parts.site.store;
    store
        .next_report(session.index)
        .await
        .map_err(|error| error.to_string())
}

async fn deliver(session: &Session<'_>, entry: OutboxEntry) -> Result<(), String> {
    let OutboxEntry { id, key, report } = entry;
    let mut client = session.client.clone();
    let answer = timeout(CALL_WAIT, client.report(report.into_wire(key))).await;
    match answer {
        Err(_) => return Err(format!("a report was not answered within {CALL_WAIT:?}")),
        Ok(Ok(answer)) => {
            if !answer.into_inner().accepted {
                tracing::info!(job = %key.job, epoch = %key.epoch, "a report came after a later attempt had taken over");
            }
        }
        // It would be refused the same way the next time.
        Ok(Err(status)) if is_final(status.code()) => {
            tracing::warn!(job = %key.job, epoch = %key.epoch, code = %status.code(), message = status.message(), "the index refuses a report");
        }
        Ok(Err(status)) => return Err(status.message().to_owned()),
    }
    let store = &session.parts.site.store;
    store
        .acknowledged(id)
        .await
        .map_err(|error| error.to_string())
}

/// Whether sending it again cannot help.
const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
    )
}
