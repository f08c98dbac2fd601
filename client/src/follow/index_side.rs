//! The index, as the follower hears it.

use std::future;

use embermesh_crypto::ids::{Epoch, JobId};
use embermesh_job::assignment::NodeAssignment;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::index_watch::{IndexWord, watch_index};
use crate::{Client, ClientError, JobView};

/// The watch of a job at the index, and what it has brought.
pub(super) struct IndexSide {
    word: watch::Receiver<IndexWord>,
    watcher: Option<AbortOnDropHandle<Result<(), ClientError>>>,
    refusal: Option<ClientError>,
}

impl IndexSide {
    pub(super) fn start(client: &Client, job: JobId) -> Self {
        let (sender, word) = watch::channel(IndexWord::default());
        let watcher = tokio::spawn(Box::pin(watch_index(client.clone(), job, sender)));
        Self {
            word,
            watcher: Some(AbortOnDropHandle::new(watcher)),
            refusal: None,
        }
    }

    /// Waits for news. Never returns once the watch has ended and that was told.
    pub(super) async fn changed(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return future::pending().await;
        };
        if self.word.changed().await.is_err() {
            self.refusal = match watcher.await {
                Ok(end) => end.err(),
                Err(error) => Some(ClientError::Failed {
                    who: "the watch of the index".to_owned(),
                    message: error.to_string(),
                }),
            };
            self.watcher = None;
        }
    }

    /// The job, as last shown.
    pub(super) fn job(&self) -> Option<JobView> {
        self.word.borrow().job.clone()
    }

    /// Whether the job is over, as the index says.
    pub(super) fn is_over(&self) -> bool {
        self.word.borrow().is_over()
    }

    /// An assignment of an attempt later than `epoch`.
    pub(super) fn newer_than(&self, epoch: Epoch) -> Option<NodeAssignment> {
        self.word
            .borrow()
            .assignment
            .clone()
            .filter(|newest| newest.epoch > epoch)
    }

    /// Why the index cannot be reached, if it cannot.
    pub(super) fn lost(&self) -> Option<String> {
        self.word.borrow().lost.clone()
    }

    /// Why the index will not be asked again, once.
    pub(super) fn take_refusal(&mut self) -> Option<ClientError> {
        self.refusal.take()
    }
}
