//! Evaluation: weights, and the data that they are judged by.

use serde::{Deserialize, Serialize};

use super::{
    Dataset, Input, InvalidSpec, Limits, Loss, Network,
    invalid::{share, within},
};

/// The forward pass over labelled data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate<I = Input> {
    /// The network.
    pub model: Network<I>,
    /// Its weights, as safetensors; an ONNX file brings its own.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub weights: Option<I>,
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

fn none<I>() -> Option<I> {
    None
}

impl Evaluate {
    pub(super) fn validate(&self, limits: &Limits) -> Result<(), InvalidSpec> {
        within("batch", self.batch.into(), 1, 65_536)?;
        if let Split::Holdout { share: kept, .. } = self.split {
            share("split.holdout.share", kept, 0.0, 0.9)?;
        }
        self.model.validate(self.weights.as_ref())?;
        let target = self.data.validate(&self.model.takes())?;
        let outputs = self.loss().validate(target)?;
        let Some(plan) = self.model.plan()? else {
            return Ok(());
        };
        super::gives(&plan.output_shape, target, outputs)?;
        let peak = plan.peak_bytes(self.batch as usize);
        super::affords(peak, self.batch, limits)
    }
}

impl<I> Evaluate<I> {
    /// Whether a model whose outputs have this shape, without the batch, fits the
    /// data and the loss.
    ///
    /// # Errors
    /// [`InvalidSpec`] when it does not.
    pub fn fits(&self, shape: &[usize]) -> Result<(), InvalidSpec> {
        let target = self.data.target();
        super::gives(shape, target, self.loss().validate(target)?)
    }

    /// What it reports as the loss.
    #[must_use]
    pub fn loss(&self) -> Loss {
        self.loss
            .clone()
            .unwrap_or_else(|| Loss::usual(self.data.target()))
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        let mut inputs = self.data.input_refs();
        inputs.extend(self.model.input_refs());
        inputs.extend(&self.weights);
        inputs
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Evaluate<J>, E> {
        Ok(Evaluate {
            data: self.data.try_map(name)?,
            model: self.model.try_map(name)?,
            weights: self.weights.map(&mut *name).transpose()?,
            loss: self.loss,
            split: self.split,
            batch: self.batch,
        })
    }
}
