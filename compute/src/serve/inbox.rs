//! What a resident model is asked, on its way from the thread that hears to the
//! thread that computes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embermesh_job::ask::Ask;
use embermesh_job::spec::{MAX_CONCURRENCY, MAX_QUEUE};

/// Mail that waits: an ask and the word to drop it, for each that a daemon may have
/// under way.
const MAX_MAIL: usize = 2 * (MAX_CONCURRENCY + MAX_QUEUE) as usize;

/// What is said to an ask that there is no room for. A daemon that keeps to the
/// deployment's bounds never hears it.
pub(crate) const TOO_MANY: &str = "too many asks wait in the worker: try again later";

/// A word to a resident model.
#[derive(Debug, PartialEq)]
pub(crate) enum Mail {
    /// Answer this.
    Ask {
        /// What the answer is called.
        id: u32,
        /// What is asked.
        ask: Box<Ask>,
    },
    /// Nobody waits for that answer any more.
    Drop {
        /// Which.
        id: u32,
    },
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There is mail, or something else to look at.
    Rung,
    /// Nothing came in time.
    Late,
}

/// A queue with a bell.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    mail: VecDeque<Mail>,
    /// Whether there is something else to look at.
    rung: bool,
}

impl Inbox {
    /// Puts mail in. False when there is no room for it.
    pub(crate) fn push(&self, mail: Mail) -> bool {
        let mut state = self.state();
        if state.mail.len() >= MAX_MAIL {
            return false;
        }
        state.mail.push_back(mail);
        self.rung.notify_all();
        true
    }

    /// Lets go of an ask: one that still waits here was never asked.
    pub(crate) fn drop_ask(&self, id: u32) {
        let mut state = self.state();
        let waited = state.mail.len();
        state
            .mail
            .retain(|mail| !matches!(mail, Mail::Ask { id: waiting, .. } if *waiting == id));
        if state.mail.len() == waited {
            state.mail.push_back(Mail::Drop { id });
            self.rung.notify_all();
        }
    }

    /// Ends a wait without mail.
    pub(crate) fn ring(&self) {
        self.state().rung = true;
        self.rung.notify_all();
    }

    /// What has come, in its order.
    pub(crate) fn take(&self) -> VecDeque<Mail> {
        std::mem::take(&mut self.state().mail)
    }

    /// Waits for mail or the bell, for `bound` at most.
    pub(crate) fn wait(&self, bound: Option<Duration>) -> Woken {
        let deadline = bound.and_then(|bound| Instant::now().checked_add(bound));
        let mut state = self.state();
        loop {
            if std::mem::take(&mut state.rung) || !state.mail.is_empty() {
                return Woken::Rung;
            }
            state = match deadline {
                None => self
                    .rung
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Woken::Late;
                    }
                    let waited = self.rung.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use embermesh_job::spec::Request;

    use super::*;

    fn ask(id: u32) -> Mail {
        Mail::Ask {
            id,
            ask: Box::new(Ask::Text(Box::new(Request::prompt("x")))),
        }
    }

    #[test]
    fn mail_ends_a_wait_and_comes_in_order() {
        let inbox = Inbox::default();
        assert_eq!(inbox.wait(Some(Duration::ZERO)), Woken::Late);
        assert!(inbox.push(ask(1)) && inbox.push(ask(2)));
        assert_eq!(inbox.wait(None), Woken::Rung);
        assert_eq!(inbox.take(), [ask(1), ask(2)]);
        inbox.ring();
        assert_eq!(inbox.wait(None), Woken::Rung);
        assert_eq!(inbox.wait(Some(Duration::from_millis(1))), Woken::Late);
    }

    #[test]
    fn an_ask_that_is_dropped_before_it_is_seen_was_never_asked() {
        let inbox = Inbox::default();
        assert!(inbox.push(ask(1)) && inbox.push(ask(2)));
        inbox.drop_ask(1);
        inbox.drop_ask(7);
        assert_eq!(inbox.take(), [ask(2), Mail::Drop { id: 7 }]);
    }

    #[test]
    fn there_is_an_end_to_what_waits() {
        let inbox = Inbox::default();
        for id in 0..MAX_MAIL as u32 {
            assert!(inbox.push(ask(id)));
        }
        assert!(!inbox.push(ask(0)));
    }
}
