//! Several numbers into one, along axes; and what is normalised by that.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};
use embermesh_job::program::{Epsilon, Op, Reduce, Running};

use super::join::stretch;
use super::{Operand, flat, these};

pub(super) fn fold(op: &Op, x: Operand<'_>) -> Tensor<1> {
    match op {
        Op::Sum(reduce) => groups(reduce, x, |x| x.sum_dim(1)),
        Op::Mean(reduce) => groups(reduce, x, |x| x.mean_dim(1)),
        Op::Max(reduce) => groups(reduce, x, |x| x.max_dim(1)),
        Op::Min(reduce) => groups(reduce, x, |x| x.min_dim(1)),
        Op::Prod(reduce) => groups(reduce, x, |x| x.prod_dim(1)),
        _ => x.x,
    }
}

/// Folds the axes, neighbours at once, from the last to the first. A mean of means
/// is the mean: all parts are of one size.
fn groups(reduce: &Reduce, x: Operand<'_>, fold: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<1> {
    let mut shape = x.of.shape.clone();
    let goes: Vec<bool> = (0..shape.len())
        .map(|axis| reduce.axes.is_empty() || reduce.axes.contains(&axis))
        .collect();
    let mut x = x.x;
    let mut end = shape.len();
    while end > 0 {
        if !goes[end - 1] {
            end -= 1;
            continue;
        }
        let start = (0..end)
            .rev()
            .find(|&axis| !goes[axis])
            .map_or(0, |axis| axis + 1);
        let parts: [usize; 3] = [
            shape[..start].iter().product(),
            shape[start..end].iter().product(),
            shape[end..].iter().product(),
        ];
        x = flat(fold(x.reshape(parts)));
        shape[start..end].fill(1);
        end = start;
    }
    x
}

pub(super) fn along(op: &Op, operands: Vec<Operand<'_>>) -> Result<Tensor<1>, String> {
    let [x] = these(operands)?;
    Ok(match op {
        Op::ArgMax(arg) => flat(x.along(arg.axis).argmax(1).float()),
        Op::ArgMin(arg) => flat(x.along(arg.axis).argmin(1).float()),
        Op::Softmax(along) => flat(softmax(x.along(along.axis), 1)),
        Op::LogSoftmax(along) => flat(log_softmax(x.along(along.axis), 1)),
        Op::CumSum(along) => flat(x.along(along.axis).cumsum(1)),
        op => return Err(format!("{} cannot be done", op.word())),
    })
}

pub(super) fn layer_norm(norm: &Epsilon, operands: Vec<Operand<'_>>) -> Result<Tensor<1>, String> {
    let mut operands = operands.into_iter();
    let x = operands.next().ok_or("there is nothing to normalise")?;
    let axes = &x.of.shape[norm.axis..];
    let size: usize = axes.iter().product();
    let rows: usize = x.of.shape[..norm.axis].iter().product();
    let lines: Tensor<2> = x.x.reshape([rows, size]);
    let centred = lines.clone().sub(lines.mean_dim(1));
    let variance = centred.clone().mul(centred.clone()).mean_dim(1);
    let mut lines = centred.div(variance.add_scalar(norm.epsilon).sqrt());
    let whole = |operand: Operand<'_>| -> Tensor<2> {
        stretch(operand.x, &operand.of.shape, axes).reshape([1, size])
    };
    if let Some(weight) = operands.next() {
        lines = lines.mul(whole(weight));
    }
    if let Some(bias) = operands.next() {
        lines = lines.add(whole(bias));
    }
    Ok(flat(lines))
}

pub(super) fn batch_norm(norm: &Running, operands: Vec<Operand<'_>>) -> Result<Tensor<1>, String> {
    let [x, weight, bias, mean, variance] = these(operands)?;
    let channels = x.around(1)[1];
    let of = |operand: Operand<'_>| -> Tensor<3> { operand.x.reshape([1, channels, 1]) };
    let scale = of(weight).div(of(variance).add_scalar(norm.epsilon).sqrt());
    let lines = x.along(1).sub(of(mean)).mul(scale).add(of(bias));
    Ok(flat(lines))
}
