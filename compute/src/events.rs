//! The job's events, numbered as a function of the work.
//!
//! A checkpoint carries the next number and the events so far, so that an
//! attempt that goes on from it, on whatever node, numbers the same steps with
//! the same numbers and can repeat what a client has not heard.

use std::collections::VecDeque;
use std::path::PathBuf;

use embermesh_job::ask::Part;
use embermesh_job::crypto::Digest;
use embermesh_job::event::EventKind;

use crate::pipe::{FromWorker, WorkerEvent, WorkerEventKind};

/// How many of the newest events a checkpoint carries: some hundred KiB.
pub(crate) const MAX_HISTORY: usize = 4096;

/// Where messages go: onto the pipe, or to a caller in the same process.
pub(crate) type Say<'a> = &'a mut (dyn FnMut(FromWorker) + Send);

/// Numbers events and remembers them.
pub(crate) struct EventLog<'a> {
    say: Say<'a>,
    next: u64,
    history: VecDeque<(u64, EventKind)>,
}

impl<'a> EventLog<'a> {
    /// A log whose first event is number 1.
    pub(crate) fn new(say: Say<'a>) -> Self {
        Self {
            say,
            next: 1,
            history: VecDeque::new(),
        }
    }

    /// Goes on with a number after a history, and repeats the part of it that
    /// is asked for.
    pub(crate) fn go_on(
        &mut self,
        next: u64,
        history: Vec<(u64, EventKind)>,
        replay_after: Option<u64>,
    ) {
        self.next = next;
        if let Some(after) = replay_after {
            for (seq, kind) in history.iter().filter(|(seq, _)| *seq > after) {
                (self.say)(FromWorker::Replayed {
                    seq: *seq,
                    kind: kind.clone(),
                });
            }
        }
        self.history = history.into();
    }

    /// The number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The events so far, the newest [`MAX_HISTORY`] of them.
    pub(crate) fn history(&self) -> impl Iterator<Item = &(u64, EventKind)> {
        self.history.iter()
    }

    /// Says what needs no file.
    pub(crate) fn plain(&mut self, kind: EventKind) {
        self.remember(kind.clone());
        self.say_next(WorkerEventKind::Plain(kind));
    }

    /// Says what needs no file, of work that has no checkpoints: nothing of it is
    /// remembered.
    pub(crate) fn fleeting(&mut self, kind: EventKind) {
        self.say_next(WorkerEventKind::Plain(kind));
    }

    /// Says that a checkpoint was written, which must carry the number after
    /// this one. `digest` and `size` are the file's.
    pub(crate) fn checkpoint(&mut self, step: u64, path: PathBuf, digest: Digest, size: u64) {
        self.remember(EventKind::Checkpoint { step, digest, size });
        let next_seq = self.next + 1;
        self.say_next(WorkerEventKind::Checkpoint {
            step,
            path,
            next_seq,
        });
    }

    /// Says that a result was written. No checkpoint follows one, so it need
    /// not be remembered.
    pub(crate) fn artifact(&mut self, name: &str, path: PathBuf) {
        self.say_next(WorkerEventKind::Artifact {
            name: name.to_owned(),
            path,
        });
    }

    /// Says that the job waits, or goes on.
    pub(crate) fn paused(&mut self, paused: bool) {
        (self.say)(FromWorker::Paused(paused));
    }

    /// Says a part of an answer, which is no event: nobody hears it but who asked.
    pub(crate) fn answer(&mut self, id: u32, part: Part) {
        (self.say)(FromWorker::Answer { id, part });
    }

    fn remember(&mut self, kind: EventKind) {
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((self.next, kind));
    }

    fn say_next(&mut self, kind: WorkerEventKind) {
        let seq = self.next;
        self.next += 1;
        (self.say)(FromWorker::Event(WorkerEvent { seq, kind }));
    }
}
