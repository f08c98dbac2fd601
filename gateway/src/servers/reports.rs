//! The port: what servers say of the jobs that they have.

use std::collections::BTreeMap;

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::{
        Principal,
        jobs::{JobView, LogPiece},
        servers::{Advance, OfServed, Served, ServerReports, Weights},
    },
};
use embermesh_job::{event::LogStream, lifecycle::JobState};

use super::book::Spoken;
use crate::Gateway;

/// What a failed job is told, where its server says no more.
const FAILED: &str = "the job failed at its server, which does not say why";
/// What a job is told that its server ended and nobody else, where it says no more.
const GIVEN_UP: &str = "its server has given the job up";
/// The most measures that are kept of a job, and the longest name of one in bytes.
const MAX_METRICS: (usize, usize) = (256, 128);
/// The longest text that a server says at once, in bytes; more is cut off.
const MAX_TEXT: usize = 64 << 10;

impl Gateway {
    fn server_speaks(&self, who: &Principal, of: &OfServed) -> Result<Spoken, Failure> {
        let mut book = self.inner.rack.book();
        book.speaks(who, of, UnixMillis::now())
    }
}

#[tonic::async_trait]
impl ServerReports for Gateway {
    async fn advanced(
        &self,
        who: &Principal,
        of: OfServed,
        mut advance: Advance,
    ) -> Result<(), Failure> {
        let number = match self.server_speaks(who, &of)? {
            Spoken::Has(number) => number,
            Spoken::Ended(_) => return Err(ended_already(&of)),
        };
        let Some(live) = self.inner.table.get(number) else {
            return Err(ended_already(&of));
        };
        if let Some(port) = advance.port.take().filter(|port| *port > 0) {
            self.inner.rack.book().moved(number, port);
        }
        let text = cut(std::mem::take(&mut advance.text), MAX_TEXT);
        let now = UnixMillis::now();
        live.change(|view| runs(view, &of.server, advance, now));
        if text.is_empty() {
            return Ok(());
        }
        let piece = LogPiece {
            at: now,
            stream: LogStream::Stdout,
            text: format!("{}\n", text.trim_end_matches('\n')),
        };
        self.keep_reported(number, piece, &live).await
    }

    async fn served(
        &self,
        who: &Principal,
        of: OfServed,
        mut how: Served,
    ) -> Result<Option<String>, Failure> {
        let number = match self.server_speaks(who, &of)? {
            Spoken::Has(number) => number,
            Spoken::Ended(paid) => return Ok(paid),
        };
        if how.state == JobState::Cancelled {
            // A job is cancelled by its owner alone.
            how.state = JobState::Failed;
            if how.message.is_empty() {
                GIVEN_UP.clone_into(&mut how.message);
            }
        }
        how.metrics = bounded(how.metrics);
        how.message = said(&of.server, &how);
        let ended = self.end_served_by(number, how, true).await;
        ended.ok_or_else(|| {
            let message = "the index stops: say it again when it is back";
            Failure::new(ErrorCode::Unavailable, message)
        })
    }
}

/// What a job looks like of which its server says how far it is.
fn runs(view: &mut JobView, server: &str, advance: Advance, now: UnixMillis) {
    if view.state.is_final() {
        return;
    }
    view.state = JobState::Running;
    view.node = Some(server.to_owned());
    view.started_at.get_or_insert(now);
    view.message.clear();
    if let Some(progress) = advance.progress.filter(|progress| progress.is_finite()) {
        view.progress = progress.clamp(0.0, 1.0);
    }
    if advance.pass > 0 {
        view.pass = (advance.pass, view.pass.1.max(advance.pass));
    }
    let room = MAX_METRICS.0.saturating_sub(view.metrics.len());
    let (known, new): (Vec<_>, Vec<_>) = bounded(advance.metrics)
        .into_iter()
        .partition(|(name, _)| view.metrics.contains_key(name));
    view.metrics.extend(known);
    view.metrics.extend(new.into_iter().take(room));
}

/// Measures that are numbers, as many as are kept.
fn bounded(metrics: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let (most, longest) = MAX_METRICS;
    let fit = metrics
        .into_iter()
        .filter(|(name, value)| name.len() <= longest && value.is_finite());
    fit.take(most).collect()
}

/// How a job has ended, in words that say whose they are.
fn said(server: &str, how: &Served) -> String {
    let mut text = match (how.state, how.message.as_str()) {
        (JobState::Failed, "") => FAILED.to_owned(),
        (_, message) => cut(message.to_owned(), MAX_TEXT),
    };
    if let Some(Weights { uri, hash, size }) = &how.weights {
        let (uri, hash) = (cut(uri.clone(), MAX_TEXT), cut(hash.clone(), MAX_TEXT));
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "weights at {uri:?}, hash {hash:?}, {size} bytes: by the word of the server {server:?}; nobody here has seen them"
        ));
    }
    text
}

/// A text of so many bytes at most.
fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

fn ended_already(of: &OfServed) -> Failure {
    let message = format!("the job {:?} has ended", of.job);
    Failure::new(ErrorCode::Precondition, message)
}
