//! Programs as data: operations over whole tensors, from a closed list, with
//! shapes checked and cost known before anything is allocated.
//!
//! A [`crate::model::Model`] is layers over samples: the batch is not in its
//! shapes, and its weights follow from its layers. A program has neither rule.
//! Its tensors are whole, batch and all, its operands are any of them, and it has
//! as many inputs and outputs as it likes. What comes from other systems (ONNX)
//! and what is asked for directly (`work.compute`) becomes one of these.
//!
//! | module | what it is |
//! |---|---|
//! | `op`, `options` | the closed list of operations, and what each is given |
//! | `tensor` | kinds and shapes of tensors |
//! | `rules` | what comes out of an operation, and what it costs |
//! | `build` | a program, put together one checked operation at a time |
//!
//! Numbers are 32-bit floats, whatever the kind: whole numbers are exact up to
//! 2^24, and truth is 0 or 1. Nothing here computes.

mod build;
mod op;
mod options;
mod rules;
mod tensor;
#[cfg(test)]
mod tests;

pub use self::{
    build::{Builder, Constant, Cost, InvalidProgram, Program, Step, Value},
    op::{Group, Op},
    options::{
        Adam, Along, Approximation, Arg, Bare, Bent, Bounds, ConvTransposed, Convolve, Direction,
        Epsilon, Expand, Gemm, Lines, OneHot, Pad, Padding, Reduce, Reordered, Reshaped, Rnn,
        Running, Sgd, Slice, Slope, Split, Threshold, ToKind, Windows,
    },
    tensor::{Kind, TensorType},
};

/// The most operations of one program.
pub const MAX_STEPS: usize = 8192;
/// The most operands of one operation.
pub const MAX_OPERANDS: usize = 256;
/// The most axes of a tensor.
pub const MAX_RANK: usize = 8;
/// The largest whole number that is exact in a tensor.
pub const MAX_EXACT: i64 = 1 << 24;
