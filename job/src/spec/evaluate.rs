//! Evaluation: weights, and the data that they are judged by.

use serde::{Deserialize, Serialize};

use super::{
    Dataset, Input, InvalidSpec, Limits, Loss,
    invalid::{share, within},
};
use crate::model::Model;

/// The forward pass over labelled data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate<I = Input> {
    /// The network.
    pub model: Model,
    /// Its weights, as safetensors.
    pub weights: I,
    /// What it is judged by.
    pub data: Dataset<I>,
    /// What it reports as the loss; without one, cross-entropy for classes and
    /// the mean squared error for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// Which of the samples.
    #[serde(default)]
    pub split: Split,
    /// Samples a step.
    pub batch: u32,
}

/// Which samples of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Split {
    /// Every one.
    #[default]
    All,
    /// Those that a training with this share and seed kept out.
    Holdout {
        /// The share.
        share: f64,
        /// The seed.
        seed: u32,
    },
}

impl Evaluate {
    pub(super) fn validate(&self, limits: &Limits) -> Result<(), InvalidSpec> {
        within("batch", self.batch.into(), 1, 65_536)?;
        if let Split::Holdout { share: kept, .. } = self.split {
            share("split.holdout.share", kept, 0.0, 0.9)?;
        }
        let target = self.data.validate(&self.model)?;
        let outputs = self.loss().validate(target)?;
        let plan = self.model.plan()?;
        super::gives(&plan, target, outputs)?;
        let needed = plan.inference_bytes(self.batch as usize);
        super::affords(needed, self.batch, limits)
    }
}

impl<I> Evaluate<I> {
    /// What it reports as the loss.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.loss
            .clone()
            .unwrap_or_else(|| Loss::usual(self.data.target()))
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        let mut inputs = self.data.input_refs();
        inputs.push(&self.weights);
        inputs
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Evaluate<J>, E> {
        Ok(Evaluate {
            data: self.data.try_map(name)?,
            weights: name(self.weights)?,
            model: self.model,
            loss: self.loss,
            split: self.split,
            batch: self.batch,
        })
    }
}
