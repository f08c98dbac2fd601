//! A job without an index, as this side remembers it: a row, fields, JSON.

use embermesh_client::direct::records::Record;
use embermesh_crypto::time::UnixMillis;
use serde_json::{Value, json};

use super::{amount, ended::word};

/// The heads of the columns.
pub(crate) const HEADERS: [&str; 6] = ["job", "name", "state", "attempt", "node", "submitted"];

/// One row of a table.
pub(crate) fn row(record: &Record, now: UnixMillis) -> Vec<String> {
    vec![
        record.job.to_string(),
        record.name.clone(),
        state(record).to_owned(),
        record.epoch.to_string(),
        record
            .node
            .as_ref()
            .map_or_else(|| "-".to_owned(), |node| node.peer.short()),
        amount::ago(record.submitted_at, now),
    ]
}

/// Everything about one job, for people.
pub(crate) fn page(record: &Record) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("job", record.job.to_string()),
        ("name", record.name.clone()),
        ("state", state(record).to_owned()),
        ("attempt", record.epoch.to_string()),
    ];
    if let Some(node) = &record.node {
        fields.push(("node", node.peer.to_string()));
    }
    fields.push(("submitted", amount::instant(record.submitted_at)));
    if let Some(checkpoint) = record.checkpoints.last() {
        let text = format!("step {}, {}", checkpoint.step, checkpoint.blob.digest);
        fields.push(("checkpoint", text));
    }
    fields
}

/// The same for programs.
pub(crate) fn value(record: &Record) -> Value {
    json!({
        "id": record.job,
        "name": record.name,
        "state": state(record),
        "epoch": record.epoch,
        "node": record.node.as_ref().map(|node| node.peer),
        "submitted_at": record.submitted_at,
        "checkpoint": record.checkpoints.last(),
    })
}

/// Where it stands, as far as this side knows: its node knows better while it runs.
fn state(record: &Record) -> &'static str {
    match (record.ended, &record.node) {
        (Some(outcome), _) => word(outcome),
        (None, Some(_)) => "assigned",
        (None, None) => "queued",
    }
}
