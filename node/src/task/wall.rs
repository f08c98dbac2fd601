//! How long an attempt may run.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The time that a job may run, which stands still while it is paused.
pub(super) struct Wall {
    allowed: Duration,
    left: Duration,
    since: Option<Instant>,
}

impl Wall {
    /// Begins to count.
    pub(super) fn started(left: Duration) -> Self {
        Self {
            allowed: left,
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

    /// Gives so much more from now on, whatever is left.
    pub(super) fn extend(&mut self, more: Duration) {
        self.allowed = self.used().saturating_add(more);
        self.left = more;
        self.since = Some(Instant::now());
    }

    /// What has been used.
    pub(super) fn used(&self) -> Duration {
        let since = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.allowed.saturating_sub(self.left).saturating_add(since)
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
