//! The closed list of operations.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{
    MAX_INPUTS,
    options::{
        Attention, Bare, BatchNorm, Concat, Conv, Dense, Dropout, Elu, Embedding, Encoder, Gelu,
        GroupNorm, LayerNorm, LeakyRelu, Mean, Pair, Pool, Position, Recurrent, Reshape, Softmax,
        Softplus, Transpose,
    },
};

/// Declares the operations, each with its options and the word for it.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($options:ty) = $word:literal,)*) => {
        /// The closed list of operations. Names and defaults are PyTorch's, except
        /// that axes are those of one sample, from 0, and sequences are `[steps,
        /// features]`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "op")]
        pub enum Op {
            $($(#[$doc])* #[serde(rename = $word)] $name($options),)*
        }

        impl Op {
            /// The words for all of them.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word for it, as in files.
            #[must_use]
            pub const fn word(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $word,)*
                }
            }
        }
    };
}

operations! {
    /// A convolution over `[channels, length]`.
    Conv1d(Conv<usize>) = "conv1d",
    /// A convolution over `[channels, height, width]`.
    Conv2d(Conv<Pair>) = "conv2d",
    /// The largest of each window of `[channels, length]`.
    MaxPool1d(Pool<usize>) = "max_pool1d",
    /// The largest of each window of `[channels, height, width]`.
    MaxPool2d(Pool<Pair>) = "max_pool2d",
    /// The mean of each window of `[channels, length]`; padding counts as zeros.
    AvgPool1d(Pool<usize>) = "avg_pool1d",
    /// The mean of each window of `[channels, height, width]`; padding counts as
    /// zeros.
    AvgPool2d(Pool<Pair>) = "avg_pool2d",
    /// The mean of each channel: `[channels, ...]` to `[channels]`.
    GlobalAvgPool(Bare) = "global_avg_pool",
    /// The largest of each channel: `[channels, ...]` to `[channels]`.
    GlobalMaxPool(Bare) = "global_max_pool",
    /// Each channel normalised over the batch; the statistics of training are
    /// kept and used for inference.
    BatchNorm(BatchNorm) = "batch_norm",
    /// Each step normalised over its features, the last axis.
    LayerNorm(LayerNorm) = "layer_norm",
    /// Each group of channels normalised by itself.
    GroupNorm(GroupNorm) = "group_norm",
    /// Zeroes values at random while training, and scales the rest.
    Dropout(Dropout) = "dropout",
    /// A learnt row for each id; ids come as whole numbers.
    Embedding(Embedding) = "embedding",
    /// A long short-term memory over `[steps, features]`.
    Lstm(Recurrent) = "lstm",
    /// Gated recurrent units over `[steps, features]`.
    Gru(Recurrent) = "gru",
    /// Multi-head attention. It reads one sequence, or queries and what they
    /// look at, or queries, keys and values.
    Attention(Attention) = "attention",
    /// A block of a transformer: attention and a feed-forward net, each with a
    /// residual and a norm.
    TransformerEncoder(Encoder) = "transformer_encoder",
    /// Adds to each step what tells where it is.
    Position(Position) = "position",
    /// Makes one axis of all.
    Flatten(Bare) = "flatten",
    /// Other axes for the same values.
    Reshape(Reshape) = "reshape",
    /// The axes in another order.
    Transpose(Transpose) = "transpose",
    /// Several layers, one after another along an axis.
    Concat(Concat) = "concat",
    /// The sum of several layers; an axis of length 1 is repeated.
    Add(Bare) = "add",
    /// The product of several layers; an axis of length 1 is repeated.
    Multiply(Bare) = "multiply",
    /// The mean over an axis, which goes away.
    Mean(Mean) = "mean",
    /// The last step of a sequence.
    Last(Bare) = "last",
    /// A matrix product and a bias, over the last axis.
    Dense(Dense) = "dense",
    /// max(0, x).
    Relu(Bare) = "relu",
    /// x, and a fraction of it below zero.
    LeakyRelu(LeakyRelu) = "leaky_relu",
    /// x, and alpha (exp(x) - 1) below zero.
    Elu(Elu) = "elu",
    /// x times the normal distribution function.
    Gelu(Gelu) = "gelu",
    /// x sigmoid(x), also called swish.
    Silu(Bare) = "silu",
    /// x tanh(softplus(x)).
    Mish(Bare) = "mish",
    /// The hyperbolic tangent.
    Tanh(Bare) = "tanh",
    /// 1 / (1 + exp(-x)).
    Sigmoid(Bare) = "sigmoid",
    /// Shares that sum to one along an axis.
    Softmax(Softmax) = "softmax",
    /// The logarithm of a softmax.
    LogSoftmax(Softmax) = "log_softmax",
    /// log(1 + exp(beta x)) / beta.
    Softplus(Softplus) = "softplus",
}

impl Op {
    /// How many layers it may read.
    #[must_use]
    pub const fn arity(&self) -> RangeInclusive<usize> {
        match self {
            Self::Add(_) | Self::Multiply(_) | Self::Concat(_) => 2..=MAX_INPUTS,
            Self::Attention(_) => 1..=3,
            _ => 1..=1,
        }
    }

    /// A rectifier, the commonest activation.
    #[must_use]
    pub const fn relu() -> Self {
        Self::Relu(Bare {})
    }

    /// A flatten layer.
    #[must_use]
    pub const fn flatten() -> Self {
        Self::Flatten(Bare {})
    }

    /// A dense layer with a bias.
    #[must_use]
    pub const fn dense(units: usize) -> Self {
        Self::Dense(Dense { units, bias: true })
    }

    /// A two-dimensional convolution of step 1 with a bias.
    #[must_use]
    pub fn conv2d(channels: usize, kernel: usize, padding: usize) -> Self {
        Self::Conv2d(Conv {
            padding: padding.into(),
            ..Conv::new(channels, kernel.into())
        })
    }

    /// A two-dimensional pooling of windows side by side.
    #[must_use]
    pub fn max_pool2d(kernel: usize) -> Self {
        Self::MaxPool2d(Pool::new(kernel.into()))
    }

    /// A dropout layer.
    #[must_use]
    pub const fn dropout(probability: f64) -> Self {
        Self::Dropout(Dropout { probability })
    }
}
