//! What keeps a training in its course: clipped gradients, and an end when it
//! learns no more.

use serde::{Deserialize, Serialize};

use super::{
    InvalidSpec,
    invalid::{share, within},
};

/// A bound on gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// `clip_grad_value_`: each number lies between this and its negative.
    Value(f64),
    /// `clip_grad_norm_`: all of them together, as one vector, are at most so
    /// long (2-norm).
    Norm(f64),
}

impl Clip {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        let (Self::Value(most) | Self::Norm(most)) = *self;
        share("clip", most, f64::MIN_POSITIVE, 1e12)
    }
}

/// An end before all passes are done, when a pass after the other is no better:
/// on the samples held out, or, where there are none, on those trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// What is to become better.
    #[serde(default)]
    pub watch: Watch,
    /// How many passes may be no better, one after the other.
    pub patience: u32,
    /// By how much better is better.
    #[serde(default)]
    pub min_delta: f64,
    /// Whether the result is the best weights rather than the last.
    #[serde(default = "yes")]
    pub restore_best: bool,
}

fn yes() -> bool {
    true
}

/// What is to become better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// The loss, lower.
    #[default]
    Loss,
    /// The share classified rightly, higher.
    Accuracy,
}

impl EarlyStopping {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        within(
            "early_stopping.patience",
            self.patience.into(),
            1,
            1_000_000,
        )?;
        share("early_stopping.min_delta", self.min_delta, 0.0, 1e12)
    }
}
