//! The closed list of operations over tensors.

use serde::{Deserialize, Serialize};

use super::options::{
    Adam, Along, Approximation, Arg, Bare, Bent, Bounds, ConvTransposed, Convolve, Epsilon, Expand,
    Gemm, Lines, OneHot, Pad, Reduce, Reordered, Reshaped, Rnn, Running, Sgd, Slice, Slope, Split,
    Threshold, ToKind, Windows,
};

/// What operations have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Each number by itself.
    Each,
    /// Each number by itself, from any to true or false.
    Test,
    /// Two numbers into one, stretched as NumPy does.
    Join,
    /// Two numbers into true or false.
    Compare,
    /// Two truths into one.
    Logic,
    /// Several numbers along axes into one.
    Fold,
    /// Something of its own.
    Own,
}

/// Declares the operations, each with its options, its word and its group.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($options:ty) = $word:literal in $group:ident,)*) => {
        /// The closed list of operations. Names are PyTorch's where it has them;
        /// axes count from 0, and the batch is an axis like any other.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "op")]
        pub enum Op {
            $($(#[$doc])* #[serde(rename = $word)] $name($options),)*
        }

        impl Op {
            /// The word for it, as in files.
            #[must_use]
            pub const fn word(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $word,)*
                }
            }

            /// What it has in common with others.
            #[must_use]
            pub const fn group(&self) -> Group {
                match self {
                    $(Self::$name(_) => Group::$group,)*
                }
            }

            /// The words for all of them, in the order of their groups.
            #[must_use]
            pub const fn words() -> &'static [&'static str] {
                &[$($word,)*]
            }
        }
    };
}

