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
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Tracked, is_tracked, plain, tensor, tracked};
use crate::lm::vectors::widest;

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
            .for_each(|((values, at), plane)| {
                widest(Pool {
                    windows: *self,
                    plane,
                    values,
                    at,
                });
            });
        let shape = [self.samples, self.channels, self.output[0], self.output[1]];
        (tensor(values, shape), Arc::new(at))
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

/// One plane: tap by tap, so that no branch depends on the values.
struct Pool<'a> {
    windows: Windows,
    plane: &'a [f32],
    values: &'a mut [f32],
    /// Where each value was.
    at: &'a mut [u32],
}

impl WithSimd for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Windows {
            input: [_, width],
            output: [_, places],
            kernel,
            stride,
            ..
        } = self.windows;
        let lines = self
            .values
            .chunks_exact_mut(places)
            .zip(self.at.chunks_exact_mut(places));
        for (y, (values, at)) in lines.enumerate() {
            for row in 0..kernel[0] {
                let line = (y * stride[0] + row) * width;
                for column in 0..kernel[1] {
                    let mut kept = Kept {
                        values: &mut *values,
                        at: &mut *at,
                        is_first: (row, column) == (0, 0),
                        // A plane has fewer places than a u32 has values.
                        start: (line + column) as u32,
                        step: stride[1] as u32,
                    };
                    let seen = &self.plane[line + column..line + width];
                    match stride[1] {
                        1 => kept.hear(seen.iter().copied()),
                        2 => {
                            let (pairs, last) = seen.as_chunks::<2>();
                            let (firsts, rest) = kept.split(pairs.len());
                            firsts.hear(pairs.iter().map(|[first, _]| *first));
                            rest.hear(last.iter().copied());
                        }
                        step => kept.hear(seen.iter().copied().step_by(step)),
                    }
                }
            }
        }
    }
}

/// The largest values so far of a line.
struct Kept<'a> {
    values: &'a mut [f32],
    at: &'a mut [u32],
    /// Whether nothing was seen before.
    is_first: bool,
    /// Where what is seen comes from: its first place, and what lies between two.
    start: u32,
    step: u32,
}

impl Kept<'_> {
    /// Those of the first `count` places, and the rest.
    #[inline(always)]
    fn split(&mut self, count: usize) -> (Kept<'_>, Kept<'_>) {
        let count = count.min(self.values.len());
        let (values, other_values) = self.values.split_at_mut(count);
        let (at, other_at) = self.at.split_at_mut(count);
        let Self {
            is_first,
            start,
            step,
            ..
        } = *self;
        let first = Kept {
            values,
            at,
            is_first,
            start,
            step,
        };
        let rest = Kept {
            values: other_values,
            at: other_at,
            is_first,
            start: start.wrapping_add(step.wrapping_mul(count as u32)),
            step,
        };
        (first, rest)
    }

    #[inline(always)]
    fn hear(self, seen: impl Iterator<Item = f32>) {
        let kept = self.values.iter_mut().zip(self.at);
        let mut place = self.start;
        for ((value, at), seen) in kept.zip(seen) {
            let is_larger = seen > *value || (seen.is_nan() && !value.is_nan());
            let takes = self.is_first | is_larger;
            *value = if takes { seen } else { *value };
            *at = if takes { place } else { *at };
            place = place.wrapping_add(self.step);
        }
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
