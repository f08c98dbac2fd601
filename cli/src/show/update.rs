//! One word of a followed job, as a line and as JSON.

use std::{collections::BTreeMap, time::Duration};

use embermesh_client::{Ended, Side, Update};
use embermesh_crypto::PeerId;
use embermesh_job::event::{Event, EventKind, Notice, Progress};
use serde_json::{Value, json};

use super::{amount, answer, ended::word};

/// Nodes of which it is told why they do not take a job.
const MAX_LINES: usize = 10;

/// A line for people; `None` for what is not worth one.
pub(crate) fn text(update: &Update) -> Option<String> {
    Some(match update {
        Update::Queued {
            reason,
            passed_over,
        } => queued(reason, passed_over),
        Update::Uploading { digest, size } => {
            format!(
                "sending input {} ({}) to the node",
                digest.short(),
                amount::bytes(*size)
            )
        }
        Update::Assigned { node, epoch, road } => {
            format!(
                "streaming from node {} over {road}, attempt {epoch}",
                node.short()
            )
        }
        Update::Event(event) => event_text(event),
        Update::Notice(notice) => notice_text(notice)?,
        Update::Reconnecting { to, reason } => {
            format!("lost the {}: {reason}; connecting again", side(*to))
        }
        Update::Back(to) => format!("the {} is back", side(*to)),
        Update::Missed { from, to } => {
            format!("events {from} to {to} are gone with the node that had them")
        }
        Update::Ended(ended) => ended_text(ended),
    })
}

/// The same for programs.
pub(crate) fn value(update: &Update) -> Value {
    match update {
        Update::Queued {
            reason,
            passed_over,
        } => json!({
            "update": "queued",
            "reason": reason,
            "passed_over": passed_over.iter().map(|(node, code, message)| json!({
                "node": node, "code": code, "message": message,
            })).collect::<Vec<_>>(),
        }),
        Update::Uploading { digest, size } => {
            json!({ "update": "uploading", "digest": digest, "size": size })
        }
        Update::Assigned { node, epoch, road } => json!({
            "update": "assigned", "node": node, "epoch": epoch, "road": road.as_str(),
        }),
        Update::Event(event) => json!({ "update": "event", "event": event }),
        Update::Notice(notice) => json!({ "update": "notice", "notice": notice }),
        Update::Reconnecting { to, reason } => json!({
            "update": "reconnecting", "to": side(*to), "reason": reason,
        }),
        Update::Back(to) => json!({ "update": "back", "to": side(*to) }),
        Update::Missed { from, to } => json!({ "update": "missed", "from": from, "to": to }),
        Update::Ended(ended) => json!({
            "update": "ended",
            "outcome": word(ended.outcome),
            "message": ended.message,
            "node": ended.node.as_ref().map(|node| node.peer),
            "epoch": ended.epoch,
            "artifacts": ended.artifacts,
        }),
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Index => "index",
        Side::Node => "node",
    }
}

/// Why a job waits, and each node that does not take it on a line of its own.
fn queued(reason: &str, passed_over: &[(PeerId, String, String)]) -> String {
    let reason = if reason.is_empty() {
        "no node is free"
    } else {
        reason
    };
    let mut text = match passed_over.len() {
        0 => format!("waiting: {reason}"),
        1 => format!("waiting: {reason} (1 node passed over)"),
        many => format!("waiting: {reason} ({many} nodes passed over)"),
    };
    for (node, code, message) in passed_over.iter().take(MAX_LINES) {
        text.push_str(&format!("\n  node {} ({code}): {message}", node.short()));
    }
    if passed_over.len() > MAX_LINES {
        text.push_str("\n  ...");
    }
    text
}

