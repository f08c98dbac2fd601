//! What each line was let in to. Some clients show their token once and then speak of a
//! job by name alone, so the connection is what is remembered: its address, or its key.
//!
//! A session is good for the attempt that its token was for, and no longer than
//! [`IDLE`] without a call or a stream. It outlives its token: a training may take
//! longer than any token lives, and its weights are fetched at its end.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use embermesh_dialects::port::node::Line;
use tokio::time::{Duration, Instant};

use crate::gate::Passed;

/// Sessions in all. At the bound the one that was unused longest goes.
const MAX_SESSIONS: usize = 4096;

/// Jobs of one line.
const MAX_OF_LINE: usize = 10;

/// How long a session lives unused.
const IDLE: Duration = Duration::from_secs(600);

struct Session {
    line: Line,
    /// What the caller calls the job.
    name: String,
    passed: Passed,
    used: Instant,
    /// Held by each stream: a session that streams is in use.
    streams: Arc<()>,
}

impl Session {
    fn lives(&self, now: Instant) -> bool {
        Arc::strong_count(&self.streams) > 1 || now < self.used + IDLE
    }

    fn means(&self, job: &str) -> bool {
        job.is_empty() || job == self.name || job == self.passed.assignment.claims().job.to_string()
    }
}

/// A line has as many jobs as it may.
#[derive(Debug, thiserror::Error)]
#[error("this connection has {MAX_OF_LINE} jobs open already: disconnect from the node first")]
pub(super) struct TooMany;

/// Every session, the newest last.
#[derive(Default)]
pub(super) struct Sessions {
    all: Mutex<VecDeque<Session>>,
}

impl Sessions {
    /// Lets a line in. An earlier session for the same job is replaced.
    pub(super) fn open(&self, line: Line, name: &str, passed: Passed) -> Result<(), TooMany> {
        let now = Instant::now();
        let mut all = self.living(now);
        let job = passed.assignment.claims().job;
        let same = |held: &Session| {
            held.line == line && (held.passed.assignment.claims().job == job || held.name == name)
        };
        all.retain(|held| !same(held));
        if all.iter().filter(|held| held.line == line).count() >= MAX_OF_LINE {
            return Err(TooMany);
        }
        if all.len() >= MAX_SESSIONS {
            let oldest = (0..all.len()).min_by_key(|&at| all[at].used);
            oldest.map(|at| all.remove(at));
        }
        all.push_back(Session {
            line,
            name: name.to_owned(),
            passed,
            used: now,
            streams: Arc::new(()),
        });
        Ok(())
    }

    /// What a line may do with a job, and what a stream of it holds.
    pub(super) fn find(&self, line: &Line, job: &str) -> Option<(Passed, Arc<()>)> {
        let now = Instant::now();
        let mut all = self.living(now);
        let held = all
            .iter_mut()
            .rev()
            .find(|held| held.line == *line && held.means(job))?;
        held.used = now;
        Some((held.passed.clone(), Arc::clone(&held.streams)))
    }

    /// Forgets a line. Says how many sessions it had.
    pub(super) fn close(&self, line: &Line) -> usize {
        let mut all = self.living(Instant::now());
        let before = all.len();
        all.retain(|held| held.line != *line);
        before - all.len()
    }

    fn living(&self, now: Instant) -> MutexGuard<'_, VecDeque<Session>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|held| held.lives(now));
        all
    }
}
