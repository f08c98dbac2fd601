//! Rows times a matrix, with a bias: the dense layer as one step of the graph, whose
//! way back is two products and a sum down the columns.

#[cfg(test)]
mod tests;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps as _;
use burn::tensor::{Shape, Tensor};
use rayon::prelude::*;

use super::{Tracked, is_tracked, plain, tensor, tracked};

/// Values that one task takes, about.
const CHUNK: usize = 16 << 10;

/// `rows` (samples, features) times the transpose of `weight` (units, features, flat),
/// and `bias` (units) added to each row. `None` when a tensor is not on the CPU.
pub(crate) fn linear(
    rows: &Tensor<2>,
    weight: &Tensor<1>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<2>> {
    let features = rows.dims()[1];
    let units = weight.dims()[0] / features.max(1);
    let shape = Shape::new([units, features]);
    let no_bias = || Tensor::zeros([units], &weight.device());
    let bias = bias.cloned().unwrap_or_else(no_bias);
    if !(is_tracked(rows) || is_tracked(weight) || is_tracked(&bias)) {
        let weight = plain(weight)?.to_contiguous().reshape(shape);
        let out = forward(plain(rows)?, &weight, &plain(&bias)?);
        return Some(Tensor::from_primitive::<Flex>(out));
    }
    let (rows, weight, bias) = (tracked(rows)?, tracked(weight)?, tracked(&bias)?);
    let prepared = Linear
        .prepare::<NoCheckpointing>([rows.node(), weight.node(), bias.node()])
        .compute_bound()
        .stateful();
    let rows = rows.into_primitive().to_contiguous();
    let weight = weight.into_primitive().to_contiguous().reshape(shape);
    let out = forward(rows.clone(), &weight, bias.primitive());
    let out = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(Saved { rows, weight }, out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    };
    Some(Tensor::from_primitive::<Tracked>(out))
}

fn forward(rows: FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let mut out = Flex::float_matmul(rows, weight.transpose(0, 1));
    let bias = bias.to_contiguous();
    let bias: &[f32] = bias.storage();
    let chunk = whole_rows(bias.len());
    out.storage_mut::<f32>()
        .par_chunks_mut(chunk)
        .for_each(|rows| {
            for row in rows.chunks_exact_mut(bias.len()) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        });
    out
}

/// The sum of each column. Which rows are summed first is a function of the shape.
fn column_sums(matrix: &FlexTensor, width: usize) -> Vec<f32> {
    let matrix = matrix.to_contiguous();
    let parts: Vec<Vec<f32>> = matrix
        .storage::<f32>()
        .par_chunks(whole_rows(width))
        .map(|rows| {
            let mut sums = vec![0.0_f32; width];
            for row in rows.chunks_exact(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0_f32; width];
    for part in &parts {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sums
}

/// Values of as many rows as a task takes.
fn whole_rows(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1) * width.max(1)
}

/// The step of the graph.
#[derive(Debug)]
struct Linear;

/// What it keeps of the forward pass.
#[derive(Clone, Debug)]
struct Saved {
    rows: FlexTensor,
    weight: FlexTensor,
}

impl Backward<Flex, 3> for Linear {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let Saved { rows, weight } = ops.state;
        let width = gradient.layout().shape()[1];
        let [to_rows, to_weight, to_bias] = &ops.parents;
        if let Some(node) = to_bias {
            let sums = column_sums(&gradient, width);
            gradients.register::<Flex>(node.id, tensor(sums, [width]));
        }
        if let Some(node) = to_weight {
            let of = Flex::float_matmul(gradient.transpose(0, 1), rows);
            let count = of.layout().num_elements();
            let flat = of.reshape(Shape::new([count]));
            gradients.register::<Flex>(node.id, flat);
        }
        if let Some(node) = to_rows {
            let of = Flex::float_matmul(gradient, weight);
            gradients.register::<Flex>(node.id, of);
        }
    }
}
