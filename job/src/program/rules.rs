//! What comes out of an operation, and what it costs.

mod arrange;
mod learn;
mod recurrent;
mod window;

use super::{
    Kind, Op, TensorType,
    op::Group,
    options::{Arg, Epsilon, Gemm, Reduce},
    tensor::{broadcast, check, elements, length_of},
};
use crate::model::MAX_ELEMENTS;

/// What an operation does.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) outputs: Vec<TensorType>,
    /// Floating-point operations.
    pub(super) flops: u64,
    /// Numbers that gradients need beside operands and results.
    pub(super) kept: u64,
}

impl Effect {
    /// Of an operation that costs so much for each number that comes out.
    fn each(output: TensorType, cost: u64) -> Self {
        let size = output.len();
        Self {
            outputs: vec![output],
            flops: size.saturating_mul(cost),
            kept: size.saturating_mul(cost.saturating_sub(1).min(6)),
        }
    }

    /// Of an operation that computes nothing.
    fn moves(output: TensorType) -> Self {
        Self::each(output, 0)
    }

    fn costing(self, flops: u64) -> Self {
        Self { flops, ..self }
    }
}

/// What comes out of these operands, or why they do not fit.
pub(super) fn apply(op: &Op, reads: &[&TensorType]) -> Result<Effect, String> {
    let effect = match (op.group(), reads) {
        (Group::Each, [x]) => each(op, x),
        (Group::Test, [x]) => Ok(Effect::each(as_kind(x, Kind::Bool), 1)),
        (Group::Join, [x, y]) => joined(op, x, y),
        (Group::Compare, [x, y]) => Ok(Effect::each(as_kind(&stretched(x, y)?, Kind::Bool), 1)),
        (Group::Logic, [x, y]) => {
            kind("the first operand", x, &[Kind::Bool])?;
            kind("the second operand", y, &[Kind::Bool])?;
            Ok(Effect::each(as_kind(&stretched(x, y)?, Kind::Bool), 1))
        }
        (Group::Fold, [x]) => match op {
            Op::Sum(reduce)
            | Op::Mean(reduce)
            | Op::Max(reduce)
            | Op::Min(reduce)
            | Op::Prod(reduce) => fold(reduce, x),
            _ => Err("is no fold".to_owned()),
        },
        (Group::Own, _) => own(op, reads),
        (Group::Each | Group::Test | Group::Fold, _) => Err(takes("one tensor", reads)),
        _ => Err(takes("two tensors", reads)),
    }?;
    for output in &effect.outputs {
        check(&output.shape)?;
    }
    if effect.flops > MAX_ELEMENTS << 16 {
        return Err("it is too large: it would take too many operations".to_owned());
    }
    Ok(effect)
}

fn own(op: &Op, reads: &[&TensorType]) -> Result<Effect, String> {
    match (op, reads) {
        (Op::Where(_), [condition, x, y]) => {
            kind("the condition", condition, &[Kind::Bool])?;
            let shape = broadcast([&condition.shape[..], &x.shape, &y.shape])?;
            same_kind(x, y)?;
            Ok(Effect::each(x.shaped(shape), 1))
        }
        (Op::Where(_), _) => Err(takes("three tensors: a condition and two values", reads)),
        (Op::Cast(into), [x]) => Ok(Effect::each(as_kind(x, into.to), 1)),
        (Op::MatMul(_), [x, y]) => product(x, y),
        (Op::MatMul(_), _) => Err(takes("two tensors", reads)),
        (Op::Gemm(gemm), [a, b, rest @ ..]) if rest.len() < 2 => {
            self::gemm(gemm, a, b, rest.first().copied())
        }
        (Op::Gemm(_), _) => Err(takes("two or three tensors", reads)),
        (Op::ArgMax(arg) | Op::ArgMin(arg), [x]) => search(arg, x),
        (Op::Softmax(along) | Op::LogSoftmax(along), [x]) => {
            kind("it", x, &[Kind::Float])?;
            length_of(along.axis, &x.shape)?;
            Ok(Effect::each((*x).clone(), 3))
        }
        (Op::LayerNorm(norm), [x, rest @ ..]) if rest.len() < 3 => layer_norm(norm, x, rest),
        (Op::LayerNorm(_), _) => Err(takes("a tensor, and perhaps weight and bias", reads)),
        (Op::BatchNorm(norm), [x, rest @ ..]) if rest.len() == 4 => {
            epsilon(norm.epsilon)?;
            let channels = length_of(1, &x.shape)?;
            for tensor in rest {
                shape_is("each of its statistics", tensor, &[channels])?;
            }
            Ok(Effect::each((*x).clone(), 4))
        }
        (Op::BatchNorm(_), _) => Err(takes("x, weight, bias, mean and variance", reads)),
        (Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AvgPool(_), _) => {
            window::apply(op, reads)
        }
        (Op::Rnn(_) | Op::Gru(_) | Op::Lstm(_), _) => recurrent::apply(op, reads),
        (
            Op::MseLoss(_)
            | Op::L1Loss(_)
            | Op::SmoothL1Loss(_)
            | Op::CrossEntropyLoss(_)
            | Op::BceWithLogitsLoss(_)
            | Op::Gradient(_)
            | Op::Sgd(_)
            | Op::Adam(_),
            _,
        ) => learn::apply(op, reads),
        _ => arrange::apply(op, reads),
    }
}

