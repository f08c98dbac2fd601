//! What a task says while it runs.
//!
//! An [`Event`] is numbered by the work it tells of, not by the attempt: an
//! attempt that resumes from a checkpoint numbers the same steps with the same
//! numbers. A [`Notice`] is about the attempt and has no number.
//!
//! Events have a JSON form, for logs, pipes and output. A measure that is no
//! number (a loss that overflowed) is a text there, so that every event reads
//! back as it was.

use std::collections::BTreeMap;

use embermesh_crypto::{Digest, Epoch, UnixMillis};
use serde::{Deserialize, Serialize};

pub use embermesh_crypto::statement::Outcome;

mod json;

/// The most measures of one event.
pub const MAX_METRICS: usize = 64;
/// The longest name of a measure, in bytes.
pub const MAX_METRIC_NAME: usize = 64;
/// The longest piece of text in one event, in bytes: generated, or written by a
/// script.
pub const MAX_PIECE: usize = 4096;

/// One numbered word of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// The attempt that said it.
    pub epoch: Epoch,
    /// When, by the node's clock.
    pub at: UnixMillis,
    /// What.
    pub kind: EventKind,
}

/// What an event can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The work is set up.
    Started {
        /// The device's name.
        device: String,
        /// Trainable numbers.
        parameters: u64,
        /// Steps in all.
        total_steps: u64,
        /// Samples that it works on.
        samples: u64,
    },
    /// Some steps further.
    Progress(Progress),
    /// A pass over the data is over.
    EpochEnded {
        /// Which, from 1.
        pass: u32,
        /// Mean loss over the pass.
        #[serde(with = "json::number")]
        train_loss: f64,
        /// Share classified rightly while training.
        #[serde(default, with = "json::optional_number")]
        train_accuracy: Option<f64>,
        /// Loss on what was kept out.
        #[serde(default, with = "json::optional_number")]
        holdout_loss: Option<f64>,
        /// Share of it classified rightly.
        #[serde(default, with = "json::optional_number")]
        holdout_accuracy: Option<f64>,
    },
    /// There is a point to resume from.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// There is a result.
    Artifact(Artifact),
    /// Weights have been judged.
    Evaluated {
        /// By how many samples.
        samples: u64,
        /// Mean loss.
        #[serde(with = "json::number")]
        loss: f64,
        /// Share classified rightly.
        #[serde(default, with = "json::optional_number")]
        accuracy: Option<f64>,
    },
    /// What an evaluation measured, by name: the headline of its result.
    Metrics {
        /// The measures.
        #[serde(with = "json::numbers")]
        values: BTreeMap<String, f64>,
    },
    /// A language model has gone on by some tokens.
    Generated(Generated),
    /// Hyperparameters were changed while it ran.
    Adjusted {
        /// Steps done before that.
        step: u64,
        /// The learning rate from then on, before its schedule.
        #[serde(with = "json::number")]
        learning_rate: f64,
        /// The weight decay from then on.
        #[serde(with = "json::number")]
        weight_decay: f64,
    },
    /// A script has written something; the pieces of a stream, one after
    /// another, are what it wrote there.
    Logged {
        /// Where.
        stream: LogStream,
        /// What, [`MAX_PIECE`] bytes at most: whole characters, with U+FFFD
        /// where its bytes are none.
        text: String,
    },
    /// The work ends before its last step, and not in vain.
    Stopped {
        /// Steps done.
        step: u64,
        /// Why.
        reason: String,
    },
    /// A resident model is in memory and can be asked.
    Loaded(Loaded),
    /// The task is over. Always the last.
    Finished {
        /// How.
        outcome: Outcome,
        /// The signed receipt; empty only where no attempt ran.
        #[serde(with = "json::hex")]
        receipt: Vec<u8>,
        /// Why it failed, if it did.
        message: String,
    },
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total_steps: u64,
    /// The pass over the data, from 1.
    pub pass: u32,
    /// Passes in all.
    pub total_passes: u32,
    /// Mean loss since the last such event.
    #[serde(with = "json::number")]
    pub loss: f64,
    /// Share classified rightly since then.
    #[serde(default, with = "json::optional_number")]
    pub accuracy: Option<f64>,
    /// Speed, by the worker's clock.
    #[serde(with = "json::number")]
    pub samples_per_second: f64,
    /// Time left at that speed, in milliseconds.
    pub remaining_ms: u64,
}

/// A piece of generated text. The pieces of a request, one after another, are
/// its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// Which request of the job, from 0.
    pub request: u32,
    /// The text since the last such event of it, [`MAX_PIECE`] bytes at most;
    /// whole characters.
    pub text: String,
    /// Tokens that the request has made so far.
    pub tokens: u32,
    /// Tokens that it began with.
    pub prompt_tokens: u32,
    /// Tokens a second of all requests together since the first, by the
    /// worker's clock.
    #[serde(with = "json::number")]
    pub tokens_per_second: f64,
    /// Why the request ends, with its last event.
    #[serde(default)]
    pub finish: Option<FinishReason>,
}

/// The two streams that a script writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// A resident model that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The blob of the model, or of its weights.
    pub model: Digest,
    /// Memory that it takes in its worker, in bytes, as the node measured it.
    pub memory_bytes: u64,
    /// Tokens that prompt and answer may have together; 0 for a network.
    pub context: u32,
    /// Asks that are answered side by side.
    pub concurrency: u32,
}

/// Why a generated text ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or one of the request's stop strings came.
    Stop,
    /// It has as many tokens as were asked for, or as the model can read.
    Length,
    /// That was asked of the job: the text is what there was by then.
    Stopped,
}

impl FinishReason {
    /// Its name in results.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Stopped => "stopped",
        }
    }
}

/// A blob that a task made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name within the task.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl EventKind {
    /// Whether no event follows this one.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Finished { .. })
    }
}

/// Something about the attempt rather than about the work: not numbered, not
/// replayed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The node is bringing an input to itself.
    FetchingInput {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes that have arrived.
        received: u64,
    },
    /// The attempt is paused (true) or goes on (false).
    Paused(bool),
    /// The attempt ended without ending the job: another may follow.
    AttemptEnded {
        /// A stable word.
        code: String,
        /// What happened.
        message: String,
    },
    /// The node will stop soon; the job will be moved.
    Draining,
    /// The stream is alive and there is nothing to say.
    Idle,
}

/// One item of a task's stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunUpdate {
    /// A numbered event.
    Event(Event),
    /// A notice.
    Notice(Notice),
}

#[cfg(test)]
mod tests;
