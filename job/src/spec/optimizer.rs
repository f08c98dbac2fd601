//! How weights follow gradients: names, formulas and defaults of `torch.optim`.

use serde::{Deserialize, Serialize};

use super::{
    InvalidSpec,
    invalid::{field, share},
};

/// How weights follow gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        #[serde(default = "thousandth")]
        lr: f64,
        /// Share of the last step that is kept, 0 to below 1.
        #[serde(default)]
        momentum: f64,
        /// Looks ahead along the momentum.
        #[serde(default, skip_serializing_if = "is_false")]
        nesterov: bool,
        /// L2 penalty.
        #[serde(default, skip_serializing_if = "is_zero")]
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba, 2015).
    Adam {
        /// Learning rate.
        #[serde(default = "thousandth")]
        lr: f64,
        /// Decay of the first moment.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Keeps the quotient finite.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// L2 penalty.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with the decay beside the gradient (Loshchilov and Hutter, 2019).
    #[serde(rename = "adamw")]
    AdamW {
        /// Learning rate.
        #[serde(default = "thousandth")]
        lr: f64,
        /// Decay of the first moment.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the second moment.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Keeps the quotient finite.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// The share of a weight, times the rate, that it loses in a step.
        #[serde(default = "hundredth")]
        weight_decay: f64,
    },
    /// `RMSprop` (Hinton's lecture 6, 2012).
    #[serde(rename = "rmsprop")]
    RmsProp {
        /// Learning rate.
        #[serde(default = "hundredth")]
        lr: f64,
        /// Decay of the mean square.
        #[serde(default = "alpha")]
        alpha: f64,
        /// Keeps the quotient finite.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// L2 penalty.
        #[serde(default)]
        weight_decay: f64,
        /// Share of the last step that is kept, 0 to below 1.
        #[serde(default)]
        momentum: f64,
        /// Divides by the deviation rather than by the mean square.
        #[serde(default)]
        centered: bool,
    },
    /// `Adagrad` (Duchi and others, 2011).
    Adagrad {
        /// Learning rate.
        #[serde(default = "hundredth")]
        lr: f64,
        /// By how much of itself the rate falls in a step.
        #[serde(default)]
        lr_decay: f64,
        /// L2 penalty.
        #[serde(default)]
        weight_decay: f64,
        /// Keeps the quotient finite.
        #[serde(default = "small_epsilon")]
        epsilon: f64,
    },
}

fn thousandth() -> f64 {
    1e-3
}

fn hundredth() -> f64 {
    1e-2
}

fn beta1() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn alpha() -> f64 {
    0.99
}

fn epsilon() -> f64 {
    1e-8
}

fn small_epsilon() -> f64 {
    1e-10
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam {
            lr: thousandth(),
            beta1: beta1(),
            beta2: beta2(),
            epsilon: epsilon(),
            weight_decay: 0.0,
        }
    }
}

impl Optimizer {
    /// The learning rate, before any schedule.
    #[must_use]
    pub const fn lr(&self) -> f64 {
        let (Self::Sgd { lr, .. }
        | Self::Adam { lr, .. }
        | Self::AdamW { lr, .. }
        | Self::RmsProp { lr, .. }
        | Self::Adagrad { lr, .. }) = self;
        *lr
    }

    /// The weight decay.
    #[must_use]
    pub const fn weight_decay(&self) -> f64 {
        let (Self::Sgd { weight_decay, .. }
        | Self::Adam { weight_decay, .. }
        | Self::AdamW { weight_decay, .. }
        | Self::RmsProp { weight_decay, .. }
        | Self::Adagrad { weight_decay, .. }) = self;
        *weight_decay
    }

    /// The same with another learning rate and weight decay.
    ///
    /// # Errors
    /// [`InvalidSpec`] when one of them is out of bounds.
    pub fn adjusted(mut self, rate: f64, decay: f64) -> Result<Self, InvalidSpec> {
        let (Self::Sgd {
            lr, weight_decay, ..
        }
        | Self::Adam {
            lr, weight_decay, ..
        }
        | Self::AdamW {
            lr, weight_decay, ..
        }
        | Self::RmsProp {
            lr, weight_decay, ..
        }
        | Self::Adagrad {
            lr, weight_decay, ..
        }) = &mut self;
        (*lr, *weight_decay) = (rate, decay);
        self.validate()?;
        Ok(self)
    }

    /// How many numbers it remembers for each one that is learnt.
    #[must_use]
    pub fn moments(&self) -> u64 {
        match *self {
            Self::Sgd { momentum, .. } => u64::from(momentum != 0.0),
            Self::Adam { .. } | Self::AdamW { .. } => 2,
            Self::RmsProp {
                momentum, centered, ..
            } => 1 + u64::from(momentum != 0.0) + u64::from(centered),
            Self::Adagrad { .. } => 1,
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        share("optimizer.lr", self.lr(), f64::MIN_POSITIVE, 1e3)?;
        share("optimizer.weight_decay", self.weight_decay(), 0.0, 1e3)?;
        let epsilon = |value| share("optimizer.epsilon", value, f64::MIN_POSITIVE, 1.0);
        match *self {
            Self::Sgd {
                momentum, nesterov, ..
            } => {
                share("optimizer.momentum", momentum, 0.0, 1.0)?;
                if nesterov && momentum == 0.0 {
                    return Err(field("optimizer.nesterov", "give a momentum with it"));
                }
                Ok(())
            }
            Self::Adam {
                beta1,
                beta2,
                epsilon: small,
                ..
            }
            | Self::AdamW {
                beta1,
                beta2,
                epsilon: small,
                ..
            } => {
                share("optimizer.beta1", beta1, 0.0, 1.0)?;
                share("optimizer.beta2", beta2, 0.0, 1.0)?;
                epsilon(small)
            }
            Self::RmsProp {
                alpha,
                momentum,
                epsilon: small,
                ..
            } => {
                share("optimizer.alpha", alpha, 0.0, 1.0)?;
                share("optimizer.momentum", momentum, 0.0, 1.0)?;
                epsilon(small)
            }
            Self::Adagrad {
                lr_decay,
                epsilon: small,
                ..
            } => {
                share("optimizer.lr_decay", lr_decay, 0.0, 1e3)?;
                epsilon(small)
            }
        }
    }
}
