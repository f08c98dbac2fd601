//! A job, as a row, as fields and as JSON.

use std::time::Duration;

use embermesh_client::JobView;
use embermesh_crypto::time::UnixMillis;
use embermesh_job::{event::EventKind, wire::Charge};
use serde_json::Value;

use super::{amount, answer, ended::word, update::metrics};
use crate::output::table;

/// The heads of the columns.
pub(crate) const HEADERS: [&str; 7] = [
    "job",
    "name",
    "state",
    "attempt",
    "node",
    "progress",
    "submitted",
];

/// One row of a table.
pub(crate) fn row(job: &JobView, now: UnixMillis) -> Vec<String> {
    vec![
        job.id.to_string(),
        job.name.clone(),
        job.state.to_string(),
        job.epoch.to_string(),
        job.node.map_or_else(|| "-".to_owned(), |node| node.short()),
        progress(job),
        amount::ago(job.submitted_at, now),
    ]
}

/// The same for programs.
pub(crate) fn value(job: &JobView) -> Value {
    serde_json::to_value(job).unwrap_or(Value::Null)
}

/// Everything about one job, for people.
pub(crate) fn page(job: &JobView) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("job", job.id.to_string()),
        ("name", job.name.clone()),
        ("state", job.state.to_string()),
        ("owner", job.owner.to_string()),
        ("spec", job.spec_digest.to_string()),
        ("attempt", job.epoch.to_string()),
    ];
    if let Some(node) = job.node {
        fields.push(("node", node.to_string()));
    }
    fields.push(("submitted", amount::instant(job.submitted_at)));
    if let Some(ended) = job.ended_at {
        fields.push(("ended", amount::instant(ended)));
        fields.push(("took", amount::span(ended.since(job.submitted_at))));
    }
    if let Some(charge) = &job.charge {
        fields.extend(cost(charge));
    }
    if !job.reason.is_empty() {
        fields.push(("reason", job.reason.clone()));
    }
    fields.push(("progress", progress(job)));
    if let Some(checkpoint) = &job.checkpoint {
        let text = format!("step {}, {}", checkpoint.step, checkpoint.blob.digest);
        fields.push(("checkpoint", text));
    }
    for artifact in &job.artifacts {
        let text = format!(
            "{} {} {} bytes",
            artifact.name, artifact.digest, artifact.size
        );
        fields.push(("artifact", text));
    }
    for (node, code, message) in &job.passed_over {
        fields.push(("passed over", format!("{} {code}: {message}", node.short())));
    }
    fields
}

/// What a job costs, for people.
fn cost(charge: &Charge) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if let Some(budget) = charge.budget {
        fields.push(("budget", budget.to_string()));
    }
    if let Some(price) = charge.price {
        fields.push(("price/h", price.to_string()));
        fields.push(("costs at most", charge.at_most.to_string()));
    }
    if let Some(reservation) = charge.reservation {
        fields.push(("paid by", format!("reservation {reservation}")));
    }
    if let Some(charged) = charge.charged {
        fields.push(("charged", charged.to_string()));
    }
    fields
}

/// The changes of a job's state, for people.
pub(crate) fn journal(job: &JobView) -> String {
    let rows = job
        .journal
        .iter()
        .map(|entry| {
            vec![
                entry.number.to_string(),
                amount::instant(entry.at),
                entry.state.to_string(),
                entry.epoch.to_string(),
                entry
                    .node
                    .map_or_else(|| "-".to_owned(), |node| node.short()),
                entry.reason.clone(),
            ]
        })
        .collect();
    table(&["#", "at", "state", "attempt", "node", "why"], rows)
}

fn progress(job: &JobView) -> String {
    let Some(event) = &job.latest else {
        return "-".to_owned();
    };
    match &event.kind {
        EventKind::Progress(progress) => format!(
            "{}/{} steps, loss {}, {} left",
            progress.step,
            progress.total_steps,
            amount::loss(progress.loss),
            amount::span(Duration::from_millis(progress.remaining_ms)),
        ),
        EventKind::EpochEnded {
            pass, train_loss, ..
        } => format!("epoch {pass}, loss {train_loss:.4}"),
        EventKind::Evaluated { loss, accuracy, .. } => {
            format!(
                "loss {loss:.4}, accuracy {}",
                amount::maybe_share(*accuracy)
            )
        }
        EventKind::Started { .. } => "started".to_owned(),
        EventKind::Checkpoint { step, .. } => format!("checkpoint at step {step}"),
        EventKind::Artifact(artifact) => format!("made {}", artifact.name),
        EventKind::Metrics { values } => metrics(values),
        EventKind::Generated(piece) => {
            format!("request {}, {} tokens", piece.request, piece.tokens)
        }
        EventKind::Logged { text, .. } => {
            let text = answer::printable(text);
            text.trim_end()
                .lines()
                .next_back()
                .unwrap_or_default()
                .to_owned()
        }
        EventKind::Prepared { rows, .. } => super::update::prepared(rows),
        EventKind::Adjusted { step, .. } => format!("adjusted at step {step}"),
        EventKind::Stopped { step, .. } => format!("stopped at step {step}"),
        EventKind::Loaded(loaded) => {
            format!("resident in {}", amount::bytes(loaded.memory_bytes))
        }
        EventKind::Finished { outcome, .. } => word(*outcome).to_owned(),
    }
}
