//! How long an attempt may run.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The time that a job may run, which stands still while it is paused.
pub(super) struct Wall {
    left: Duration,
    since: Option<Instant>,
}

impl Wall {
    /// Begins to count.
    pub(super) fn started(left: Duration) -> Self {
        Self {
            left,
            since: Some(Instant::now()),
        }
    }

    /// Stands still.
    pub(super) fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }

    /// Counts on.
    pub(super) fn go_on(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Waits until it is used up; forever while it stands still.
    pub(super) async fn over(&self) {
        match self.since.and_then(|since| since.checked_add(self.left)) {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}