fn each(op: &Op, x: &TensorType) -> Result<Effect, String> {
    let finite = |what: &str, value: f64| {
        if value.is_finite() && value.abs() <= 1e6 {
            return Ok(());
        }
        Err(format!("{what} {value} is not a number within 10^6"))
    };
    match op {
        Op::LeakyRelu(slope) => finite("negative_slope", slope.negative_slope)?,
        Op::Elu(bent) => finite("alpha", bent.alpha)?,
        Op::Celu(bent) if bent.alpha == 0.0 => return Err("alpha must not be 0".to_owned()),
        Op::Celu(bent) => finite("alpha", bent.alpha)?,
        Op::HardSigmoid(lines) => {
            finite("alpha", lines.alpha)?;
            finite("beta", lines.beta)?;
        }
        Op::ThresholdedRelu(threshold) => finite("threshold", threshold.threshold)?,
        Op::Clip(bounds) => {
            if bounds.min.is_some_and(f64::is_nan) || bounds.max.is_some_and(f64::is_nan) {
                return Err("a bound is no number".to_owned());
            }
        }
        _ => {}
    }
    let cost = match op {
        Op::Neg(_) | Op::Abs(_) | Op::Relu(_) | Op::Sign(_) | Op::Sqrt(_) | Op::Reciprocal(_) => 1,
        Op::Clip(_) | Op::LeakyRelu(_) | Op::Floor(_) | Op::Ceil(_) | Op::Round(_) => 1,
        Op::Mish(_) | Op::Gelu(_) | Op::Softplus(_) | Op::Selu(_) | Op::Celu(_) => 6,
        _ => 4,
    };
    match (op, x.kind) {
        (_, Kind::Float)
        | (Op::Neg(_) | Op::Abs(_) | Op::Sign(_) | Op::Clip(_) | Op::Relu(_), Kind::Int) => {
            Ok(Effect::each(x.clone(), cost))
        }
        _ => Err(format!("takes floats, and gets {x}: cast it first")),
    }
}

fn joined(op: &Op, x: &TensorType, y: &TensorType) -> Result<Effect, String> {
    let both = stretched(x, y)?;
    if x.kind == Kind::Bool {
        return Err(format!("takes numbers, and gets {x}: cast it first"));
    }
    let cost = if matches!(op, Op::Pow(_)) { 4 } else { 1 };
    Ok(Effect::each(both, cost))
}

/// Both operands of one kind, in the shape that both can be stretched to.
fn stretched(x: &TensorType, y: &TensorType) -> Result<TensorType, String> {
    same_kind(x, y)?;
    Ok(x.shaped(broadcast([&x.shape[..], &y.shape])?))
}

fn fold(reduce: &Reduce, x: &TensorType) -> Result<Effect, String> {
    kind("it", x, &[Kind::Float, Kind::Int])?;
    let shape = folded(&reduce.axes, reduce.keep, &x.shape)?;
    Ok(Effect::each(x.shaped(shape), 1).costing(x.len()))
}

fn folded(axes: &[usize], keep: bool, shape: &[usize]) -> Result<Vec<usize>, String> {
    let mut goes = vec![axes.is_empty(); shape.len()];
    for &axis in axes {
        length_of(axis, shape)?;
        if std::mem::replace(&mut goes[axis], true) {
            return Err(format!("axis {axis} is named twice"));
        }
    }
    Ok(shape
        .iter()
        .zip(&goes)
        .filter_map(|(&length, &goes)| match (goes, keep) {
            (false, _) => Some(length),
            (true, true) => Some(1),
            (true, false) => None,
        })
        .collect())
}

