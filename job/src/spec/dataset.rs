//! Where samples and labels come from, by their format.

use serde::{Deserialize, Serialize};

use super::{
    Input, InvalidSpec,
    invalid::{field, within},
};

/// Labelled data, by its format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Dataset<I = Input> {
    /// Images as rows of numbers, the label last; the first line may be a
    /// header. Pixels are 0 to 16, as in the UCI digits.
    DigitsCsv {
        /// The file.
        file: I,
        /// How many classes there are.
        classes: u32,
    },
    /// The format of MNIST.
    Idx {
        /// Images: magic 0x00000803.
        images: I,
        /// Labels: magic 0x00000801.
        labels: I,
        /// Images that are always kept out of training.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        holdout_images: Option<I>,
        /// Their labels.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        holdout_labels: Option<I>,
        /// How many classes there are.
        classes: u32,
    },
}

/// What the samples of a dataset should give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One of this many classes.
    Classes(u32),
    /// This many numbers.
    Numbers(u32),
}

fn none<I>() -> Option<I> {
    None
}

impl<I> Dataset<I> {
    /// How many classes there are.
    #[must_use]
    pub fn classes(&self) -> u32 {
        match self {
            Self::DigitsCsv { classes, .. } | Self::Idx { classes, .. } => *classes,
        }
    }

    /// What its samples should give.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::Classes(self.classes())
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        match self {
            Self::DigitsCsv { file, .. } => vec![file],
            Self::Idx {
                images,
                labels,
                holdout_images,
                holdout_labels,
                ..
            } => [
                Some(images),
                Some(labels),
                holdout_images.as_ref(),
                holdout_labels.as_ref(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Dataset<J>, E> {
        Ok(match self {
            Self::DigitsCsv { file, classes } => Dataset::DigitsCsv {
                file: name(file)?,
                classes,
            },
            Self::Idx {
                images,
                labels,
                holdout_images,
                holdout_labels,
                classes,
            } => Dataset::Idx {
                images: name(images)?,
                labels: name(labels)?,
                holdout_images: holdout_images.map(&mut *name).transpose()?,
                holdout_labels: holdout_labels.map(&mut *name).transpose()?,
                classes,
            },
        })
    }

    pub(super) fn validate(&self) -> Result<Target, InvalidSpec> {
        if let Self::Idx {
            holdout_images,
            holdout_labels,
            ..
        } = self
            && holdout_images.is_some() != holdout_labels.is_some()
        {
            return Err(field(
                "data",
                "give both holdout_images and holdout_labels, or neither",
            ));
        }
        within("data.classes", self.classes().into(), 2, 100_000)?;
        Ok(self.target())
    }
}
