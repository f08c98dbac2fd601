//! Products of matrices.

use burn::tensor::Tensor;
use embermesh_job::program::Gemm;

use super::join::stretch;
use super::{Operand, flat, these};

/// NumPy's `matmul`: the axes before the last two are a batch, and are stretched.
pub(super) fn matmul(operands: Vec<Operand<'_>>) -> Result<Tensor<1>, String> {
    let [x, y] = these(operands)?;
    let refused = || "these are no matrices".to_owned();
    let (&depth, rows) = x.of.shape.split_last().ok_or_else(refused)?;
    let (batch_x, rows) = match rows.split_last() {
        Some((&rows, batch)) => (batch, rows),
        None => (&[][..], 1),
    };
    let (batch_y, columns) = match y.of.shape[..] {
        [] => return Err(refused()),
        [_] => (&[][..], 1),
        [ref batch @ .., _, columns] => (batch, columns),
    };
    let count = |batch: &[usize]| batch.iter().product::<usize>();
    if count(batch_y) == 1 {
        let x: Tensor<2> = x.x.reshape([count(batch_x) * rows, depth]);
        let y: Tensor<2> = y.x.reshape([depth, columns]);
        return Ok(flat(x.matmul(y)));
    }
    let batch = stretched(batch_x, batch_y);
    let whole = |x: Tensor<1>, from: &[usize], matrix: [usize; 2]| -> Tensor<3> {
        let axes = |batch: &[usize]| [batch, &matrix].concat();
        stretch(x, &axes(from), &axes(&batch)).reshape([count(&batch), matrix[0], matrix[1]])
    };
    let x = whole(x.x, batch_x, [rows, depth]);
    let y = whole(y.x, batch_y, [depth, columns]);
    Ok(flat(x.matmul(y)))
}

/// The shape that both stretch to, which has been checked.
fn stretched(x: &[usize], y: &[usize]) -> Vec<usize> {
    let rank = x.len().max(y.len());
    let at = |shape: &[usize], axis: usize| {
        axis.checked_sub(rank - shape.len())
            .map_or(1, |axis| shape[axis])
    };
    (0..rank).map(|axis| at(x, axis).max(at(y, axis))).collect()
}

pub(super) fn gemm(gemm: &Gemm, operands: Vec<Operand<'_>>) -> Result<Tensor<1>, String> {
    let mut operands = operands.into_iter();
    let mut matrix = |transpose: bool| -> Result<Tensor<2>, String> {
        let operand = operands.next().ok_or("a matrix is missing")?;
        let [rows, columns] = operand.of.shape[..] else {
            return Err("it is no matrix".to_owned());
        };
        let matrix: Tensor<2> = operand.x.reshape([rows, columns]);
        Ok(if transpose {
            matrix.transpose()
        } else {
            matrix
        })
    };
    let product = matrix(gemm.transpose_a)?.matmul(matrix(gemm.transpose_b)?);
    let scaled = |x: Tensor<1>, by: f64| if by == 1.0 { x } else { x.mul_scalar(by) };
    let dims = product.dims();
    let product = scaled(flat(product), gemm.alpha);
    Ok(match operands.next() {
        Some(added) => {
            let added = stretch(added.x, &added.of.shape, &dims);
            product.add(scaled(added, gemm.beta))
        }
        None => product,
    })
}
