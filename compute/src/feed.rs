//! Samples that stay with the client, as the work sees them: questions that are out,
//! and the bytes that have come.
//!
//! The thread that computes asks and waits; the thread that hears the daemon brings
//! the answers. What is out at one time is bounded by number and by bytes, so that a
//! worker holds a window of the data and never the whole.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::away::LocalData;
use crate::failure::WorkFailed;
use crate::frame::Part;

/// The most questions that are out at one time.
pub const MAX_ASKS: usize = 64;

/// The most bytes that are asked for ahead of need.
pub(crate) const WINDOW: usize = 8 << 20;

/// Bytes of one question, unless one sample has more.
pub(crate) const PIECE: usize = 512 << 10;

/// What sends a question: its number, and the samples.
type Asking = Box<dyn Fn(u64, &[u32]) + Send + Sync>;

/// Who answers.
pub(crate) enum Source {
    /// The client, through the daemon.
    Daemon(Asking),
    /// Data in this process.
    Local(Arc<LocalData>),
    /// Nobody.
    Nobody,
}

/// Questions and answers, shared by the threads of a worker.
pub(crate) struct Feed {
    source: Source,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asks: VecDeque<Ask>,
    last: u64,
    /// Bytes that all questions together expect.
    bytes: usize,
    failed: Option<String>,
    cancelled: bool,
}

struct Ask {
    number: u64,
    samples: Vec<u32>,
    expected: usize,
    came: Vec<u8>,
}

impl Feed {
    /// Nothing is asked yet.
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Asks for samples of `record` bytes each that will be taken soon, where the
    /// window has room. False where it has not.
    pub(crate) fn foresee(&self, samples: &[u32], record: usize) -> bool {
        let state = self.state();
        if state.find(samples).is_some() {
            return true;
        }
        let bytes = samples.len() * record;
        // One place is kept for what is needed now.
        if state.asks.len() + 1 >= MAX_ASKS || state.bytes.saturating_add(bytes) > WINDOW {
            return false;
        }
        drop(self.ask(state, samples, bytes));
        true
    }

