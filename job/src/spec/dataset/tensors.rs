//! Tensors of a safetensors file, by name.
//!
//! The first axis counts samples. The rest is the shape of one; where several
//! tensors are the features, their numbers make a row together.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{MAX_WIDTH, Target, named, none, normalise::Normalise};
use crate::spec::{
    Input, InvalidSpec,
    invalid::{field, within},
};

/// Samples, and what they should give, in one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensors<I = Input> {
    /// The file.
    pub file: I,
    /// A file of the same tensors whose samples are always kept out of training.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub holdout: Option<I>,
    /// The tensors that make a sample, in this order.
    pub features: Vec<String>,
    /// The tensor of what they should give. Only a prediction can do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// What the targets are.
    #[serde(default, skip_serializing_if = "Target::is_nothing")]
    pub target: Target,
    /// How features are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

impl<I> Tensors<I> {
    pub(super) fn validate(&self) -> Result<Target, InvalidSpec> {
        let count = self.features.len() as u64;
        within("data.safetensors.features", count, 1, MAX_WIDTH.into())?;
        let mut seen = BTreeSet::new();
        for name in self.features.iter().chain(&self.targets) {
            named("data.safetensors", name)?;
            if !seen.insert(name) {
                return Err(field(
                    "data.safetensors",
                    format!("{name:?} is named twice, as a feature or a target"),
                ));
            }
        }
        if self.targets.is_some() == self.target.is_nothing() {
            return Err(field(
                "data.safetensors.target",
                "give both `targets` and `target`, the latter as classes = COUNT or numbers = WIDTH, or neither",
            ));
        }
        self.target.validate()
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Tensors<J>, E> {
        Ok(Tensors {
            file: name(self.file)?,
            holdout: self.holdout.map(&mut *name).transpose()?,
            features: self.features,
            targets: self.targets,
            target: self.target,
            normalise: self.normalise,
        })
    }
}
