//! The largest of each window, on all cores.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use burn::tensor::ops::MaxPoolOptions;
use rayon::prelude::*;

use super::{Tracked, is_tracked, plain, tensor, tracked};

/// The largest of each window of `x` (samples, channels, height, width); of equals the
/// first, and a value that is no number is larger than any.
pub(crate) fn max_pool2d(x: Tensor<4>, options: MaxPoolOptions<2>) -> Tensor<4> {
    Windows::new(x.dims(), &options)
        .and_then(|windows| on_the_cpu(&x, windows))
        .unwrap_or_else(|| burn::tensor::module::max_pool2d(x, options))
}

/// `None` when the tensor is elsewhere.
fn on_the_cpu(x: &Tensor<4>, windows: Windows) -> Option<Tensor<4>> {
    if !is_tracked(x) {
        let (largest, _) = windows.largest(&plain(x)?);
        return Some(Tensor::from_primitive::<Flex>(largest));
    }
    let x = tracked(x)?;
    let (largest, at) = windows.largest(x.primitive());
    let prepared = MaxPool
        .prepare::<NoCheckpointing>([x.node()])
        .compute_bound()
        .stateful();
    let pooled = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(Saved { at, windows }, largest),
        OpsKind::UnTracked(prepared) => prepared.finish(largest),
    };
    Some(Tensor::from_primitive::<Tracked>(pooled))
}

/// The shapes of one pooling.
#[derive(Clone, Copy, Debug)]
struct Windows {
    samples: usize,
    channels: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    output: [usize; 2],
    stride: [usize; 2],
}

impl Windows {
    /// `None` for padded, dilated and partial windows.
    fn new(x: [usize; 4], options: &MaxPoolOptions<2>) -> Option<Self> {
        if options.padding != [(0, 0); 2]
            || options.dilation != [1; 2]
            || options.ceil_mode
            || u32::try_from(x[2].checked_mul(x[3])?).is_err()
        {
            return None;
        }
        let output = |axis: usize| {
            let room = x[axis + 2].checked_sub(options.kernel_size[axis])?;
            Some(room / options.stride[axis] + 1)
        };
        Some(Self {
            samples: x[0],
            channels: x[1],
            input: [x[2], x[3]],
            kernel: options.kernel_size,
            output: [output(0)?, output(1)?],
            stride: options.stride,
        })
    }

    fn plane_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn places(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The largest values, and where in its plane each was.
    fn largest(&self, x: &FlexTensor) -> (FlexTensor, Arc<Vec<u32>>) {
        let x = x.to_contiguous();
        let count = self.samples * self.channels * self.places();
        let (mut values, mut at) = (vec![0.0_f32; count], vec![0_u32; count]);
        values
            .par_chunks_exact_mut(self.places())
            .zip(at.par_chunks_exact_mut(self.places()))
            .zip(x.storage::<f32>().par_chunks_exact(self.plane_len()))
            .for_each(|((values, at), plane)| self.pool(plane, values, at));
        let shape = [self.samples, self.channels, self.output[0], self.output[1]];
        (tensor(values, shape), Arc::new(at))
    }

    fn pool(&self, plane: &[f32], values: &mut [f32], at: &mut [u32]) {
        let width = self.input[1];
        let lines = values
            .chunks_exact_mut(self.output[1])
            .zip(at.chunks_exact_mut(self.output[1]));
        for (y, (values, at)) in lines.enumerate() {
            for (x, (value, at)) in values.iter_mut().zip(at).enumerate() {
                let corner = y * self.stride[0] * width + x * self.stride[1];
                let (mut largest, mut place) = (plane[corner], corner);
                for row in 0..self.kernel[0] {
                    let start = corner + row * width;
                    for (column, &value) in plane[start..][..self.kernel[1]].iter().enumerate() {
                        if value > largest || (value.is_nan() && !largest.is_nan()) {
                            (largest, place) = (value, start + column);
                        }
                    }
                }
                *value = largest;
                // A plane has fewer places than a u32 has values.
                *at = place as u32;
            }
        }
    }

    /// Adds each gradient to the place that it came from.
    fn spread(&self, gradient: &FlexTensor, at: &[u32]) -> FlexTensor {
        let gradient = gradient.to_contiguous();
        let mut out = vec![0.0_f32; self.samples * self.channels * self.plane_len()];
        out.par_chunks_exact_mut(self.plane_len())
            .zip(at.par_chunks_exact(self.places()))
            .zip(gradient.storage::<f32>().par_chunks_exact(self.places()))
            .for_each(|((plane, at), gradient)| {
                for (at, gradient) in at.iter().zip(gradient) {
                    plane[*at as usize] += gradient;
                }
            });
        let shape = [self.samples, self.channels, self.input[0], self.input[1]];
        tensor(out, shape)
    }
}

/// The step of the graph.
#[derive(Debug)]
struct MaxPool;

/// What it keeps of the forward pass.
#[derive(Clone, Debug)]
struct Saved {
    at: Arc<Vec<u32>>,
    windows: Windows,
}

impl Backward<Flex, 1> for MaxPool {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let [Some(node)] = &ops.parents {
            let of = ops.state.windows.spread(&gradient, &ops.state.at);
            gradients.register::<Flex>(node.id, of);
        }
    }
}
