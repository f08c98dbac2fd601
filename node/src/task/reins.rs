//! What an actor is told, read wherever it happens to be.
//!
//! A stop must be heard in the middle of anything long; the other words can wait
//! until the worker works. So whoever waits for a stop puts the rest aside.

use std::{collections::VecDeque, mem::discriminant};

use tokio::sync::mpsc;

use super::{StopWhy, Told, handle::TOLD};

/// The receiving end of a task's handle.
pub(super) struct Reins {
    hears: mpsc::Receiver<Told>,
    /// Words that were heard while waiting for a stop.
    aside: VecDeque<Told>,
}

impl Reins {
    pub(super) fn new(hears: mpsc::Receiver<Told>) -> Self {
        Self {
            hears,
            aside: VecDeque::with_capacity(TOLD),
        }
    }

    /// The next word. Cancel safe. Never ends: an actor outlives its handles.
    pub(super) async fn next(&mut self) -> Told {
        if let Some(told) = self.aside.pop_front() {
            return told;
        }
        match self.hears.recv().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }

    /// Waits for the word to stop. Cancel safe. Before any work is done a drain is
    /// one: there is no checkpoint to wait for.
    pub(super) async fn stopped(&mut self, drain_stops: bool) -> StopWhy {
        if drain_stops && self.aside.contains(&Told::Drain) {
            return StopWhy::Drained;
        }
        loop {
            match self.hears.recv().await {
                Some(Told::Stop(why)) => return why,
                Some(Told::Drain) if drain_stops => return StopWhy::Drained,
                Some(told) => self.put_aside(told),
                None => std::future::pending().await,
            }
        }
    }

    /// Keeps a word for later, one of each kind at most.
    fn put_aside(&mut self, told: Told) {
        let told = match told {
            // What an earlier adjustment changed and this one does not, stays.
            Told::Adjust(next) => {
                let before = self.aside.iter().find_map(|aside| match aside {
                    Told::Adjust(before) => Some(*before),
                    _ => None,
                });
                Told::Adjust(next.after(before.unwrap_or_default()))
            }
            told => told,
        };
        // Pause and resume undo each other: the last one counts.
        let turn = |told: &Told| matches!(told, Told::Pause | Told::Resume);
        self.aside.retain(|aside| {
            !(turn(aside) && turn(&told)) && discriminant(aside) != discriminant(&told)
        });
        self.aside.push_back(told);
    }

    /// Runs what takes long, unless the word to stop comes first.
    pub(super) async fn unless_stopped<T>(
        &mut self,
        drain_stops: bool,
        run: impl Future<Output = T>,
    ) -> Result<T, StopWhy> {
        tokio::select! {
            biased;
            why = self.stopped(drain_stops) => Err(why),
            done = run => Ok(done),
        }
    }
}
