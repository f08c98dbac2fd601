//! What each operation is given. What is not written in a file takes PyTorch's
//! default, and a default is not written back (but for the first fields that
//! there were, which always are: digests of specs depend on it).

use serde::{Deserialize, Serialize};

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one<S: PartialEq + From<u8>>(value: &S) -> bool {
    *value == S::from(1)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero<S: PartialEq + From<u8>>(value: &S) -> bool {
    *value == S::from(0)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_yes(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_no(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    epsilon, is_epsilon = 1e-5;
    momentum, is_momentum = 0.1;
    slope, is_slope = 0.01;
    tenth, is_tenth = 0.1;
}

fn one<S: From<u8>>() -> S {
    S::from(1)
}

fn zero<S: From<u8>>() -> S {
    S::from(0)
}

fn yes() -> bool {
    true
}

/// A height and a width. In files one number where both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PairForm", into = "PairForm")]
pub struct Pair {
    /// Along the height.
    pub height: usize,
    /// Along the width.
    pub width: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a whole number or [height, width]")]
enum PairForm {
    Same(usize),
    Each([usize; 2]),
}

impl From<PairForm> for Pair {
    fn from(form: PairForm) -> Self {
        match form {
            PairForm::Same(side) => side.into(),
            PairForm::Each([height, width]) => Self { height, width },
        }
    }
}

impl From<Pair> for PairForm {
    fn from(pair: Pair) -> Self {
        if pair.height == pair.width {
            Self::Same(pair.height)
        } else {
            Self::Each(pair.sides())
        }
    }
}

impl From<usize> for Pair {
    fn from(side: usize) -> Self {
        Self {
            height: side,
            width: side,
        }
    }
}

impl From<u8> for Pair {
    fn from(side: u8) -> Self {
        usize::from(side).into()
    }
}

impl Pair {
    /// Height and width.
    #[must_use]
    pub const fn sides(self) -> [usize; 2] {
        [self.height, self.width]
    }
}

/// Of an operation that is given nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bare {}

/// Of a convolution; `S` is a length, or a height and a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    bound(
        serialize = "S: Serialize + PartialEq + From<u8>",
        deserialize = "S: Deserialize<'de> + From<u8>"
    )
)]
pub struct Conv<S> {
    /// Output channels.
    pub channels: usize,
    /// Size of the kernel.
    pub kernel: S,
    /// Step of the kernel.
    #[serde(default = "one")]
    pub stride: S,
    /// Zeros around the input.
    #[serde(default = "zero")]
    pub padding: S,
    /// Distance between two values that the kernel sees.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub dilation: S,
    /// Parts that the channels are cut into, each convolved by itself.
    #[serde(default = "one", skip_serializing_if = "is_single")]
    pub groups: usize,
    /// Whether a number is added to each channel.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub bias: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_single(count: &usize) -> bool {
    *count == 1
}

impl<S: From<u8>> Conv<S> {
    /// A convolution of step 1, without padding, with a bias.
    #[must_use]
    pub fn new(channels: usize, kernel: S) -> Self {
        Self {
            channels,
            kernel,
            stride: one(),
            padding: zero(),
            dilation: one(),
            groups: 1,
            bias: true,
        }
    }
}

/// Of a pooling; `S` is a length, or a height and a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    bound(
        serialize = "S: Serialize + PartialEq + From<u8>",
        deserialize = "S: Deserialize<'de> + From<u8>"
    )
)]
pub struct Pool<S> {
    /// Size of the window.
    pub kernel: S,
    /// Step of the window; 0 means the kernel.
    #[serde(default = "zero")]
    pub stride: S,
    /// What is added around the input, at most half the kernel.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub padding: S,
}

impl<S: From<u8>> Pool<S> {
    /// Windows side by side, without padding.
    #[must_use]
    pub fn new(kernel: S) -> Self {
        Self {
            kernel,
            stride: zero(),
            padding: zero(),
        }
    }
}

/// Of a normalisation over the batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// Added to the variance.
    #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
    pub epsilon: f64,
    /// The share of a new batch in the running statistics.
    #[serde(default = "momentum", skip_serializing_if = "is_momentum")]
    pub momentum: f64,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self {
            epsilon: epsilon(),
            momentum: momentum(),
        }
    }
}

/// Of a normalisation over the features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    /// Added to the variance.
    #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
    pub epsilon: f64,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: epsilon() }
    }
}

/// Of a normalisation over groups of channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupNorm {
    /// How many groups.
    pub groups: usize,
    /// Added to the variance.
    #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
    pub epsilon: f64,
}

/// Of a dropout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropout {
    /// The share that is zeroed, 0 to below 1.
    pub probability: f64,
}

/// Of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// How many ids there are, from 0.
    pub entries: usize,
    /// Numbers of each.
    pub features: usize,
}

