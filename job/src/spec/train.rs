//! Training: what is learnt, from what and how.

use serde::{Deserialize, Serialize};

use super::{
    Clip, Dataset, EarlyStopping, Input, InvalidSpec, Limits, Loss, Optimizer, Precision,
    Requirements, Schedule, Span, Watch,
    invalid::{field, share, within},
};
use crate::model::{Model, Plan};

/// The most samples of one step, over all the batches that it gathers.
const MAX_STEP: u64 = 1 << 20;

/// Training by gradient descent on samples and what they should give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train<I = Input> {
    /// The network.
    pub model: Model,
    /// What it learns from.
    pub data: Dataset<I>,
    /// What it lowers; without one, cross-entropy for classes and the mean
    /// squared error for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// How it learns.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// How the learning rate grows at the beginning: evenly, from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Span>,
    /// How the learning rate runs after that; without one, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// A bound on the gradients of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// In which numbers it computes.
    #[serde(default, skip_serializing_if = "Precision::is_full")]
    pub precision: Precision,
    /// How often each sample is seen.
    pub passes: u32,
    /// Samples computed at a time.
    pub batch: u32,
    /// Batches whose gradients make one step.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: u32,
    /// Makes weights, order and dropout the same each time.
    #[serde(default)]
    pub seed: u32,
    /// Whether each pass takes the samples in an order of its own rather than
    /// in theirs.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub shuffle: bool,
    /// The share of the samples that is kept out of training, 0 to below 0.9.
    #[serde(default)]
    pub holdout: f64,
    /// When to end before all passes are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Steps between two progress events; 0 means once a pass.
    #[serde(default)]
    pub report_every: u32,
    /// Steps between two checkpoints; 0 means none.
    #[serde(default)]
    pub checkpoint_every: u32,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Train {
    pub(super) fn validate(
        &self,
        requires: &Requirements,
        limits: &Limits,
    ) -> Result<(), InvalidSpec> {
        within("passes", self.passes.into(), 1, 1_000_000)?;
        within("batch", self.batch.into(), 1, 65_536)?;
        let most = MAX_STEP / u64::from(self.batch);
        within("accumulate", self.accumulate.into(), 1, most)?;
        share("holdout", self.holdout, 0.0, 0.9)?;
        self.optimizer.validate()?;
        self.precision.validate(requires)?;
        if let Some(warmup) = self.warmup {
            warmup.validate("warmup")?;
        }
        if let Some(schedule) = &self.schedule {
            schedule.validate()?;
        }
        if let Some(clip) = &self.clip {
            clip.validate()?;
        }
        if let Some(stopping) = &self.early_stopping {
            stopping.validate()?;
            if stopping.watch == Watch::Accuracy && !self.loss().has_accuracy() {
                return Err(field(
                    "early_stopping.watch",
                    format!("{} has no accuracy: watch the loss", self.loss().word()),
                ));
            }
        }
        let target = self.data.validate(&self.model)?;
        let outputs = self.loss().validate(target)?;
        let plan = self.model.plan()?;
        super::gives(&plan.output_shape, target, outputs)?;
        super::affords(self.peak_bytes(&plan), self.batch, limits)
    }
}

impl<I> Train<I> {
    /// A training with one pass in batches of 32, and the usual for the rest.
    #[must_use]
    pub fn new(model: Model, data: Dataset<I>) -> Self {
        Self {
            model,
            data,
            loss: None,
            optimizer: Optimizer::default(),
            warmup: None,
            schedule: None,
            clip: None,
            precision: Precision::Full,
            passes: 1,
            batch: 32,
            accumulate: 1,
            seed: 0,
            shuffle: true,
            holdout: 0.0,
            early_stopping: None,
            report_every: 0,
            checkpoint_every: 0,
        }
    }

    /// What it lowers.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.loss
            .clone()
            .unwrap_or_else(|| Loss::usual(self.data.target()))
    }

    /// An upper estimate of the memory that it takes, in bytes, beside its data.
    #[must_use]
    pub fn peak_bytes(&self, plan: &Plan) -> u64 {
        // A plan counts two moments of each weight.
        let best = self.early_stopping.is_some_and(|stop| stop.restore_best);
        let sums = self.accumulate > 1;
        let more = self.optimizer.moments().saturating_sub(2) + u64::from(best) + u64::from(sums);
        plan.peak_bytes(self.batch as usize)
            .saturating_add(plan.parameters.saturating_mul(4 * more))
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        self.data.input_refs()
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Train<J>, E> {
        Ok(Train {
            data: self.data.try_map(name)?,
            model: self.model,
            loss: self.loss,
            optimizer: self.optimizer,
            warmup: self.warmup,
            schedule: self.schedule,
            clip: self.clip,
            precision: self.precision,
            passes: self.passes,
            batch: self.batch,
            accumulate: self.accumulate,
            seed: self.seed,
            shuffle: self.shuffle,
            holdout: self.holdout,
            early_stopping: self.early_stopping,
            report_every: self.report_every,
            checkpoint_every: self.checkpoint_every,
        })
    }
}
