//! NumPy arrays: `.npy` has one a file, `.npz` several by name.
//!
//! The first axis counts samples. The rest is the shape of one; a sample
//! without a further axis is one number.

use serde::{Deserialize, Serialize};

use super::{Target, named, none, normalise::Normalise};
use crate::spec::{Input, InvalidSpec, invalid::field};

/// An array a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npy<I = Input> {
    /// The samples.
    pub features: I,
    /// What they should give. Only a prediction can do without.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub targets: Option<I>,
    /// Samples that are always kept out of training.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub holdout_features: Option<I>,
    /// What those should give.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub holdout_targets: Option<I>,
    /// What the targets are.
    #[serde(default, skip_serializing_if = "Target::is_nothing")]
    pub target: Target,
    /// How features are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

/// Several arrays in one file, as `numpy.savez` writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npz<I = Input> {
    /// The file.
    pub file: I,
    /// The array of the samples.
    pub features: String,
    /// The array of what they should give. Only a prediction can do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// A file whose samples are always kept out of training; its arrays are
    /// called like those of the first unless other names are given.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub holdout: Option<I>,
    /// The array of samples that are kept out, of either file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout_features: Option<String>,
    /// The array of what those should give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout_targets: Option<String>,
    /// What the targets are.
    #[serde(default, skip_serializing_if = "Target::is_nothing")]
    pub target: Target,
    /// How features are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

/// Targets, and what they are, belong together; so do held-out ones.
fn together(
    target: Target,
    targets: bool,
    held: bool,
    held_targets: bool,
) -> Result<Target, InvalidSpec> {
    if targets == target.is_nothing() {
        return Err(field(
            "data.target",
            "give both `targets` and `target`, the latter as classes = COUNT or numbers = WIDTH, or neither",
        ));
    }
    if held_targets != (held && targets) {
        return Err(field(
            "data",
            "give both holdout_features and holdout_targets, or neither",
        ));
    }
    target.validate()
}

impl<I> Npy<I> {
    pub(super) fn validate(&self) -> Result<Target, InvalidSpec> {
        together(
            self.target,
            self.targets.is_some(),
            self.holdout_features.is_some(),
            self.holdout_targets.is_some(),
        )
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Npy<J>, E> {
        Ok(Npy {
            features: name(self.features)?,
            targets: self.targets.map(&mut *name).transpose()?,
            holdout_features: self.holdout_features.map(&mut *name).transpose()?,
            holdout_targets: self.holdout_targets.map(&mut *name).transpose()?,
            target: self.target,
            normalise: self.normalise,
        })
    }
}

impl<I> Npz<I> {
    /// Whether the spec names samples to hold out.
    #[must_use]
    pub fn has_holdout(&self) -> bool {
        self.holdout.is_some() || self.holdout_features.is_some()
    }

    pub(super) fn validate(&self) -> Result<Target, InvalidSpec> {
        let names = [
            Some(&self.features),
            self.targets.as_ref(),
            self.holdout_features.as_ref(),
            self.holdout_targets.as_ref(),
        ];
        for name in names.into_iter().flatten() {
            named("data.npz", name)?;
        }
        together(
            self.target,
            self.targets.is_some(),
            self.holdout_features.is_some(),
            self.holdout_targets.is_some(),
        )
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Npz<J>, E> {
        Ok(Npz {
            file: name(self.file)?,
            holdout: self.holdout.map(&mut *name).transpose()?,
            features: self.features,
            targets: self.targets,
            holdout_features: self.holdout_features,
            holdout_targets: self.holdout_targets,
            target: self.target,
            normalise: self.normalise,
        })
    }
}