fn search(arg: &Arg, x: &TensorType) -> Result<Effect, String> {
    length_of(arg.axis, &x.shape)?;
    let shape = folded(&[arg.axis], arg.keep, &x.shape)?;
    let output = TensorType {
        kind: Kind::Int,
        shape,
    };
    Ok(Effect::each(output, 1).costing(x.len()))
}

fn product(x: &TensorType, y: &TensorType) -> Result<Effect, String> {
    same_kind(x, y)?;
    let refused = || {
        format!(
            "{:?} and {:?} are no matrices that can be multiplied: the last axis of the first must be as long as the last but one of the second",
            x.shape, y.shape
        )
    };
    let (&inner, rows) = x.shape.split_last().ok_or_else(refused)?;
    let (batch_x, rows) = match rows.split_last() {
        Some((&rows, batch)) => (batch, Some(rows)),
        None => (&[][..], None),
    };
    let (batch_y, depth, columns) = match y.shape[..] {
        [] => return Err(refused()),
        [depth] => (&[][..], depth, None),
        [ref batch @ .., depth, columns] => (batch, depth, Some(columns)),
    };
    if inner != depth {
        return Err(refused());
    }
    let mut shape = broadcast([batch_x, batch_y])?;
    shape.extend(rows);
    shape.extend(columns);
    let output = x.shaped(shape);
    let flops = output.len().saturating_mul(2).saturating_mul(inner as u64);
    Ok(Effect::each(output, 1).costing(flops))
}

fn gemm(
    gemm: &Gemm,
    a: &TensorType,
    b: &TensorType,
    c: Option<&TensorType>,
) -> Result<Effect, String> {
    let matrix = |x: &TensorType, transpose: bool| match x.shape[..] {
        [rows, columns] if transpose => Ok(x.shaped([columns, rows])),
        [rows, columns] => Ok(x.shaped([rows, columns])),
        _ => Err(format!("takes matrices of two axes, and gets {x}")),
    };
    let out = product(&matrix(a, gemm.transpose_a)?, &matrix(b, gemm.transpose_b)?)?;
    if let Some(c) = c {
        let shape = &out.outputs[0].shape;
        same_kind(a, c)?;
        if broadcast([&c.shape[..], shape])? != *shape {
            return Err(format!(
                "its third operand {c} does not stretch to {shape:?}"
            ));
        }
    }
    Ok(out)
}

fn layer_norm(norm: &Epsilon, x: &TensorType, rest: &[&TensorType]) -> Result<Effect, String> {
    epsilon(norm.epsilon)?;
    kind("it", x, &[Kind::Float])?;
    length_of(norm.axis, &x.shape)?;
    let axes = &x.shape[norm.axis..];
    for (what, tensor) in ["its weight", "its bias"].into_iter().zip(rest) {
        if broadcast([&tensor.shape[..], axes])? != axes {
            return Err(format!("{what} {tensor} does not stretch to {axes:?}"));
        }
    }
    Ok(Effect::each(x.clone(), 8))
}

fn as_kind(x: &TensorType, kind: Kind) -> TensorType {
    TensorType {
        kind,
        shape: x.shape.clone(),
    }
}

fn kind(what: &str, x: &TensorType, kinds: &[Kind]) -> Result<(), String> {
    if kinds.contains(&x.kind) {
        return Ok(());
    }
    Err(format!(
        "{what} is {x}, which is of the wrong kind: cast it first"
    ))
}

fn same_kind(x: &TensorType, y: &TensorType) -> Result<(), String> {
    if x.kind == y.kind {
        return Ok(());
    }
    Err(format!("{x} and {y} are not of one kind: cast one first"))
}

fn shape_is(what: &str, x: &TensorType, shape: &[usize]) -> Result<(), String> {
    if x.shape == shape {
        return Ok(());
    }
    Err(format!("{what} is {x} and should have the shape {shape:?}"))
}

fn epsilon(value: f64) -> Result<(), String> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(format!("epsilon {value} is not at least 0 and below 1"))
}

fn takes(what: &str, reads: &[&TensorType]) -> String {
    format!("takes {what}, and reads {}", reads.len())
}

/// A product of counts, as far as it can be counted.
fn count(factors: &[usize]) -> u64 {
    factors.iter().fold(1_u64, |product, &factor| {
        product.saturating_mul(factor as u64)
    })
}

/// The number of elements, or why there is none.
fn sized(shape: &[usize]) -> Result<u64, String> {
    check(shape)?;
    Ok(elements(shape).unwrap_or(0))
}
