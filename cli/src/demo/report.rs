//! Who ran what, by which road, how long, and how well.

use std::{io, time::Duration};

use embermesh_client::Update;
use embermesh_crypto::{JobId, PeerId, statement::Receipt};
use embermesh_job::event::EventKind;
use embermesh_mesh::road::RoadKind;
use serde_json::json;

use crate::{
    output::{Output, table},
    show::amount,
};

/// What became of one job.
#[derive(Debug)]
pub(crate) struct Ran {
    /// What it was.
    pub(crate) title: &'static str,
    /// Its id.
    pub(crate) job: JobId,
    /// The streams that it was followed by: node, road.
    streams: Vec<(PeerId, RoadKind)>,
    first_event: Option<Duration>,
    took: Duration,
    device: String,
    accuracy: Option<f64>,
    attempts: u64,
    /// Every number came once, in order.
    contiguous: bool,
    last_seq: u64,
}

impl Ran {
    /// Nothing has been heard yet.
    pub(crate) fn new(title: &'static str, job: JobId) -> Self {
        Self {
            title,
            job,
            streams: Vec::new(),
            first_event: None,
            took: Duration::ZERO,
            device: String::new(),
            accuracy: None,
            attempts: 0,
            contiguous: true,
            last_seq: 0,
        }
    }

    /// Takes in one update, `since` the submit.
    pub(crate) fn hear(&mut self, update: &Update, since: Duration) {
        match update {
            Update::Assigned { node, road, .. } if self.streams.last() != Some(&(*node, *road)) => {
                self.streams.push((*node, *road));
            }
            Update::Event(event) => {
                self.first_event.get_or_insert(since);
                self.contiguous &= event.seq == self.last_seq + 1;
                self.last_seq = event.seq;
                if let EventKind::EpochEnded {
                    holdout_accuracy: Some(accuracy),
                    ..
                } = event.kind
                {
                    self.accuracy = Some(accuracy);
                }
                if let EventKind::Evaluated { accuracy, .. } = event.kind {
                    self.accuracy = accuracy;
                }
            }
            _ => {}
        }
    }

    /// Takes in the verified receipt.
    pub(crate) fn signed(&mut self, receipt: &Receipt, took: Duration) {
        self.took = took;
        self.device = receipt.device.clone();
        self.attempts = receipt.epoch.0;
        self.accuracy = self.accuracy.or(receipt.accuracy);
    }
}

/// Prints the table, or a line of JSON for each job.
pub(crate) fn print(output: Output, ran: &[Ran], took: Duration) -> io::Result<()> {
    if !output.is_table() {
        return ran.iter().try_for_each(|ran| output.item("", &value(ran)));
    }
    let rows = ran.iter().map(row).collect();
    let heads = [
        "job",
        "node",
        "road",
        "attempts",
        "events",
        "device",
        "first event",
        "took",
        "unseen accuracy",
    ];
    output.line("")?;
    output.line(&table(&heads, rows))?;
    output.line(&format!("\nall of it took {}", amount::span(took)))
}

fn row(ran: &Ran) -> Vec<String> {
    let nodes: Vec<String> = ran.streams.iter().map(|(node, _)| node.short()).collect();
    let roads: Vec<&str> = ran.streams.iter().map(|(_, road)| road.as_str()).collect();
    let events = if ran.contiguous { "no gap" } else { "A GAP" };
    vec![
        ran.title.to_owned(),
        nodes.join(", then "),
        roads.join(", then "),
        ran.attempts.to_string(),
        format!("1 to {}, {events}", ran.last_seq),
        ran.device.clone(),
        ran.first_event.map_or_else(|| "-".to_owned(), amount::span),
        amount::span(ran.took),
        amount::maybe_share(ran.accuracy),
    ]
}

fn value(ran: &Ran) -> serde_json::Value {
    let streams: Vec<_> = ran
        .streams
        .iter()
        .map(|(node, road)| json!({ "node": node, "road": road.as_str() }))
        .collect();
    json!({
        "update": "ran",
        "title": ran.title,
        "job": ran.job,
        "streams": streams,
        "attempts": ran.attempts,
        "events": ran.last_seq,
        "contiguous": ran.contiguous,
        "device": ran.device,
        "first_event_ms": ran.first_event.map(|span| span.as_millis() as u64),
        "took_ms": ran.took.as_millis() as u64,
        "accuracy": ran.accuracy,
    })
}