operations! {
    /// -x.
    Neg(Bare) = "neg" in Each,
    /// |x|.
    Abs(Bare) = "abs" in Each,
    /// -1, 0 or 1.
    Sign(Bare) = "sign" in Each,
    /// e^x.
    Exp(Bare) = "exp" in Each,
    /// The natural logarithm.
    Log(Bare) = "log" in Each,
    /// The square root.
    Sqrt(Bare) = "sqrt" in Each,
    /// 1 / x.
    Reciprocal(Bare) = "reciprocal" in Each,
    /// The error function.
    Erf(Bare) = "erf" in Each,
    /// The largest whole number that is not larger.
    Floor(Bare) = "floor" in Each,
    /// The smallest whole number that is not smaller.
    Ceil(Bare) = "ceil" in Each,
    /// The nearest whole number; halves go to the even one.
    Round(Bare) = "round" in Each,
    /// The sine.
    Sin(Bare) = "sin" in Each,
    /// The cosine.
    Cos(Bare) = "cos" in Each,
    /// The tangent.
    Tan(Bare) = "tan" in Each,
    /// The inverse sine.
    Asin(Bare) = "asin" in Each,
    /// The inverse cosine.
    Acos(Bare) = "acos" in Each,
    /// The inverse tangent.
    Atan(Bare) = "atan" in Each,
    /// The hyperbolic sine.
    Sinh(Bare) = "sinh" in Each,
    /// The hyperbolic cosine.
    Cosh(Bare) = "cosh" in Each,
    /// The hyperbolic tangent.
    Tanh(Bare) = "tanh" in Each,
    /// The inverse hyperbolic sine.
    Asinh(Bare) = "asinh" in Each,
    /// The inverse hyperbolic cosine.
    Acosh(Bare) = "acosh" in Each,
    /// The inverse hyperbolic tangent.
    Atanh(Bare) = "atanh" in Each,
    /// max(0, x).
    Relu(Bare) = "relu" in Each,
    /// x, or a fraction of it below zero.
    LeakyRelu(Slope) = "leaky_relu" in Each,
    /// x, or alpha (e^x - 1) below zero.
    Elu(Bent) = "elu" in Each,
    /// x, or alpha (e^(x / alpha) - 1) below zero.
    Celu(Bent) = "celu" in Each,
    /// The self-normalising ELU (Klambauer and others 2017).
    Selu(Bare) = "selu" in Each,
    /// x times the normal distribution function.
    Gelu(Approximation) = "gelu" in Each,
    /// x times its sigmoid.
    Silu(Bare) = "silu" in Each,
    /// x times the hyperbolic tangent of its softplus.
    Mish(Bare) = "mish" in Each,
    /// The logistic function.
    Sigmoid(Bare) = "sigmoid" in Each,
    /// max(0, min(1, alpha x + beta)).
    HardSigmoid(Lines) = "hard_sigmoid" in Each,
    /// log(1 + e^x).
    Softplus(Bare) = "softplus" in Each,
    /// x / (1 + |x|).
    Softsign(Bare) = "softsign" in Each,
    /// x where it is above the threshold, else 0.
    ThresholdedRelu(Threshold) = "thresholded_relu" in Each,
    /// No less and no more than bounds.
    Clip(Bounds) = "clip" in Each,

    /// Whether it is no number.
    IsNan(Bare) = "is_nan" in Test,
    /// Whether it is false.
    Not(Bare) = "not" in Test,

    /// x + y.
    Add(Bare) = "add" in Join,
    /// x - y.
    Sub(Bare) = "sub" in Join,
    /// x y.
    Mul(Bare) = "mul" in Join,
    /// x / y; of whole numbers, towards zero.
    Div(Bare) = "div" in Join,
    /// x to the power of y.
    Pow(Bare) = "pow" in Join,
    /// The smaller.
    Minimum(Bare) = "minimum" in Join,
    /// The larger.
    Maximum(Bare) = "maximum" in Join,
    /// What is left of a division, with the sign of y.
    Remainder(Bare) = "remainder" in Join,
    /// What is left of a division, with the sign of x.
    Fmod(Bare) = "fmod" in Join,

    /// x = y.
    Equal(Bare) = "equal" in Compare,
    /// x < y.
    Less(Bare) = "less" in Compare,
    /// x <= y.
    LessEqual(Bare) = "less_equal" in Compare,
    /// x > y.
    Greater(Bare) = "greater" in Compare,
    /// x >= y.
    GreaterEqual(Bare) = "greater_equal" in Compare,

    /// Both.
    And(Bare) = "and" in Logic,
    /// One of them, or both.
    Or(Bare) = "or" in Logic,
    /// One of them and not both.
    Xor(Bare) = "xor" in Logic,

    /// The sum along axes.
    Sum(Reduce) = "sum" in Fold,
    /// The mean along axes.
    Mean(Reduce) = "mean" in Fold,
    /// The largest along axes.
    Max(Reduce) = "max" in Fold,
    /// The smallest along axes.
    Min(Reduce) = "min" in Fold,
    /// The product along axes.
    Prod(Reduce) = "prod" in Fold,

    /// The second where the first is true, else the third.
    Where(Bare) = "where" in Own,
    /// Another kind of number.
    Cast(ToKind) = "cast" in Own,
    /// The product of matrices, as NumPy's `matmul`.
    MatMul(Bare) = "matmul" in Own,
    /// alpha A B + beta C.
    Gemm(Gemm) = "gemm" in Own,
    /// A convolution of `[samples, channels, length]` or `[samples, channels,
    /// height, width]` with filters, and perhaps a bias.
    Conv(Convolve) = "conv" in Own,
    /// A transposed convolution of the same.
    ConvTranspose(ConvTransposed) = "conv_transpose" in Own,
    /// The largest of each window.
    MaxPool(Windows) = "max_pool" in Own,
    /// The mean of each window.
    AvgPool(Windows) = "avg_pool" in Own,
    /// The place of the largest along an axis.
    ArgMax(Arg) = "arg_max" in Own,
    /// The place of the smallest along an axis.
    ArgMin(Arg) = "arg_min" in Own,
    /// Powers that sum to one along an axis.
    Softmax(Along) = "softmax" in Own,
    /// The logarithm of that.
    LogSoftmax(Along) = "log_softmax" in Own,
    /// Normalised over the axes from one on, then scaled and shifted.
    LayerNorm(Epsilon) = "layer_norm" in Own,
    /// Normalised by given statistics of each channel, then scaled and shifted:
    /// x, weight, bias, mean, variance.
    BatchNorm(Running) = "batch_norm" in Own,
    /// Another shape of as many numbers.
    Reshape(Reshaped) = "reshape" in Own,
    /// The axes in another order.
    Transpose(Reordered) = "transpose" in Own,
    /// A part along an axis.
    Slice(Slice) = "slice" in Own,
    /// One after another along an axis.
    Concat(Along) = "concat" in Own,
    /// Several parts along an axis.
    Split(Split) = "split" in Own,
    /// The slices with these numbers along an axis, as NumPy's `take`.
    Gather(Along) = "gather" in Own,
    /// The numbers at these places along an axis, as NumPy's `take_along_axis`.
    GatherElements(Along) = "gather_elements" in Own,
    /// Stretched to a shape.
    Expand(Expand) = "expand" in Own,
    /// More numbers around it.
    Pad(Pad) = "pad" in Own,
    /// The sum of what comes before and itself along an axis.
    CumSum(Along) = "cumsum" in Own,
    /// A last axis that is 1 at a number's place and 0 elsewhere.
    OneHot(OneHot) = "one_hot" in Own,
    /// A plain recurrent layer in ONNX's layout: x, W, R, B, first h.
    Rnn(Rnn) = "rnn" in Own,
    /// A gated recurrent unit in ONNX's layout: x, W, R, B, first h.
    Gru(Rnn) = "gru" in Own,
    /// A long short-term memory in ONNX's layout: x, W, R, B, first h, first c.
    Lstm(Rnn) = "lstm" in Own,

    /// The mean of squared differences.
    MseLoss(Bare) = "mse_loss" in Own,
    /// The mean of absolute differences.
    L1Loss(Bare) = "l1_loss" in Own,
    /// The mean of squared differences that become absolute ones beyond 1.
    SmoothL1Loss(Bare) = "smooth_l1_loss" in Own,
    /// The mean cross-entropy of logits `[samples, classes]` and classes
    /// `[samples]`.
    CrossEntropyLoss(Bare) = "cross_entropy_loss" in Own,
    /// The mean binary cross-entropy of logits and probabilities.
    BceWithLogitsLoss(Bare) = "bce_with_logits_loss" in Own,
    /// The gradients of the first, a single number, by the others, which are
    /// tensors of the spec.
    Gradient(Bare) = "gradient" in Own,
    /// A step of stochastic gradient descent: parameter, gradient, and the
    /// velocity when there is momentum.
    Sgd(Sgd) = "sgd" in Own,
    /// A step of Adam: parameter, gradient, first and second moment.
    Adam(Adam) = "adam" in Own,
}
