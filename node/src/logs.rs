//! The newest lines of this process's log, kept in memory for the owner of the node.
//!
//! Whoever composes the process puts [`Logs::layer`] beside where its log goes, and gives
//! [`Logs`] to the node. Old lines make room for new ones; nobody who reads slowly is
//! waited for.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use embermesh_crypto::time::UnixMillis;
use embermesh_dialects::port::node::owner::records::LogLine;
use tokio::sync::broadcast;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::Context,
    reload,
};

/// Lines that are kept.
const MAX_LINES: usize = 2000;
/// Lines that a reader may be behind; older ones are lost to it.
const BEHIND: usize = 256;
/// Bytes of a line.
const MAX_LINE: usize = 2048;
/// Parts of the program that say more than anybody reads, below a warning.
const LOUD: [&str; 6] = ["libp2p", "h2", "hyper", "rustls", "tower", "yamux"];

/// The kept lines. Clones are the same.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

type Filter = reload::Handle<Targets, Registry>;

struct Inner {
    lines: Mutex<VecDeque<LogLine>>,
    news: broadcast::Sender<LogLine>,
    level: Mutex<LevelFilter>,
    /// There once the log goes here.
    filter: OnceLock<Filter>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                lines: Mutex::default(),
                news: broadcast::Sender::new(BEHIND),
                level: Mutex::new(LevelFilter::INFO),
                filter: OnceLock::new(),
            }),
        }
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

impl Logs {
    /// What hears the log, to be put directly on a registry, once.
    pub fn layer(&self) -> impl Layer<Registry> + Send + Sync + use<> {
        let (filter, handle) = reload::Layer::new(targets(self.level()));
        // A second layer would be heard, and its level could not be changed.
        let _ = self.inner.filter.set(handle);
        Ring(self.clone()).with_filter(filter)
    }

    /// Whether the log goes here.
    pub(crate) fn hears(&self) -> bool {
        self.inner.filter.get().is_some()
    }

    /// The least level that is kept.
    pub(crate) fn level(&self) -> LevelFilter {
        *self
            .inner
            .level
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is as grave as that from now on. False where no log goes here.
    pub(crate) fn keep(&self, level: LevelFilter) -> bool {
        let Some(filter) = self.inner.filter.get() else {
            return false;
        };
        let changed = filter.reload(targets(level)).is_ok();
        if changed {
            *self
                .inner
                .level
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = level;
        }
        changed
    }

    /// The newest lines since a moment that fit, the oldest first.
    pub(crate) fn newest(
        &self,
        since: UnixMillis,
        most: usize,
        fits: impl Fn(&LogLine) -> bool,
    ) -> Vec<LogLine> {
        let lines = self.lines();
        let newest = lines.iter().rev();
        let mut found: Vec<LogLine> = newest
            .filter(|line| line.at >= since && fits(line))
            .take(most)
            .cloned()
            .collect();
        drop(lines);
        found.reverse();
        found
    }

    /// Lines from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<LogLine> {
        self.inner.news.subscribe()
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<LogLine>> {
        self.inner
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, line: LogLine) {
        {
            let mut lines = self.lines();
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(line.clone());
        }
        // Nobody may be reading.
        let _ = self.inner.news.send(line);
    }
}

/// Everything at a level, and of what is loud no less than warnings.
fn targets(level: LevelFilter) -> Targets {
    let quiet = level.min(LevelFilter::WARN);
    let loud = LOUD.into_iter().map(|name| (name, quiet));
    Targets::new().with_default(level).with_targets(loud)
}

/// The layer that hears.
struct Ring(Logs);

impl<S: Subscriber> Layer<S> for Ring {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let about = event.metadata();
        self.0.hear(LogLine {
            at: UnixMillis::now(),
            level: word(*about.level()),
            source: about.target().to_owned(),
            message: text.line(),
        });
    }
}

/// The word for a level.
const fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// What an event says: its message, and its fields behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn line(mut self) -> String {
        self.message.push_str(&self.fields);
        let end = self.message.floor_char_boundary(MAX_LINE);
        self.message.truncate(end);
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a text does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn said(logs: &Logs) -> Vec<String> {
        let lines = logs.newest(UnixMillis(0), MAX_LINES, |_| true);
        lines.into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn lines_are_kept_by_their_level_which_can_be_changed() {
        let logs = Logs::default();
        assert!(!logs.hears() && !logs.keep(LevelFilter::DEBUG));
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("unheard");
            tracing::info!(number = 7, "heard");
            tracing::info!(target: "libp2p::swarm", "loud");
            assert!(logs.keep(LevelFilter::DEBUG));
            tracing::debug!("heard now");
            assert!(logs.keep(LevelFilter::ERROR));
            tracing::warn!("unheard again");
        });
        assert_eq!(said(&logs), ["heard number=7", "heard now"]);
        let line = &logs.newest(UnixMillis(0), 1, |_| true)[0];
        assert_eq!((line.level, logs.level()), ("DEBUG", LevelFilter::ERROR));
        assert!(line.source.contains("logs"), "{}", line.source);
        assert!(logs.newest(UnixMillis(u64::MAX), 9, |_| true).is_empty());
    }

    #[test]
    fn old_lines_make_room_and_long_ones_are_cut() {
        let logs = Logs::default();
        let subscriber = tracing_subscriber::registry().with(logs.layer());
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..=MAX_LINES {
                tracing::info!("{number}");
            }
            tracing::info!("{}", "é".repeat(MAX_LINE));
        });
        let lines = said(&logs);
        assert_eq!((lines.len(), lines[0].as_str()), (MAX_LINES, "2"));
        assert!(lines[MAX_LINES - 1].len() <= MAX_LINE);
    }
}
