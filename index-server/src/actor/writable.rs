//! Whether the store can be written, as the last try showed. While it cannot,
//! nobody may call any more, so a small write of the actor's own finds out when
//! it can again.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// How long after a write that failed the next is tried, when nobody asks for one.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// What is known of the store.
#[derive(Debug)]
pub(super) struct Writable {
    known: watch::Sender<bool>,
    probe_at: Option<Instant>,
}

impl Writable {
    pub(super) fn new() -> Self {
        Self {
            known: watch::Sender::new(true),
            probe_at: None,
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.known.subscribe()
    }

    /// Takes note of how a write ended.
    pub(super) fn tried(&mut self, written: bool) {
        self.probe_at = (!written).then(|| Instant::now() + PROBE_PAUSE);
        self.known
            .send_if_modified(|known| std::mem::replace(known, written) != written);
    }

    /// How long until the next probe; none while all is well.
    pub(super) fn until_probe(&self) -> Option<Duration> {
        let at = self.probe_at?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn probe_is_due(&self) -> bool {
        self.until_probe() == Some(Duration::ZERO)
    }
}
