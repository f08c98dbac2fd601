//! The reins of a running job: pause, resume, cancel, adjust and finish, set by
//! the thread that hears the daemon and obeyed between two steps by the thread
//! that computes.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pipe::Adjustment;
use crate::serve::inbox::Inbox;

/// What the daemon wants of the job now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Run,
    Pause,
    Cancel,
}

/// What was asked of the work, beside when it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// Other hyperparameters.
    pub(crate) adjust: Option<Adjustment>,
    /// To end now, with what there is.
    pub(crate) finish: bool,
}

/// The job was cancelled: the loop unwinds with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// Shared between the thread that hears and the thread that computes.
#[derive(Debug)]
pub(crate) struct Control {
    wish: Mutex<Wish>,
    changed: Condvar,
    asked: Mutex<Asked>,
    /// Asks of a resident model.
    inbox: Inbox,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            wish: Mutex::new(Wish::Run),
            changed: Condvar::new(),
            asked: Mutex::default(),
            inbox: Inbox::default(),
        }
    }
}

impl Control {
    /// Asks of a resident model.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Asks the job to stop after the step it is in, and to wait.
    pub(crate) fn pause(&self) {
        self.set(Wish::Pause);
    }

    /// Lets a paused job go on.
    pub(crate) fn resume(&self) {
        self.set(Wish::Run);
    }

    /// Ends the job after the step it is in. There is no way back.
    pub(crate) fn cancel(&self) {
        self.set(Wish::Cancel);
    }

    /// Gives the work other hyperparameters after the step it is in. What is
    /// asked later counts.
    pub(crate) fn adjust(&self, adjustment: Adjustment) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let before = asked.adjust.unwrap_or_default();
        asked.adjust = Some(adjustment.after(before));
    }

    /// Ends the work after the step it is in, with what there is; a paused one
    /// goes on for that.
    pub(crate) fn finish(&self) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.finish = true;
        drop(asked);
        self.resume();
    }

    /// What was asked since this was last called. To finish stays asked.
    pub(crate) fn asked(&self) -> Asked {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = *asked;
        asked.adjust = None;
        now
    }

    /// Called between two steps: returns at once when the job may go on, waits
    /// while it is paused, and says how long it waited. `told` hears of a pause
    /// that takes effect and of its end.
    pub(crate) fn pass(&self, told: &mut dyn FnMut(bool)) -> Result<Duration, Cancelled> {
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        match *wish {
            Wish::Run => return Ok(Duration::ZERO),
            Wish::Cancel => return Err(Cancelled),
            Wish::Pause => {}
        }
        let since = Instant::now();
        // The lock is not held while the daemon is told: it may be slow to
        // read, and the next wish must be able to arrive meanwhile.
        drop(wish);
        told(true);
        wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        while *wish == Wish::Pause {
            wish = self
                .changed
                .wait(wish)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let ended = *wish;
        drop(wish);
        if ended == Wish::Cancel {
            return Err(Cancelled);
        }
        told(false);
        Ok(since.elapsed())
    }

    /// Whether the job is to wait.
    pub(crate) fn is_paused(&self) -> bool {
        self.wish() == Wish::Pause
    }

    /// Whether the job is to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.wish() == Wish::Cancel
    }

    fn wish(&self) -> Wish {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, wish: Wish) {
        let mut now = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != Wish::Cancel {
            *now = wish;
            self.changed.notify_all();
        }
        drop(now);
        // Whoever waits for asks has something else to look at.
        self.inbox.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_pause_lasts_until_resume_and_both_are_told() {
        let control = Arc::new(Control::default());
        control.pause();
        let (tell, told) = std::sync::mpsc::sync_channel(2);
        let computing = {
            let control = Arc::clone(&control);
            std::thread::spawn(move || control.pass(&mut |paused| tell.send(paused).unwrap()))
        };
        assert_eq!(told.recv(), Ok(true));
        control.resume();
        assert_eq!(told.recv(), Ok(false));
        assert!(computing.join().unwrap().is_ok());
    }

    #[test]
    fn cancel_wakes_a_paused_job_and_is_final() {
        let control = Arc::new(Control::default());
        control.pause();
        let (tell, told) = std::sync::mpsc::sync_channel(2);
        let computing = {
            let control = Arc::clone(&control);
            std::thread::spawn(move || control.pass(&mut |paused| tell.send(paused).unwrap()))
        };
        assert_eq!(told.recv(), Ok(true));
        control.cancel();
        assert_eq!(computing.join().unwrap(), Err(Cancelled));
        control.resume();
        assert_eq!(control.pass(&mut |_| ()), Err(Cancelled));
    }
}
