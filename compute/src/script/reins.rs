//! The reins of a module: set by whoever watches it, and looked at by its own thread
//! wherever it is.

use std::sync::{Condvar, Mutex, PoisonError};

/// What is wanted of the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    #[default]
    /// To go on.
    Run,
    /// To wait.
    Wait,
    /// To end where it is.
    Stop,
}

/// The module was told to stop.
#[derive(Debug, thiserror::Error)]
#[error("it was stopped")]
pub(super) struct Stopped;

/// Tells the module what is wanted of it.
#[derive(Default)]
pub(super) struct Reins {
    wish: Mutex<Wish>,
    changed: Condvar,
}

impl Reins {
    pub(super) fn set(&self, wish: Wish) {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner) = wish;
        self.changed.notify_all();
    }

    /// Called by the module's thread: waits while it is to wait.
    pub(super) fn pass(&self) -> Result<(), Stopped> {
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        while *wish == Wish::Wait {
            wish = self
                .changed
                .wait(wish)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if *wish == Wish::Stop {
            return Err(Stopped);
        }
        Ok(())
    }
}
