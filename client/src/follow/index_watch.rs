//! Follows a job at the index and keeps the newest word of it.

use embermesh_crypto::ids::JobId;
use embermesh_job::assignment::NodeAssignment;
use tokio::{sync::watch, time::timeout};

use crate::{
    Client, ClientError, JobView,
    bounds::{INDEX_SILENCE, LONGEST_WAIT},
    index::{Waits, waits},
    status,
};

/// What the index has said last. Changes that follow each other fast are one.
#[derive(Debug, Default)]
pub(super) struct IndexWord {
    /// The job, once the index has shown it.
    pub(super) job: Option<JobView>,
    /// The newest assignment that it has issued.
    pub(super) assignment: Option<NodeAssignment>,
    /// Why it cannot be reached now.
    pub(super) lost: Option<String>,
}

impl IndexWord {
    pub(super) fn is_over(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.state.is_final())
    }
}

/// Runs until the job is over or nobody listens.
///
/// # Errors
/// When the index will not show the job.
pub(super) async fn watch_index(
    client: Client,
    job: JobId,
    word: watch::Sender<IndexWord>,
) -> Result<(), ClientError> {
    let mut next_wait = waits();
    loop {
        let error = match watch_once(&client, job, &word, &mut next_wait).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_transient() || matches!(error, ClientError::NotFound { .. }) {
            return Err(error);
        }
        word.send_if_modified(|word| {
            let news = word.lost.is_none();
            word.lost = Some(error.to_string());
            news
        });
        let wait = next_wait.next().unwrap_or(LONGEST_WAIT);
        tokio::select! {
            () = word.closed() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One watch, from its opening to its loss. `Ok` when there is nothing more to hear.
async fn watch_once(
    client: &Client,
    job: JobId,
    word: &watch::Sender<IndexWord>,
    next_wait: &mut Waits,
) -> Result<(), ClientError> {
    let link = client.index();
    let mut stream = link.watch(job).await?;
    loop {
        let next = tokio::select! {
            () = word.closed() => return Ok(()),
            next = timeout(INDEX_SILENCE, stream.message()) => next,
        };
        let watched = match next {
            // A quiet job, or a dead index: one call tells them apart.
            Err(_) => {
                let job = link.job(job).await?;
                tell(word, job, None);
                continue;
            }
            Ok(Err(status)) => return Err(status::error(link.name(), &status)),
            Ok(Ok(None)) => {
                return Err(ClientError::Unreachable {
                    what: link.name().to_owned(),
                    reason: "it closed the watch".to_owned(),
                });
            }
            Ok(Ok(Some(message))) => link.watched(message.job, message.assignment)?,
        };
        *next_wait = waits();
        tell(word, watched.job, watched.assignment);
        if word.borrow().is_over() {
            return Ok(());
        }
    }
}

fn tell(word: &watch::Sender<IndexWord>, job: JobView, assignment: Option<NodeAssignment>) {
    word.send_modify(|word| {
        word.job = Some(job);
        word.lost = None;
        if assignment.is_some() {
            word.assignment = assignment;
        }
    });
}