    /// The bytes of samples, in this order; waits for them.
    ///
    /// # Errors
    /// When the job is cancelled, or nobody can answer.
    pub(crate) fn take(&self, samples: &[u32], record: usize) -> Result<Vec<u8>, WorkFailed> {
        if matches!(self.source, Source::Nobody) {
            return Err(WorkFailed::Internal(
                "the data stays with a client, and there is none".to_owned(),
            ));
        }
        let mut state = self.state();
        if state.find(samples).is_none() {
            state = self.ask(state, samples, samples.len() * record);
        }
        loop {
            if state.cancelled {
                return Err(WorkFailed::Cancelled);
            }
            if let Some(reason) = &state.failed {
                return Err(WorkFailed::Internal(reason.clone()));
            }
            if let Some(at) = state.find(samples)
                && state.asks[at].came.len() == state.asks[at].expected
                && let Some(ask) = state.asks.remove(at)
            {
                state.bytes -= ask.expected;
                return Ok(ask.came);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Some bytes of an answer have come.
    pub(crate) fn hear(&self, part: Part) {
        let mut state = self.state();
        if let Err(reason) = state.hear(part) {
            state.failed = Some(reason);
        }
        self.changed.notify_all();
    }

    /// Ends every wait.
    pub(crate) fn cancel(&self) {
        self.state().cancelled = true;
        self.changed.notify_all();
    }

    /// Asks a question. The lock is let go meanwhile: the pipe may be full, and what
    /// empties it may wait for an answer to be heard. One thread asks, so questions go
    /// out in the order of their numbers.
    fn ask<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        samples: &[u32],
        expected: usize,
    ) -> MutexGuard<'a, State> {
        state.last += 1;
        state.bytes += expected;
        let number = state.last;
        let came = match &self.source {
            Source::Local(data) => data.records(samples).unwrap_or_else(|| {
                state.failed = Some("there is no such sample".to_owned());
                Vec::new()
            }),
            Source::Daemon(_) | Source::Nobody => Vec::new(),
        };
        state.asks.push_back(Ask {
            number,
            samples: samples.to_vec(),
            expected,
            came,
        });
        if let Source::Daemon(send) = &self.source {
            drop(state);
            send(number, samples);
            state = self.state();
        }
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, samples: &[u32]) -> Option<usize> {
        self.asks.iter().position(|ask| ask.samples == samples)
    }

    fn hear(&mut self, part: Part) -> Result<(), String> {
        let Some(ask) = self.asks.iter_mut().find(|ask| ask.number == part.ask) else {
            return Err(format!(
                "an answer came to question {}, which was not asked",
                part.ask
            ));
        };
        if part.offset == 0 {
            // Another client begins the answer anew.
            ask.came.clear();
        }
        let end = ask.came.len() + part.bytes.len();
        if part.offset != ask.came.len() as u64 || end > ask.expected {
            return Err(format!(
                "question {} expects {} bytes, and {} came at {}",
                part.ask,
                ask.expected,
                part.bytes.len(),
                part.offset
            ));
        }
        ask.came.reserve_exact(ask.expected - ask.came.len());
        ask.came.extend_from_slice(&part.bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn feed() -> (Arc<Feed>, mpsc::Receiver<(u64, Vec<u32>)>) {
        let (asked, asks) = mpsc::sync_channel(MAX_ASKS + 1);
        let send = move |number, samples: &[u32]| asked.send((number, samples.to_vec())).unwrap();
        (Arc::new(Feed::new(Source::Daemon(Box::new(send)))), asks)
    }

    fn part(ask: u64, offset: u64, bytes: &[u8]) -> Part {
        Part {
            ask,
            offset,
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn what_was_foreseen_is_not_asked_again_and_comes_whole() {
        let (feed, asks) = feed();
        assert!(feed.foresee(&[3, 1], 2));
        assert!(feed.foresee(&[3, 1], 2));
        feed.hear(part(1, 0, &[9]));
        // Whoever gave that is gone; the next begins anew.
        feed.hear(part(1, 0, &[1, 2]));
        feed.hear(part(1, 2, &[3, 4]));
        assert_eq!(feed.take(&[3, 1], 2).unwrap(), [1, 2, 3, 4]);
        assert_eq!(asks.try_iter().collect::<Vec<_>>(), [(1, vec![3, 1])]);
        assert_eq!(feed.state().bytes, 0);
    }

    #[test]
    fn the_window_is_bounded_by_number_and_by_bytes() {
        let (feed, asks) = feed();
        let taken = (0..1000).filter(|&n| feed.foresee(&[n], 1)).count();
        assert_eq!(taken, MAX_ASKS - 1);
        assert_eq!(asks.try_iter().count(), taken);
        let (feed, _asks) = self::feed();
        assert!(feed.foresee(&[1], WINDOW));
        assert!(!feed.foresee(&[2], 1));
    }

    #[test]
    fn answers_that_do_not_fit_fail_the_work() {
        for bad in [part(2, 0, &[1]), part(1, 1, &[1]), part(1, 0, &[1, 2, 3])] {
            let (feed, _asks) = feed();
            assert!(feed.foresee(&[0], 2));
            feed.hear(bad);
            assert!(matches!(feed.take(&[0], 2), Err(WorkFailed::Internal(_))));
        }
    }

    #[test]
    fn a_wait_ends_with_a_cancel() {
        let (feed, asks) = feed();
        let waiting = {
            let feed = Arc::clone(&feed);
            std::thread::spawn(move || feed.take(&[0], 2))
        };
        asks.recv().unwrap();
        feed.cancel();
        assert!(matches!(
            waiting.join().unwrap(),
            Err(WorkFailed::Cancelled)
        ));
    }
}
