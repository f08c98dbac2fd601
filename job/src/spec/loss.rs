//! What a training lowers, and what an evaluation reports as the loss.
//!
//! Names, formulas and defaults are PyTorch's; every loss is a mean over what
//! it judges (PyTorch's `reduction="mean"`).

use serde::{Deserialize, Serialize};

use super::{
    InvalidSpec, Target,
    invalid::{field, share},
};

/// The most that one class may weigh.
const MAX_CLASS_WEIGHT: f64 = 1e6;

/// A loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// `CrossEntropyLoss`: classes, from one logit a class.
    CrossEntropy {
        /// The share of each target that is spread evenly over all classes, 0
        /// to below 1.
        #[serde(default)]
        label_smoothing: f64,
        /// What each class weighs, in their order; empty when all weigh the
        /// same. The mean is over the weights.
        #[serde(default)]
        class_weights: Vec<f64>,
    },
    /// `BCEWithLogitsLoss`: numbers from 0 to 1, from one logit each; or two
    /// classes, from one logit in all.
    Bce,
    /// `MSELoss`: the squared error.
    Mse,
    /// `L1Loss`: the absolute error.
    Mae,
    /// `HuberLoss`: squared near zero, absolute beyond.
    Huber {
        /// Where the one becomes the other.
        #[serde(default = "one")]
        delta: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl Loss {
    /// The usual loss for such targets.
    #[must_use]
    pub fn usual(target: Target) -> Self {
        match target {
            Target::Classes(_) => Self::CrossEntropy {
                label_smoothing: 0.0,
                class_weights: Vec::new(),
            },
            Target::Numbers(_) | Target::Nothing => Self::Mse,
        }
    }

    /// The word for it, as in files.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::Bce => "bce",
            Self::Mse => "mse",
            Self::Mae => "mae",
            Self::Huber { .. } => "huber",
        }
    }

    /// Whether there is a share of right answers beside it.
    #[must_use]
    pub const fn has_accuracy(&self) -> bool {
        matches!(self, Self::CrossEntropy { .. } | Self::Bce)
    }

    /// Checks its numbers, and that it fits such targets. Gives how many
    /// numbers a model must make of a sample.
    pub(super) fn validate(&self, target: Target) -> Result<u32, InvalidSpec> {
        match (self, target) {
            (_, Target::Nothing) => Err(field(
                "data.target",
                "the data does not say what its samples should give: name the targets",
            )),
            (
                Self::CrossEntropy {
                    label_smoothing,
                    class_weights,
                },
                Target::Classes(classes),
            ) => {
                share("loss.label_smoothing", *label_smoothing, 0.0, 1.0)?;
                weigh(class_weights, classes)?;
                Ok(classes)
            }
            (Self::Bce, Target::Classes(2)) => Ok(1),
            (Self::Huber { delta }, Target::Numbers(width)) => {
                share("loss.delta", *delta, f64::MIN_POSITIVE, 1e6)?;
                Ok(width)
            }
            (Self::Bce | Self::Mse | Self::Mae, Target::Numbers(width)) => Ok(width),
            (Self::Bce, Target::Classes(classes)) => Err(field(
                "loss",
                format!(
                    "bce tells two classes apart, and the data has {classes}: use cross_entropy"
                ),
            )),
            (_, Target::Classes(_)) => Err(field(
                "loss",
                format!(
                    "{} needs numbers as targets, and the data has classes: use cross_entropy",
                    self.word()
                ),
            )),
            (_, Target::Numbers(_)) => Err(field(
                "loss",
                "cross_entropy needs classes as targets, and the data has numbers: use mse, mae, huber or bce",
            )),
        }
    }
}

fn weigh(weights: &[f64], classes: u32) -> Result<(), InvalidSpec> {
    if !weights.is_empty() && weights.len() != classes as usize {
        return Err(field(
            "loss.class_weights",
            format!(
                "give {classes} weights, one a class, instead of {}",
                weights.len()
            ),
        ));
    }
    weights.iter().try_for_each(|&weight| {
        share(
            "loss.class_weights",
            weight,
            f64::MIN_POSITIVE,
            MAX_CLASS_WEIGHT,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_fits_its_targets() {
        let classes = |loss: &Loss, classes| loss.validate(Target::Classes(classes));
        let numbers = |loss: &Loss, width| loss.validate(Target::Numbers(width));
        let cross = Loss::usual(Target::Classes(3));
        assert_eq!(classes(&cross, 3), Ok(3));
        assert_eq!(classes(&Loss::Bce, 2), Ok(1));
        assert_eq!(numbers(&Loss::Bce, 5), Ok(5));
        assert_eq!(numbers(&Loss::usual(Target::Numbers(2)), 2), Ok(2));
        for (refused, hint) in [
            (classes(&Loss::Bce, 3), "use cross_entropy"),
            (classes(&Loss::Mse, 3), "mse needs numbers"),
            (numbers(&cross, 1), "use mse"),
            (numbers(&Loss::Huber { delta: 0.0 }, 1), "loss.delta"),
            (numbers(&Loss::Huber { delta: f64::NAN }, 1), "loss.delta"),
        ] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(hint), "{said}");
        }
    }

    #[test]
    fn class_weights_are_one_a_class_and_above_zero() {
        let said = |class_weights, label_smoothing| {
            let loss = Loss::CrossEntropy {
                label_smoothing,
                class_weights,
            };
            loss.validate(Target::Classes(3))
                .map_err(|error| error.to_string())
        };
        assert_eq!(said(vec![1.0, 2.0, 0.5], 0.1), Ok(3));
        assert!(
            said(vec![1.0, 2.0], 0.0)
                .unwrap_err()
                .contains("give 3 weights")
        );
        assert!(said(vec![1.0, 0.0, 1.0], 0.0).is_err());
        assert!(
            said(Vec::new(), 1.0)
                .unwrap_err()
                .contains("label_smoothing")
        );
    }

    #[test]
    fn a_loss_is_a_word_or_a_table() {
        let read = |text: &str| serde_json::from_str::<Loss>(text);
        assert_eq!(read("\"mse\"").unwrap(), Loss::Mse);
        assert_eq!(read(r#"{"huber":{}}"#).unwrap(), Loss::Huber { delta: 1.0 });
        assert!(read(r#"{"huber":{"beta":1}}"#).is_err());
        assert!(read("\"hinge\"").is_err());
    }
}
