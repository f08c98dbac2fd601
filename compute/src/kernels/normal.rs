//! Each row normalised over its features, with a scale and a bias that are learnt.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Tracked, contiguous, is_tracked, plain, strands, tensor, tracked};
use crate::lm::vectors::widest;

/// Values that one task takes, about.
const CHUNK: usize = 8 << 10;

/// The layer norm of PyTorch over the last axis; `None` when a tensor is not on the CPU.
pub(crate) fn layer_norm<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let rule = Rule {
        width: x.dims()[D - 1],
        epsilon: epsilon as f32,
    };
    if !(is_tracked(x) || is_tracked(weight) || is_tracked(bias)) {
        let (out, ..) = rule.forward(plain(x)?, &plain(weight)?, &plain(bias)?);
        return Some(Tensor::from_primitive::<Flex>(out));
    }
    let (x, weight, bias) = (tracked(x)?, tracked(weight)?, tracked(bias)?);
    let prepared = LayerNorm
        .prepare::<NoCheckpointing>([x.node(), weight.node(), bias.node()])
        .compute_bound()
        .stateful();
    let weight = weight.into_primitive();
    let (out, normalised, scales) = rule.forward(x.into_primitive(), &weight, bias.primitive());
    let out = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(
            Saved {
                rule,
                normalised,
                scales,
                weight,
            },
            out,
        ),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    };
    Some(Tensor::from_primitive::<Tracked>(out))
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    width: usize,
    epsilon: f32,
}

impl Rule {
    /// Whole rows that one task takes. A function of the shape alone.
    fn chunk(self) -> usize {
        (CHUNK / self.width).max(1) * self.width
    }

    /// What comes out, the rows before scale and bias, and what scaled each row.
    fn forward(
        self,
        x: FlexTensor,
        weight: &FlexTensor,
        bias: &FlexTensor,
    ) -> (FlexTensor, Arc<Vec<f32>>, Arc<Vec<f32>>) {
        let x = contiguous(x);
        let (weight, bias) = (weight.to_contiguous(), bias.to_contiguous());
        let from: &[f32] = x.storage();
        let mut out = vec![0.0_f32; from.len()];
        let mut normalised = vec![0.0_f32; from.len()];
        let mut scales = vec![0.0_f32; from.len() / self.width];
        let chunk = self.chunk();
        out.par_chunks_mut(chunk)
            .zip(normalised.par_chunks_mut(chunk))
            .zip(scales.par_chunks_mut(chunk / self.width))
            .zip(from.par_chunks(chunk))
            .for_each(|(((out, normalised), scales), from)| {
                widest(Forward {
                    rule: self,
                    from,
                    weight: weight.storage(),
                    bias: bias.storage(),
                    out,
                    normalised,
                    scales,
                });
            });
        let layout = Layout::contiguous(x.layout().shape().clone());
        let out = FlexTensor::new(Bytes::from_elems(out), layout, DType::F32);
        (out, Arc::new(normalised), Arc::new(scales))
    }
}

struct Forward<'a> {
    rule: Rule,
    from: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
    normalised: &'a mut [f32],
    scales: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Rule { width, epsilon } = self.rule;
        let count = width as f32;
        let rows = self.from.chunks_exact(width).zip(self.scales);
        let targets = self
            .out
            .chunks_exact_mut(width)
            .zip(self.normalised.chunks_exact_mut(width));
        for ((from, scale), (out, normalised)) in rows.zip(targets) {
            let mean = strands::sum(from) / count;
            let variance = strands::spread(from, mean) / count;
            *scale = 1.0 / (variance + epsilon).sqrt();
            let learnt = self.weight.iter().zip(self.bias);
            let values = from.iter().zip(out).zip(normalised);
            for (((from, out), normalised), (weight, bias)) in values.zip(learnt) {
                *normalised = (from - mean) * *scale;
                *out = *normalised * weight + bias;
            }
        }
    }
}

/// Some rows of the way back.
struct Back<'a> {
    width: usize,
    weight: &'a [f32],
    normalised: &'a [f32],
    scales: &'a [f32],
    gradient: &'a mut [f32],
}

impl WithSimd for Back<'_> {
    /// The gradients of weight and bias, one after the other.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
        let width = self.width;
        let mut learnt = vec![0.0_f32; 2 * width];
        let (to_weight, to_bias) = learnt.split_at_mut(width);
        let mut weighed = vec![0.0_f32; width];
        let rows = self.normalised.chunks_exact(width).zip(self.scales);
        for (gradient, (normalised, scale)) in self.gradient.chunks_exact_mut(width).zip(rows) {
            let sums = to_weight.iter_mut().zip(to_bias.iter_mut());
            let values = gradient.iter().zip(normalised);
            for ((to_weight, to_bias), (gradient, normalised)) in sums.zip(values) {
                *to_weight += gradient * normalised;
                *to_bias += gradient;
            }
            for ((weighed, gradient), weight) in
                weighed.iter_mut().zip(gradient.iter()).zip(self.weight)
            {
                *weighed = gradient * weight;
            }
            let mean = strands::sum(&weighed) / width as f32;
            let along = strands::dot(&weighed, normalised) / width as f32;
            for ((gradient, weighed), normalised) in
                gradient.iter_mut().zip(&weighed).zip(normalised)
            {
                *gradient = (weighed - mean - normalised * along) * scale;
            }
        }
        learnt
    }
}

/// The step of the graph.
#[derive(Debug)]
struct LayerNorm;

/// What it keeps of the forward pass.
#[derive(Clone, Debug)]
struct Saved {
    rule: Rule,
    normalised: Arc<Vec<f32>>,
    scales: Arc<Vec<f32>>,
    weight: FlexTensor,
}

impl Backward<Flex, 3> for LayerNorm {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let mut gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let state = &ops.state;
        let (chunk, width) = (state.rule.chunk(), state.rule.width);
        let weight = state.weight.to_contiguous();
        let parts: Vec<Vec<f32>> = gradient
            .storage_mut::<f32>()
            .par_chunks_mut(chunk)
            .zip(state.normalised.par_chunks(chunk))
            .zip(state.scales.par_chunks(chunk / width))
            .map(|((gradient, normalised), scales)| {
                widest(Back {
                    width,
                    weight: weight.storage(),
                    normalised,
                    scales,
                    gradient,
                })
            })
            .collect();
        // One after the other: the order of a sum is part of its result.
        let mut learnt = vec![0.0_f32; 2 * width];
        for part in &parts {
            for (sum, part) in learnt.iter_mut().zip(part) {
                *sum += part;
            }
        }
        let of_bias = learnt.split_off(width);
        let [to_x, to_weight, to_bias] = &ops.parents;
        if let Some(node) = to_x {
            gradients.register::<Flex>(node.id, gradient);
        }
        if let Some(node) = to_weight {
            gradients.register::<Flex>(node.id, tensor(learnt, [width]));
        }
        if let Some(node) = to_bias {
            gradients.register::<Flex>(node.id, tensor(of_bias, [width]));
        }
    }
}
