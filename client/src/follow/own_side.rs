//! The owner of a job who needs no index, as the follower hears him: he places the job
//! himself, counts its attempts, and remembers its checkpoints.

use std::{future, time::Duration};

use embermesh_crypto::ids::{Epoch, PeerId};
use embermesh_job::event::{Event, Outcome};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    ClientError,
    direct::{
        PassedOver,
        placing::{Placed, Task, Wish, Word, place},
    },
};

/// The task of a job, and who places it.
pub(super) struct OwnSide {
    task: Task,
    wishes: watch::Sender<Wish>,
    word: watch::Receiver<Word>,
    placer: Option<AbortOnDropHandle<Result<(), ClientError>>>,
    refusal: Option<ClientError>,
}

impl OwnSide {
    /// A job that no node has is placed at once.
    pub(super) fn start(task: Task, wait: Option<Duration>) -> Self {
        let first = Wish {
            number: u64::from(task.record().node.is_none()),
            avoid: None,
        };
        let (wishes, wished) = watch::channel(first);
        let (sender, word) = watch::channel(Word::default());
        let placer = tokio::spawn(Box::pin(place(task.clone(), wait, wished, sender)));
        Self {
            task,
            wishes,
            word,
            placer: Some(AbortOnDropHandle::new(placer)),
            refusal: None,
        }
    }

    pub(super) const fn task(&self) -> &Task {
        &self.task
    }

    /// Waits for news. Never returns once the placing has ended and that was told.
    pub(super) async fn changed(&mut self) {
        let Some(placer) = &mut self.placer else {
            return future::pending().await;
        };
        if self.word.changed().await.is_err() {
            self.refusal = match placer.await {
                Ok(end) => end.err(),
                Err(error) => Some(ClientError::Failed {
                    who: "what places the job".to_owned(),
                    message: error.to_string(),
                }),
            };
            self.placer = None;
        }
    }

    /// A permit of an attempt later than `epoch`.
    pub(super) fn newer_than(&self, epoch: Epoch) -> Option<Placed> {
        let word = self.word.borrow();
        let newest = word.placed.clone();
        newest.filter(|newest| newest.assignment.epoch > epoch)
    }

    /// Why the job waits, while it does.
    pub(super) fn queued(&self) -> Option<Vec<PassedOver>> {
        self.word.borrow().waiting.clone()
    }

    /// Why it will not be placed, once.
    pub(super) fn take_refusal(&mut self) -> Option<ClientError> {
        self.refusal.take()
    }

    /// An event was shown.
    pub(super) fn heard(&self, event: &Event) {
        self.task.heard(event);
    }

    /// Wishes for another attempt. One that had `begun` counts.
    ///
    /// # Errors
    /// When the job has ended before, or has had all its attempts: how it ended, and why.
    pub(super) fn again(
        &self,
        avoid: Option<PeerId>,
        begun: bool,
        why: &str,
    ) -> Result<(), (Outcome, String)> {
        let record = self.task.record();
        if let Some(outcome) = record.ended {
            let message = format!("it ended before, and its node tells no more of it: {why}");
            return Err((outcome, message));
        }
        let (had, most) = (record.begun, self.task.attempts_allowed());
        if begun && had >= most {
            self.task.failed();
            let message = format!("no attempt is left of {most}; {why}");
            return Err((Outcome::Failed, message));
        }
        self.wishes.send_modify(|wish| {
            wish.number += 1;
            wish.avoid = avoid;
        });
        Ok(())
    }
}
