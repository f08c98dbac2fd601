//! How the learning rate runs over a training: a factor on it, as a function of
//! the step alone, so that an attempt that resumes goes on with the same rate.

use serde::{Deserialize, Serialize};

use super::{
    InvalidSpec,
    invalid::{share, within},
};

/// The course of the learning rate after its warm-up. Names and formulas are
/// PyTorch's schedulers', taken once a step. Without another length the course
/// takes all the steps there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// `ConstantLR` with a factor of 1.
    Constant,
    /// `StepLR`: times `gamma` after each `every`.
    Step {
        /// What is multiplied by.
        #[serde(default = "tenth")]
        gamma: f64,
        /// After how long.
        every: Span,
    },
    /// `ExponentialLR`: times `gamma` over each `every`, evenly in between.
    Exponential {
        /// What is multiplied by.
        gamma: f64,
        /// Over how long.
        #[serde(default = "pass")]
        every: Span,
    },
    /// `CosineAnnealingLR`, down to `end_factor` and staying there.
    Cosine {
        /// The share of the rate that is left at the end.
        #[serde(default)]
        end_factor: f64,
        /// How long it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Span>,
    },
    /// `LinearLR`, from 1 to `end_factor` and staying there.
    Linear {
        /// The share of the rate that is left at the end.
        #[serde(default)]
        end_factor: f64,
        /// How long it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Span>,
    },
    /// `PolynomialLR`, down to `end_factor` and staying there.
    Polynomial {
        /// The exponent.
        #[serde(default = "one")]
        power: f64,
        /// The share of the rate that is left at the end.
        #[serde(default)]
        end_factor: f64,
        /// How long it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Span>,
    },
    /// `OneCycleLR` with cosines and without cycling the momentum: the rate is
    /// the highest.
    OneCycle {
        /// The share of the steps in which it rises.
        #[serde(default = "third")]
        pct_start: f64,
        /// It begins at the rate through this.
        #[serde(default = "div_factor")]
        div_factor: f64,
        /// It ends at the beginning through this.
        #[serde(default = "final_div_factor")]
        final_div_factor: f64,
    },
}

/// A stretch of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// So many steps.
    Steps(u32),
    /// So many passes over the data.
    Passes(u32),
}

fn tenth() -> f64 {
    0.1
}

fn third() -> f64 {
    0.3
}

fn one() -> f64 {
    1.0
}

fn div_factor() -> f64 {
    25.0
}

fn final_div_factor() -> f64 {
    1e4
}

fn pass() -> Span {
    Span::Passes(1)
}

impl Schedule {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        let factor = |factor| share("schedule.end_factor", factor, 0.0, 1e3);
        let length =
            |over: Option<Span>| over.map_or(Ok(()), |over| over.validate("schedule.over"));
        match *self {
            Self::Constant => Ok(()),
            Self::Step { gamma, every } | Self::Exponential { gamma, every } => {
                share("schedule.gamma", gamma, f64::MIN_POSITIVE, 1e3)?;
                every.validate("schedule.every")
            }
            Self::Cosine { end_factor, over } | Self::Linear { end_factor, over } => {
                factor(end_factor)?;
                length(over)
            }
            Self::Polynomial {
                power,
                end_factor,
                over,
            } => {
                share("schedule.power", power, f64::MIN_POSITIVE, 100.0)?;
                factor(end_factor)?;
                length(over)
            }
            Self::OneCycle {
                pct_start,
                div_factor,
                final_div_factor,
            } => {
                share("schedule.pct_start", pct_start, 0.0, 1.0)?;
                share("schedule.div_factor", div_factor, 1.0, 1e9)?;
                share("schedule.final_div_factor", final_div_factor, 1.0, 1e12)
            }
        }
    }
}

impl Span {
    /// In steps, where a pass has so many.
    #[must_use]
    pub fn steps(self, steps_per_pass: u64) -> u64 {
        match self {
            Self::Steps(steps) => u64::from(steps),
            Self::Passes(passes) => u64::from(passes).saturating_mul(steps_per_pass),
        }
    }

    pub(super) fn validate(self, name: &'static str) -> Result<(), InvalidSpec> {
        let (Self::Steps(count) | Self::Passes(count)) = self;
        within(name, count.into(), 1, u32::MAX.into())
    }
}
