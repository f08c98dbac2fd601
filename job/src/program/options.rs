//! What each operation is given. What is not written takes PyTorch's default, and
//! a default is not written back.

use serde::{Deserialize, Serialize};

use super::Kind;
pub use crate::model::Bare;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_yes(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_single(value: &usize) -> bool {
    *value == 1
}

fn single() -> usize {
    1
}

/// Functions for a default that is one number, and for leaving it out.
macro_rules! usual {
    ($($name:ident, $is:ident = $value:expr;)*) => {$(
        fn $name() -> f64 {
            $value
        }

        #[allow(clippy::trivially_copy_pass_by_ref, clippy::float_cmp, reason = "serde passes references; a default is this very number")]
        fn $is(value: &f64) -> bool {
            *value == $value
        }
    )*};
}

usual! {
    one, is_one = 1.0;
    slope, is_slope = 0.01;
    sixth, is_sixth = 1.0 / 6.0;
    half, is_half = 0.5;
    epsilon, is_epsilon = 1e-5;
    beta1, is_beta1 = 0.9;
    beta2, is_beta2 = 0.999;
    tiny, is_tiny = 1e-8;
}

/// Declares the options of operations: a struct each that refuses what it does
/// not know.
macro_rules! options {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field:meta])* $at:ident: $of:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field])* pub $at: $of,)*
        }
    )*};
}

