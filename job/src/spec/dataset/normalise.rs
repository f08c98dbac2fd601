//! How the numbers of samples are scaled before a model sees them.

use serde::{Deserialize, Serialize};

use crate::spec::{InvalidSpec, invalid::field};

/// A way to scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalise {
    /// By mean and deviation over the samples that train: of each number of a
    /// row, and of each channel of an image. The weights carry both, so that an
    /// evaluation or a prediction elsewhere uses the same.
    Standardise,
    /// Evenly, so that `from` becomes 0 and `to` becomes 1.
    Scale {
        /// What becomes 0.
        from: f64,
        /// What becomes 1.
        to: f64,
    },
}

impl Normalise {
    pub(in crate::spec) fn validate(self) -> Result<(), InvalidSpec> {
        let Self::Scale { from, to } = self else {
            return Ok(());
        };
        let span = (to - from) as f32;
        if from.is_finite() && to.is_finite() && span.is_finite() && span.abs() >= f32::MIN_POSITIVE
        {
            return Ok(());
        }
        Err(field(
            "data.normalise.scale",
            format!("{from} and {to} are not two different numbers"),
        ))
    }
}
