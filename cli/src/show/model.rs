//! A resident model, as a row and as JSON.

use embermesh_client::ask::{Deployment, ResidentModel};
use embermesh_crypto::{Digest, JobId, PeerId, time::UnixMillis};
use serde_json::{Value, json};

use super::amount;

/// The heads of the columns.
pub(crate) const HEADERS: [&str; 10] = [
    "model", "job", "state", "node", "memory", "asks", "answered", "tokens", "digest", "since",
];

/// What is known of a model: from its index, from its node, or both.
pub(crate) struct Shown {
    name: String,
    job: JobId,
    owner: PeerId,
    model: Digest,
    state: String,
    node: Option<PeerId>,
    since: UnixMillis,
    resident: Option<ResidentModel>,
}

impl Shown {
    /// One that only its node was asked about.
    pub(crate) fn resident(model: ResidentModel) -> Self {
        Self {
            name: model.name.clone(),
            job: model.job,
            owner: model.owner,
            model: model.model,
            state: loaded(model.ready).to_owned(),
            node: None,
            since: model.since,
            resident: Some(model),
        }
    }

    /// One that an index knows, and perhaps its node, too.
    pub(crate) fn deployed(deployment: Deployment, resident: Option<ResidentModel>) -> Self {
        Self {
            state: match &resident {
                Some(model) => loaded(model.ready).to_owned(),
                None => deployment.state.to_string(),
            },
            name: deployment.name,
            job: deployment.job,
            owner: deployment.owner,
            model: deployment.model,
            node: deployment.node.map(|node| node.peer),
            since: deployment.submitted_at,
            resident,
        }
    }
}

fn loaded(ready: bool) -> &'static str {
    if ready { "ready" } else { "loading" }
}

/// One row of a table.
pub(crate) fn row(shown: &Shown, now: UnixMillis) -> Vec<String> {
    let dash = || "-".to_owned();
    let of_node =
        |say: &dyn Fn(&ResidentModel) -> String| shown.resident.as_ref().map_or_else(dash, say);
    vec![
        shown.name.clone(),
        shown.job.to_string(),
        shown.state.clone(),
        shown.node.map_or_else(dash, |node| node.short()),
        of_node(&|model| amount::bytes(model.memory_bytes)),
        of_node(&|model| format!("{}/{}", model.asks, model.most_asks)),
        of_node(&|model| model.answered.to_string()),
        of_node(&|model| model.tokens.to_string()),
        shown.model.short(),
        amount::ago(shown.since, now),
    ]
}

/// The same for programs.
pub(crate) fn value(shown: &Shown) -> Value {
    let resident = shown.resident.as_ref();
    json!({
        "model": shown.name,
        "job": shown.job,
        "owner": shown.owner,
        "digest": shown.model,
        "state": shown.state,
        "node": shown.node,
        "since": shown.since,
        "kind": resident.map(|model| model.kind),
        "memory_bytes": resident.map(|model| model.memory_bytes),
        "concurrency": resident.map(|model| model.concurrency),
        "asks": resident.map(|model| model.asks),
        "most_asks": resident.map(|model| model.most_asks),
        "answered": resident.map(|model| model.answered),
        "refused": resident.map(|model| model.refused),
        "cancelled": resident.map(|model| model.cancelled),
        "prompt_tokens": resident.map(|model| model.prompt_tokens),
        "tokens": resident.map(|model| model.tokens),
    })
}
