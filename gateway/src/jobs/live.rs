//! A job that is followed: what it looks like now, and what it has said.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use embermesh_client::Update;
use embermesh_dialects::port::jobs::{JobUpdate, JobView, LogPiece, MAX_LOG};
use embermesh_job::{
    event::{Event, EventKind, Notice, Outcome},
    lifecycle::JobState,
};
use tokio::sync::watch;

/// What one word costs beside its text, in bytes.
const WORD: usize = 64;

/// A job that is followed. Whoever watches it holds a place in its words, and never
/// keeps it waiting.
#[derive(Debug)]
pub(crate) struct Live {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    view: JobView,
    /// How often the view has changed.
    changes: u64,
    words: VecDeque<JobUpdate>,
    /// How many words are gone from the front.
    gone: u64,
    bytes: usize,
}

/// How far somebody has heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    words: u64,
    changes: u64,
}

impl Live {
    pub(crate) fn new(view: JobView) -> Self {
        Self {
            state: Mutex::new(State {
                view,
                changes: 1,
                words: VecDeque::new(),
                gone: 0,
                bytes: 0,
            }),
            version: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it looks like now.
    pub(crate) fn view(&self) -> JobView {
        self.state().view.clone()
    }

    /// Changes what it looks like.
    pub(crate) fn change(&self, how: impl FnOnce(&mut JobView)) {
        let mut state = self.state();
        how(&mut state.view);
        state.changes += 1;
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }

    /// What it has written so far, as far as it is kept.
    pub(crate) fn log(&self) -> Vec<LogPiece> {
        let state = self.state();
        let pieces = state.words.iter().filter_map(|word| match word {
            JobUpdate::Logged(piece) => Some(piece.clone()),
            _ => None,
        });
        pieces.collect()
    }

    /// Wakes up with every change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What somebody has not heard yet; the view comes last, where it has changed.
    pub(crate) fn since(&self, heard: &mut Heard) -> Vec<JobUpdate> {
        let state = self.state();
        let skip = usize::try_from(heard.words.saturating_sub(state.gone)).unwrap_or(usize::MAX);
        let mut news: Vec<JobUpdate> = state.words.iter().skip(skip).cloned().collect();
        if heard.changes < state.changes {
            news.push(JobUpdate::Changed(Box::new(state.view.clone())));
        }
        heard.words = state.gone + state.words.len() as u64;
        heard.changes = state.changes;
        news
    }

    /// Takes in what the follower said, except the end.
    pub(crate) fn hear(&self, update: Update) {
        match update {
            Update::Queued { reason, .. } => self.change(|view| {
                view.state = JobState::Queued;
                view.message = reason;
            }),
            Update::Assigned { node, .. } => self.change(|view| {
                if view.state == JobState::Queued {
                    view.state = JobState::Assigned;
                }
                view.node = Some(node.to_string());
                view.message.clear();
            }),
            Update::Event(event) => self.event(event),
            Update::Notice(Notice::Paused(paused)) => self.change(|view| {
                view.state = if paused {
                    JobState::Paused
                } else {
                    JobState::Running
                };
            }),
            Update::Notice(Notice::AttemptEnded { message, .. }) => {
                self.change(|view| view.message = message);
            }
            _ => {}
        }
    }

    fn event(&self, event: Event) {
        let at = event.at;
        match event.kind {
            EventKind::Started { .. } | EventKind::Loaded(_) => self.change(|view| {
                view.state = JobState::Running;
                view.started_at.get_or_insert(at);
            }),
            EventKind::Progress(progress) => self.change(|view| {
                view.state = JobState::Running;
                view.progress = share(progress.step, progress.total_steps);
                view.pass = (progress.pass, progress.total_passes);
                let mut measure = |name: &str, value| {
                    view.metrics.insert(name.to_owned(), value);
                };
                measure("loss", progress.loss);
                measure("samples_per_second", progress.samples_per_second);
                if let Some(accuracy) = progress.accuracy {
                    measure("accuracy", accuracy);
                }
            }),
            EventKind::EpochEnded {
                train_loss,
                train_accuracy,
                holdout_loss,
                holdout_accuracy,
                ..
            } => self.change(|view| {
                let measures = [
                    ("train_loss", Some(train_loss)),
                    ("train_accuracy", train_accuracy),
                    ("val_loss", holdout_loss),
                    ("val_accuracy", holdout_accuracy),
                ];
                for (name, value) in measures {
                    if let Some(value) = value {
                        view.metrics.insert(name.to_owned(), value);
                    }
                }
            }),
            EventKind::Artifact(artifact) => self.change(|view| view.artifacts.push(artifact)),
            EventKind::Evaluated { loss, accuracy, .. } => self.change(|view| {
                view.metrics.insert("loss".to_owned(), loss);
                if let Some(accuracy) = accuracy {
                    view.metrics.insert("accuracy".to_owned(), accuracy);
                }
            }),
            EventKind::Metrics { values } => self.change(|view| view.metrics.extend(values)),
            EventKind::Generated(piece) => {
                let bytes = piece.text.len();
                self.say(JobUpdate::Generated(piece), bytes);
            }
            EventKind::Logged { stream, text } => {
                let bytes = text.len();
                self.say(JobUpdate::Logged(LogPiece { at, stream, text }), bytes);
            }
            EventKind::Stopped { reason, .. } => self.change(|view| view.message = reason),
            _ => {}
        }
    }

    /// Takes in a piece of its log.
    pub(crate) fn hear_log(&self, piece: LogPiece) {
        let bytes = piece.text.len();
        self.say(JobUpdate::Logged(piece), bytes);
    }

    /// Keeps a word, and lets the oldest go where there are too many.
    pub(crate) fn say(&self, word: JobUpdate, bytes: usize) {
        let mut state = self.state();
        state.bytes += bytes + WORD;
        state.words.push_back(word);
        while state.bytes > MAX_LOG && state.words.len() > 1 {
            let Some(first) = state.words.pop_front() else {
                break;
            };
            state.bytes -= text_of(&first).len() + WORD;
            state.gone += 1;
        }
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }
}

fn text_of(word: &JobUpdate) -> &str {
    match word {
        JobUpdate::Logged(piece) => &piece.text,
        JobUpdate::Generated(piece) => &piece.text,
        JobUpdate::Changed(_) => "",
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a share is shown, not counted with"
)]
fn share(done: u64, all: u64) -> f64 {
    if all == 0 {
        0.0
    } else {
        (done as f64 / all as f64).min(1.0)
    }
}

/// The state of a job that has ended so.
pub(crate) const fn ended_as(outcome: Outcome) -> JobState {
    match outcome {
        Outcome::Succeeded => JobState::Succeeded,
        Outcome::Failed => JobState::Failed,
        Outcome::Cancelled => JobState::Cancelled,
    }
}