options! {
    /// Of a leaky rectifier.
    Slope {
        /// The fraction below zero.
        #[serde(default = "slope", skip_serializing_if = "is_slope")]
        negative_slope: f64,
    }
    /// Of an exponential unit.
    Bent {
        /// What it goes to far below zero, negated.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        alpha: f64,
    }
    /// Of a GELU.
    Approximation {
        /// Whether a hyperbolic tangent stands for the error function.
        #[serde(default, skip_serializing_if = "is_default")]
        approximate: bool,
    }
    /// Of a hard sigmoid.
    Lines {
        /// The slope.
        #[serde(default = "sixth", skip_serializing_if = "is_sixth")]
        alpha: f64,
        /// The value at zero.
        #[serde(default = "half", skip_serializing_if = "is_half")]
        beta: f64,
    }
    /// Of a thresholded rectifier.
    Threshold {
        /// What a number must be above to pass.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        threshold: f64,
    }
    /// Of a clip.
    Bounds {
        /// No less than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// No more than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    }
    /// Of a cast.
    ToKind {
        /// The kind of number.
        to: Kind,
    }
    /// Of a general product of matrices.
    Gemm {
        /// What the product is multiplied with.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        alpha: f64,
        /// What C is multiplied with.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        beta: f64,
        /// Whether A is transposed first.
        #[serde(default, skip_serializing_if = "is_default")]
        transpose_a: bool,
        /// Whether B is transposed first.
        #[serde(default, skip_serializing_if = "is_default")]
        transpose_b: bool,
    }
    /// Of a convolution. Lists have a number an axis; an empty one is the default.
    Convolve {
        /// Steps of the kernel; 1 by default.
        #[serde(default, skip_serializing_if = "is_default")]
        stride: Vec<usize>,
        /// Zeros on both sides; none by default.
        #[serde(default, skip_serializing_if = "is_default")]
        padding: Vec<usize>,
        /// Distances between what the kernel sees; 1 by default.
        #[serde(default, skip_serializing_if = "is_default")]
        dilation: Vec<usize>,
        /// Parts that the channels are cut into.
        #[serde(default = "single", skip_serializing_if = "is_single")]
        groups: usize,
    }
    /// Of a transposed convolution. Lists have a number an axis.
    ConvTransposed {
        /// Steps of the kernel; 1 by default.
        #[serde(default, skip_serializing_if = "is_default")]
        stride: Vec<usize>,
        /// What is cut off on both sides; none by default.
        #[serde(default, skip_serializing_if = "is_default")]
        padding: Vec<usize>,
        /// What is added at the ends; none by default.
        #[serde(default, skip_serializing_if = "is_default")]
        output_padding: Vec<usize>,
        /// Distances between what the kernel sees; 1 by default.
        #[serde(default, skip_serializing_if = "is_default")]
        dilation: Vec<usize>,
        /// Parts that the channels are cut into.
        #[serde(default = "single", skip_serializing_if = "is_single")]
        groups: usize,
    }
    /// Of a pooling. Lists have a number an axis.
    Windows {
        /// Sizes of the window.
        kernel: Vec<usize>,
        /// Steps of the window; the kernel by default.
        #[serde(default, skip_serializing_if = "is_default")]
        stride: Vec<usize>,
        /// What is added on both sides, at most half the kernel; none by default.
        #[serde(default, skip_serializing_if = "is_default")]
        padding: Vec<usize>,
        /// Whether zeros that were added count in a mean.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        count_padding: bool,
    }
    /// Of a fold along axes.
    Reduce {
        /// The axes; all of them when none is given.
        #[serde(default, skip_serializing_if = "is_default")]
        axes: Vec<usize>,
        /// Whether an axis of length 1 stays in their place.
        #[serde(default, skip_serializing_if = "is_default")]
        keep: bool,
    }
    /// Of a search along an axis.
    Arg {
        /// The axis.
        axis: usize,
        /// Whether an axis of length 1 stays in its place.
        #[serde(default, skip_serializing_if = "is_default")]
        keep: bool,
    }
    /// Of what goes along one axis.
    Along {
        /// The axis.
        axis: usize,
    }
    /// Of a normalisation over axes.
    Epsilon {
        /// The first of the axes; the others are those after it.
        axis: usize,
        /// Added to the variance.
        #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
        epsilon: f64,
    }
    /// Of a normalisation by given statistics.
    Running {
        /// Added to the variance.
        #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
        epsilon: f64,
    }
    /// Of a reshape.
    Reshaped {
        /// The axes; -1 for one that follows from the others.
        shape: Vec<i64>,
    }
    /// Of a transposition.
    Reordered {
        /// Which axis of the input each axis is.
        axes: Vec<usize>,
    }
    /// Of a part along an axis.
    Slice {
        /// The axis.
        axis: usize,
        /// The first place.
        start: usize,
        /// The place behind the last; for a step below zero, the part has as many
        /// places and starts at `start`.
        length: usize,
        /// From one place to the next; not 0.
        #[serde(default = "step", skip_serializing_if = "is_step")]
        step: i64,
    }
    /// Of several parts along an axis.
    Split {
        /// The axis.
        axis: usize,
        /// How long each part is.
        sizes: Vec<usize>,
    }
    /// Of a stretch.
    Expand {
        /// The shape, as NumPy's `broadcast_to`.
        shape: Vec<usize>,
    }
    /// Of more numbers around a tensor. Lists have a number an axis.
    Pad {
        /// How many come before.
        before: Vec<usize>,
        /// How many come after.
        after: Vec<usize>,
        /// What they are.
        #[serde(default, skip_serializing_if = "is_default")]
        mode: Padding,
        /// What constant ones are.
        #[serde(default, skip_serializing_if = "is_default")]
        value: f64,
    }
    /// Of a one-hot form.
    OneHot {
        /// How long the new last axis is.
        depth: usize,
    }
    /// Of a recurrent layer.
    Rnn {
        /// Which way it goes through the steps.
        #[serde(default, skip_serializing_if = "is_default")]
        direction: Direction,
        /// Of a GRU: whether the state is multiplied before it is reset.
        #[serde(default, skip_serializing_if = "is_default")]
        reset_after: bool,
    }
    /// Of a step of stochastic gradient descent.
    Sgd {
        /// How far it goes.
        learning_rate: f64,
        /// The share of the velocity that is kept.
        #[serde(default, skip_serializing_if = "is_default")]
        momentum: f64,
        /// The share of the parameter that is added to the gradient.
        #[serde(default, skip_serializing_if = "is_default")]
        weight_decay: f64,
    }
    /// Of a step of Adam.
    Adam {
        /// How far it goes.
        learning_rate: f64,
        /// The share of the first moment that is kept.
        #[serde(default = "beta1", skip_serializing_if = "is_beta1")]
        beta1: f64,
        /// The share of the second moment that is kept.
        #[serde(default = "beta2", skip_serializing_if = "is_beta2")]
        beta2: f64,
        /// Added to the divisor.
        #[serde(default = "tiny", skip_serializing_if = "is_tiny")]
        epsilon: f64,
        /// The share of the parameter that goes away at each step, apart from the
        /// gradient (AdamW).
        #[serde(default, skip_serializing_if = "is_default")]
        weight_decay: f64,
        /// Which step it is, from 1.
        #[serde(default = "single_step", skip_serializing_if = "is_single_step")]
        step: u32,
    }
}

fn step() -> i64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_step(value: &i64) -> bool {
    *value == 1
}

fn single_step() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_single_step(value: &u32) -> bool {
    *value == 1
}

/// What is put around a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// One number.
    #[default]
    Constant,
    /// The numbers at the edge, again and again.
    Edge,
    /// What lies behind the edge, mirrored.
    Reflect,
}

/// Which way a recurrent layer goes through the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the first to the last.
    #[default]
    Forward,
    /// From the last to the first.
    Reverse,
    /// Both, one beside the other.
    Both,
}

impl Direction {
    /// How many ways that are.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Forward | Self::Reverse => 1,
            Self::Both => 2,
        }
    }
}
