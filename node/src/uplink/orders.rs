//! What the index wants of this node, as it comes up.

use embermesh_crypto::{
    digest::Digest,
    time::UnixMillis,
    token::{Bearer, Method},
};
use embermesh_job::{
    assignment::TaskKey,
    order::{Order, Report, RunOrder},
    spec::JobSpec,
};
use embermesh_proto::v1;
use tokio::time::timeout;

use super::{CALL_WAIT, session::Session};
use crate::{
    store::ReportKind,
    task::{NotStarted, StopWhy, TaskOrder},
};

/// Takes orders until the stream ends.
pub(super) async fn take(session: &Session<'_>) -> Result<(), String> {
    let mut client = session.client.clone();
    let opening = timeout(CALL_WAIT, client.orders(v1::OrdersRequest {})).await;
    let mut orders = opening
        .map_err(|_| format!("no answer within {CALL_WAIT:?}"))?
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    loop {
        let order = orders
            .message()
            .await
            .map_err(|status| status.message().to_owned())?;
        let Some(order) = order else {
            return Err("the index has closed the stream of orders".to_owned());
        };
        match Order::try_from(order) {
            Ok(order) => Box::pin(obey(session, order)).await,
            Err(error) => tracing::warn!(index = %session.index, %error, "an order cannot be read"),
        }
    }
}

async fn obey(session: &Session<'_>, order: Order) {
    let trust = session.parts.gate.trust();
    let taken = match order {
        Order::Run(run) => return start(session, *run).await,
        Order::Cancel(key) => return session.parts.tasks.stop(key, StopWhy::ByIndex).await,
        Order::KeySet(bytes) => trust.take_key_set(session.index, bytes).await,
        Order::Revocation(bytes) => trust.take_revocation(session.index, bytes).await,
    };
    if let Err(error) = taken {
        tracing::warn!(index = %session.index, %error, "a statement of the index is not taken");
    }
}

/// Starts an attempt that the index delivers itself. What cannot be started is
/// reported, so that the job goes elsewhere at once and not when its lease lapses.
async fn start(session: &Session<'_>, run: RunOrder) {
    let key = TaskKey {
        job: run.assignment.job,
        task: run.assignment.task,
        epoch: run.assignment.epoch,
    };
    let order = match verified(session, run) {
        Ok(order) => order,
        Err((code, message)) => return decline(session, key, &code, message).await,
    };
    match session.parts.tasks.start(order).await {
        Ok(_) => {}
        // Orders are repeated when a stream is opened anew.
        Err(NotStarted::Refused(refusal))
            if matches!(refusal.code(), "replayed" | "stale_epoch") =>
        {
            tracing::debug!(job = %key.job, epoch = %key.epoch, "an order came again");
        }
        Err(NotStarted::Refused(refusal)) => {
            decline(session, key, refusal.code(), refusal.to_string()).await;
        }
        Err(NotStarted::Store(error)) => {
            decline(session, key, "storage_failed", error.to_string()).await;
        }
        // The index hears of it already.
        Err(
            not @ (NotStarted::NoSlot(_)
            | NotStarted::NotTaken(_)
            | NotStarted::Waits { .. }
            | NotStarted::OverQuota(_)),
        ) => {
            tracing::debug!(job = %key.job, epoch = %key.epoch, %not, "an order has no room here");
        }
    }
}

fn verified(session: &Session<'_>, run: RunOrder) -> Result<TaskOrder, (String, String)> {
    let passed = session
        .parts
        .gate
        .pass(
            &run.assignment.token,
            Bearer::Issuer(session.index),
            Method::Run,
            None,
            Some(Digest::of(&run.spec)),
            UnixMillis::now(),
        )
        .map_err(|refusal| (refusal.code().to_owned(), refusal.to_string()))?;
    let invalid = |error: String| ("invalid_spec".to_owned(), error);
    let spec = JobSpec::from_canonical(&run.spec).map_err(|error| invalid(error.to_string()))?;
    let canonical = String::from_utf8(run.spec).map_err(|error| invalid(error.to_string()))?;
    Ok(TaskOrder {
        assignment: passed.assignment,
        reports_to: passed.reports_to,
        rank: passed.rank,
        spec,
        canonical,
        resume: run.resume,
        inputs: run.inputs,
    })
}

async fn decline(session: &Session<'_>, key: TaskKey, code: &str, message: String) {
    tracing::warn!(job = %key.job, epoch = %key.epoch, code, message, "an order is declined");
    let report = Report::AttemptFailed {
        code: code.to_owned(),
        message,
    };
    let site = &session.parts.site;
    let posted = site.store.post(
        session.index,
        key,
        ReportKind::End,
        report,
        UnixMillis::now(),
    );
    match posted.await {
        Ok(()) => site.report_posted(),
        Err(error) => tracing::error!(%error, "a report was not kept"),
    }
}
