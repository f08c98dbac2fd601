//! The log of one task, as it is written and read at once.
//!
//! Events go to the database first and are shown afterwards, so that what was seen
//! is remembered. Each follower keeps its own place by number: it reads the newest
//! events from memory and older ones from the database, so that a slow one is late,
//! never without an event and never with one twice.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use embermesh_crypto::token::TaskRef;
use embermesh_job::{
    assignment::TaskKey,
    event::{Event, Notice, RunUpdate},
};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::store::{AttemptEnd, Store, StoreError};

/// Events that are kept in memory for followers that keep up.
const IN_MEMORY: usize = 256;

/// Events that a follower reads from the database at once.
const PAGE: u32 = 256;

/// Notices that a follower may be behind; older ones are lost to it.
const NOTICES: usize = 32;

/// How long a stream says nothing before it says that it is alive.
const IDLE: Duration = Duration::from_secs(10);

/// How far a task is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    /// The number of the newest event.
    pub(crate) last: u64,
    /// How the attempt ended, if it has.
    pub(crate) end: Option<AttemptEnd>,
}

/// The log of one attempt at a task.
pub(crate) struct Log {
    key: TaskKey,
    store: Store,
    recent: Mutex<VecDeque<Arc<Event>>>,
    head: watch::Sender<Head>,
    notices: broadcast::Sender<Notice>,
}

impl Log {
    /// The log of a task whose newest event is `last`.
    pub(crate) fn new(store: Store, key: TaskKey, last: u64, end: Option<AttemptEnd>) -> Arc<Self> {
        Arc::new(Self {
            key,
            store,
            recent: Mutex::new(VecDeque::new()),
            head: watch::Sender::new(Head { last, end }),
            notices: broadcast::Sender::new(NOTICES),
        })
    }

    /// How far it is.
    pub(crate) fn head(&self) -> Head {
        self.head.borrow().clone()
    }

    /// The newest event, if it was said since this process started.
    pub(crate) fn latest(&self) -> Option<Arc<Event>> {
        self.recent().back().cloned()
    }

    /// Writes an event and shows it.
    pub(crate) async fn append(&self, event: Event) -> Result<(), StoreError> {
        self.store
            .append(self.key, std::slice::from_ref(&event))
            .await?;
        self.show(event, None);
        Ok(())
    }

    /// Shows an event that has been written.
    pub(crate) fn show(&self, event: Event, end: Option<AttemptEnd>) {
        let last = event.seq;
        {
            let mut recent = self.recent();
            if recent.len() == IN_MEMORY {
                recent.pop_front();
            }
            recent.push_back(Arc::new(event));
        }
        self.head.send_modify(|head| {
            head.last = head.last.max(last);
            head.end = end;
        });
    }

    /// Shows that the attempt has ended without an event.
    pub(crate) fn show_end(&self, end: AttemptEnd) {
        self.head.send_modify(|head| head.end = Some(end));
    }

    /// Tells whoever listens now.
    pub(crate) fn notify(&self, notice: Notice) {
        // Nobody may be listening.
        let _ = self.notices.send(notice);
    }

    /// Everything after a number, and then what comes, until the attempt ends or,
    /// where it does not, until `closing` is cancelled. What was written by then is
    /// said first: a node that stops does not swallow the end of an attempt.
    pub(crate) fn follow(self: &Arc<Self>, after: u64, closing: &CancellationToken) -> Follow {
        Follow {
            log: Arc::clone(self),
            heads: self.head.subscribe(),
            notices: self.notices.subscribe(),
            closing: closing.clone(),
            after,
            page: VecDeque::new(),
            over: false,
        }
    }

    async fn read(&self, after: u64) -> Result<Vec<Arc<Event>>, StoreError> {
        {
            let recent = self.recent();
            if recent.front().is_some_and(|oldest| oldest.seq <= after + 1) {
                let newer = recent.iter().filter(|event| event.seq > after);
                return Ok(newer.cloned().collect());
            }
        }
        let task = TaskRef {
            job: self.key.job,
            task: self.key.task,
        };
        let events = self.store.events(task, after, PAGE).await?;
        Ok(events.into_iter().map(Arc::new).collect())
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One follower of a task.
pub(crate) struct Follow {
    log: Arc<Log>,
    heads: watch::Receiver<Head>,
    notices: broadcast::Receiver<Notice>,
    closing: CancellationToken,
    after: u64,
    page: VecDeque<Arc<Event>>,
    over: bool,
}

impl Follow {
    /// The next item; `None` when the attempt has ended or the node stops, and all of
    /// it was said.
    pub(crate) async fn next(&mut self) -> Option<Result<RunUpdate, StoreError>> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.after = event.seq;
                return Some(Ok(RunUpdate::Event((*event).clone())));
            }
            if self.over {
                return None;
            }
            let head = self.heads.borrow_and_update().clone();
            if head.last > self.after {
                match self.log.read(self.after).await {
                    Ok(events) if events.is_empty() => {
                        // The head names an event that is no longer kept.
                        self.after = head.last;
                    }
                    Ok(events) => self.page = events.into(),
                    Err(error) => {
                        self.over = true;
                        return Some(Err(error));
                    }
                }
                continue;
            }
            match head.end {
                Some(AttemptEnd::Finished) => return None,
                Some(AttemptEnd::Gone { code, message }) => {
                    // What was told before the end is said before it.
                    if let Ok(notice) = self.notices.try_recv() {
                        return Some(Ok(RunUpdate::Notice(notice)));
                    }
                    self.over = true;
                    return Some(Ok(RunUpdate::Notice(Notice::AttemptEnded {
                        code,
                        message,
                    })));
                }
                None => {}
            }
            tokio::select! {
                biased;
                changed = self.heads.changed() => if changed.is_err() {
                    return None;
                },
                notice = self.notices.recv() => match notice {
                    Ok(notice) => return Some(Ok(RunUpdate::Notice(notice))),
                    // Notices are news, not records: those that were missed are old.
                    Err(_) => tokio::task::yield_now().await,
                },
                () = self.closing.cancelled() => return None,
                () = tokio::time::sleep(IDLE) => {
                    return Some(Ok(RunUpdate::Notice(Notice::Idle)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
