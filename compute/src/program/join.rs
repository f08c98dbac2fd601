//! Two numbers into one, stretched as NumPy does. Axes that stretch alike are one
//! axis here, so that few are left.

use burn::tensor::Tensor;
use embermesh_job::program::{Kind, Op, TensorType};

use super::{Operand, flat, these};

/// The lengths of both, axis by axis, with neighbours that stretch alike joined.
fn pairs(x: &[usize], y: &[usize]) -> Vec<[usize; 2]> {
    let rank = x.len().max(y.len());
    let at = |shape: &[usize], axis: usize| match axis.checked_sub(rank - shape.len()) {
        Some(axis) => shape[axis],
        None => 1,
    };
    let mut out: Vec<[usize; 2]> = Vec::with_capacity(rank);
    let mut before = None;
    for axis in 0..rank {
        let pair = [at(x, axis), at(y, axis)];
        let alike = match pair {
            [1, 1] => continue,
            [x, y] => [x == 1, y == 1],
        };
        match out.last_mut() {
            Some(last) if before == Some(alike) => {
                last[0] *= pair[0];
                last[1] *= pair[1];
            }
            _ => out.push(pair),
        }
        before = Some(alike);
    }
    if out.is_empty() {
        out.push([1, 1]);
    }
    out
}

/// The lengths of one of both, with more axes of length 1 before them.
fn dims<const D: usize>(pairs: &[[usize; 2]], which: usize) -> [usize; D] {
    let mut dims = [1; D];
    for (dim, pair) in dims[D - pairs.len()..].iter_mut().zip(pairs) {
        *dim = pair[which];
    }
    dims
}

pub(super) fn join(op: &Op, x: Operand<'_>, y: Operand<'_>) -> Tensor<1> {
    let is_int = x.of.kind == Kind::Int;
    let pairs = pairs(x.shape(), y.shape());
    match pairs.len() {
        1 => joined::<1>(op, is_int, x.x, y.x, &pairs),
        2 => joined::<2>(op, is_int, x.x, y.x, &pairs),
        3 => joined::<3>(op, is_int, x.x, y.x, &pairs),
        4 => joined::<4>(op, is_int, x.x, y.x, &pairs),
        5 | 6 => joined::<6>(op, is_int, x.x, y.x, &pairs),
        _ => joined::<8>(op, is_int, x.x, y.x, &pairs),
    }
}

fn joined<const D: usize>(
    op: &Op,
    is_int: bool,
    x: Tensor<1>,
    y: Tensor<1>,
    pairs: &[[usize; 2]],
) -> Tensor<1> {
    let x: Tensor<D> = x.reshape(dims::<D>(pairs, 0));
    let y: Tensor<D> = y.reshape(dims::<D>(pairs, 1));
    flat(match op {
        Op::Add(_) => x.add(y),
        Op::Sub(_) => x.sub(y),
        Op::Mul(_) | Op::And(_) => x.mul(y),
        // Quotients of exact whole numbers are never rounded up to the next.
        Op::Div(_) if is_int => x.div(y).trunc(),
        Op::Div(_) => x.div(y),
        Op::Pow(_) if is_int => x.powf(y).round(),
        Op::Pow(_) => x.powf(y),
        Op::Minimum(_) => x.min_pair(y),
        Op::Maximum(_) | Op::Or(_) => x.max_pair(y),
        Op::Remainder(_) => x.remainder(y),
        Op::Fmod(_) => x.fmod(y),
        Op::Equal(_) => x.equal(y).float(),
        Op::Less(_) => x.lower(y).float(),
        Op::LessEqual(_) => x.lower_equal(y).float(),
        Op::Greater(_) => x.greater(y).float(),
        Op::GreaterEqual(_) => x.greater_equal(y).float(),
        // Of two truths.
        _ => x.not_equal(y).float(),
    })
}

/// Stretches a tensor to a shape.
pub(super) fn stretch(x: Tensor<1>, from: &[usize], to: &[usize]) -> Tensor<1> {
    if from.iter().product::<usize>() == to.iter().product::<usize>() {
        return x;
    }
    let pairs = pairs(from, to);
    match pairs.len() {
        1 => stretched::<1>(x, &pairs),
        2 => stretched::<2>(x, &pairs),
        3 => stretched::<3>(x, &pairs),
        4 => stretched::<4>(x, &pairs),
        5 | 6 => stretched::<6>(x, &pairs),
        _ => stretched::<8>(x, &pairs),
    }
}

fn stretched<const D: usize>(x: Tensor<1>, pairs: &[[usize; 2]]) -> Tensor<1> {
    let x: Tensor<D> = x.reshape(dims::<D>(pairs, 0));
    flat(x.expand::<D, _>(dims::<D>(pairs, 1)))
}

/// The second where the first is true, else the third.
pub(super) fn choose(operands: Vec<Operand<'_>>, to: &TensorType) -> Result<Tensor<1>, String> {
    let [condition, x, y] = these(operands)?;
    let whole = |operand: Operand<'_>| stretch(operand.x, &operand.of.shape, &to.shape);
    let mask = whole(condition).not_equal_scalar(0.0);
    Ok(whole(y).mask_where(mask, whole(x)))
}