fn event_text(event: &Event) -> String {
    match &event.kind {
        // A script: its steps are its own.
        EventKind::Started {
            device,
            parameters: 0,
            total_steps: 1,
            ..
        } => format!("started on {device}"),
        EventKind::Started {
            device,
            parameters,
            total_steps,
            samples,
        } => format!(
            "started on {device}: {parameters} parameters, {samples} samples, {total_steps} steps"
        ),
        EventKind::Progress(progress) => progress_text(progress),
        EventKind::EpochEnded {
            pass,
            train_loss,
            train_accuracy,
            holdout_loss,
            holdout_accuracy,
        } => {
            let mut text = format!(
                "epoch {pass}: loss {train_loss:.4}, accuracy {}",
                amount::maybe_share(*train_accuracy)
            );
            if let Some(loss) = holdout_loss {
                text.push_str(&format!(
                    "; unseen: loss {loss:.4}, accuracy {}",
                    amount::maybe_share(*holdout_accuracy)
                ));
            }
            text
        }
        EventKind::Checkpoint { step, digest, size } => {
            format!(
                "checkpoint at step {step}: {} ({})",
                digest.short(),
                amount::bytes(*size)
            )
        }
        EventKind::Artifact(artifact) => {
            format!(
                "made {}: {} ({})",
                artifact.name,
                artifact.digest,
                amount::bytes(artifact.size)
            )
        }
        EventKind::Evaluated {
            samples,
            loss,
            accuracy,
        } => format!(
            "evaluated on {samples} samples: loss {loss:.4}, accuracy {}",
            amount::maybe_share(*accuracy)
        ),
        EventKind::Metrics { values } => metrics(values),
        EventKind::Generated(piece) => answer::line(piece),
        EventKind::Logged { text, .. } => answer::printable(text).trim_end().to_owned(),
        EventKind::Prepared { rows, columns } => {
            format!("{} of {columns} columns", prepared(rows))
        }
        EventKind::Adjusted {
            step,
            learning_rate,
            weight_decay,
        } => format!(
            "adjusted at step {step}: learning rate {learning_rate}, weight decay {weight_decay}"
        ),
        EventKind::Stopped { reason, .. } => format!("stopped {reason}"),
        EventKind::Loaded(loaded) => format!(
            "loaded: {} of memory, {} asks side by side",
            amount::bytes(loaded.memory_bytes),
            loaded.concurrency
        ),
        EventKind::Finished {
            outcome, message, ..
        } if message.is_empty() => word(*outcome).to_owned(),
        EventKind::Finished {
            outcome, message, ..
        } => format!("{}: {message}", word(*outcome)),
    }
}

/// Rows by the names of splits.
pub(crate) fn prepared(rows: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = rows
        .iter()
        .map(|(name, count)| match name.as_str() {
            "prepared" => format!("{count} rows"),
            _ => format!("{name} {count} rows"),
        })
        .collect();
    format!("prepared {}", parts.join(", "))
}

/// Measures by name.
pub(crate) fn metrics(values: &BTreeMap<String, f64>) -> String {
    values
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// How far the work is.
pub(crate) fn progress_text(progress: &Progress) -> String {
    format!(
        "step {}/{}, epoch {}/{}: loss {}, accuracy {}, {:.0} samples/s, {} left",
        progress.step,
        progress.total_steps,
        progress.pass,
        progress.total_passes,
        amount::loss(progress.loss),
        amount::maybe_share(progress.accuracy),
        progress.samples_per_second,
        amount::span(Duration::from_millis(progress.remaining_ms)),
    )
}

fn notice_text(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::FetchingInput {
            digest,
            size,
            received,
        } => format!(
            "the node fetches input {}: {} of {}",
            digest.short(),
            amount::bytes(*received),
            amount::bytes(*size)
        ),
        Notice::Paused(true) => "paused".to_owned(),
        Notice::Paused(false) => "going on".to_owned(),
        Notice::DataAwaited(true) => {
            "the node waits for the data, which stays with its client".to_owned()
        }
        Notice::DataAwaited(false) => "the data comes again".to_owned(),
        Notice::AttemptEnded { code, message } => format!("the attempt ended ({code}): {message}"),
        Notice::Draining => "the node is about to stop; the job will be moved".to_owned(),
        Notice::Idle => return None,
    })
}

fn ended_text(ended: &Ended) -> String {
    if ended.message.is_empty() {
        return format!("job {}", word(ended.outcome));
    }
    format!("job {}: {}", word(ended.outcome), ended.message)
}