/// Which steps of a sequence an operation gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steps {
    /// Every one.
    #[default]
    Every,
    /// The last one, without the axis of steps.
    Last,
}

/// Of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrent {
    /// Features of the hidden state.
    pub units: usize,
    /// How many of them, one upon the other.
    #[serde(default = "one_layer", skip_serializing_if = "is_single")]
    pub layers: usize,
    /// Whether numbers are added to the gates.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub bias: bool,
    /// Which steps come out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub output: Steps,
}

fn one_layer() -> usize {
    1
}

impl Recurrent {
    /// One layer with a bias that gives these steps.
    #[must_use]
    pub const fn new(units: usize, output: Steps) -> Self {
        Self {
            units,
            layers: 1,
            bias: true,
            output,
        }
    }
}

/// Of multi-head attention.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// How many heads share the features.
    pub heads: usize,
    /// Whether a step looks at none after it.
    #[serde(default, skip_serializing_if = "is_no")]
    pub causal: bool,
    /// Whether numbers are added to the projections.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub bias: bool,
    /// The share of what is looked at that is zeroed in training.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dropout: f64,
}

impl Attention {
    /// Attention to every step, with a bias and without dropout.
    #[must_use]
    pub const fn new(heads: usize) -> Self {
        Self {
            heads,
            causal: false,
            bias: true,
            dropout: 0.0,
        }
    }
}

/// The activation between the two matrices of a feed-forward net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// max(0, x).
    #[default]
    Relu,
    /// x times the normal distribution function.
    Gelu,
}

/// Of a block of a transformer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// How many heads share the features.
    pub heads: usize,
    /// Features within the feed-forward net.
    #[serde(default = "feed_forward", skip_serializing_if = "is_feed_forward")]
    pub units: usize,
    /// The activation within the feed-forward net.
    #[serde(default, skip_serializing_if = "is_default")]
    pub activation: FeedForward,
    /// Whether a norm comes before attention and feed-forward net, rather than
    /// after what is added.
    #[serde(default, skip_serializing_if = "is_no")]
    pub norm_first: bool,
    /// Whether a step looks at none after it.
    #[serde(default, skip_serializing_if = "is_no")]
    pub causal: bool,
    /// The share that is zeroed in training, in four places.
    #[serde(default = "tenth", skip_serializing_if = "is_tenth")]
    pub dropout: f64,
    /// Added to the variance of the norms.
    #[serde(default = "epsilon", skip_serializing_if = "is_epsilon")]
    pub epsilon: f64,
}

fn feed_forward() -> usize {
    2048
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_feed_forward(units: &usize) -> bool {
    *units == feed_forward()
}

impl Encoder {
    /// A block with the norms after what is added, and a tenth dropped.
    #[must_use]
    pub fn new(heads: usize, units: usize) -> Self {
        Self {
            heads,
            units,
            activation: FeedForward::Relu,
            norm_first: false,
            causal: false,
            dropout: tenth(),
            epsilon: epsilon(),
        }
    }
}

/// What tells where a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Numbers that are learnt, a row for each step.
    #[default]
    Learnt,
    /// Sines and cosines of falling frequencies (Vaswani and others 2017).
    Sinusoidal,
}

/// Of what is added to tell where a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// What is added.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: Positions,
}

/// Of a reshape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    /// The axes of a sample; -1 for one that follows from the others.
    pub shape: Vec<i64>,
}

/// Of a transposition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transpose {
    /// Which axis of the input each axis is, from 0.
    pub axes: Vec<usize>,
}

/// Of a concatenation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {
    /// The axis along which they follow each other: channels, by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub axis: usize,
}

/// Of a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    /// The axis that goes away.
    pub axis: usize,
}

/// Of a dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// Output features.
    pub units: usize,
    /// Whether a number is added to each.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub bias: bool,
}

/// Of a leaky rectifier.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakyRelu {
    /// The fraction below zero.
    #[serde(default = "slope", skip_serializing_if = "is_slope")]
    pub negative_slope: f64,
}

impl Default for LeakyRelu {
    fn default() -> Self {
        Self {
            negative_slope: slope(),
        }
    }
}

/// Of an exponential linear unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elu {
    /// What it goes to far below zero, negated.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub alpha: f64,
}

impl Default for Elu {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

/// Of a Gaussian error linear unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gelu {
    /// Whether a hyperbolic tangent stands for the error function.
    #[serde(default, skip_serializing_if = "is_no")]
    pub approximate: bool,
}

/// Of a softmax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// The axis along which it sums to one; the last by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<usize>,
}

/// Of a softplus.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softplus {
    /// How sharp the bend is.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub beta: f64,
}

impl Default for Softplus {
    fn default() -> Self {
        Self { beta: 1.0 }
    }
}
