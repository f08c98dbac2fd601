//! Attention of a sequence to itself as one step of the graph: queries, keys and values
//! are read where they lie in the projection, head by head, and the way back writes its
//! three parts where they belong. Apart from the products only the softmax and one copy
//! are left.

#[cfg(test)]
mod tests;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::ops::FloatTensorOps as _;
use burn::tensor::{Shape, Tensor};
use rayon::prelude::*;

use super::shares::Rule;
use super::{Held, Hidden, Tracked, contiguous, held, tensor};

/// The shapes of one attention.
#[derive(Clone, Copy, Debug)]
struct Heads {
    samples: usize,
    steps: usize,
    heads: usize,
    /// Features of a head.
    width: usize,
    shares: Rule,
}

/// Each step of each sample as a mean of all values, by how like its query the keys are.
/// `projected` (samples, steps, three times the features) has queries, keys and values
/// side by side. The tensor back where it is not on the CPU.
pub(crate) fn attend(
    projected: Tensor<3>,
    heads: usize,
    is_causal: bool,
) -> Result<Tensor<3>, Tensor<3>> {
    let [samples, steps, features] = projected.dims();
    let width = features / 3 / heads;
    let hidden = if is_causal {
        Hidden::StepsToCome { rows: steps }
    } else {
        Hidden::Nothing
    };
    let shapes = Heads {
        samples,
        steps,
        heads,
        width,
        shares: Rule::new(steps, (1.0 / (width as f64).sqrt()) as f32, hidden),
    };
    let projected = match held(projected)? {
        Held::Plain(projected) => {
            let (out, _) = shapes.forward(&contiguous(projected));
            return Ok(Tensor::from_primitive::<Flex>(out));
        }
        Held::Tracked(projected) => projected,
    };
    let prepared = Attend
        .prepare::<NoCheckpointing>([projected.node()])
        .compute_bound()
        .stateful();
    let projected = contiguous(projected.into_primitive());
    let (out, shares) = shapes.forward(&projected);
    let out = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(
            Saved {
                shapes,
                projected,
                shares,
            },
            out,
        ),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    };
    Ok(Tensor::from_primitive::<Tracked>(out))
}

impl Heads {
    fn features(&self) -> usize {
        self.heads * self.width
    }

    /// One of `parts` tensors that lie side by side in the features, seen by heads:
    /// samples, heads, steps, width.
    fn part(&self, of: &FlexTensor, part: usize, parts: usize) -> FlexTensor {
        let line = (parts * self.features()) as isize;
        let strides = vec![line * self.steps as isize, self.width as isize, line, 1];
        let shape = Shape::new([self.samples, self.heads, self.steps, self.width]);
        let layout = Layout::new(shape, strides, part * self.features());
        of.clone().with_layout(layout)
    }

    /// Puts tensors of heads side by side into the features.
    fn join(&self, parts: &[FlexTensor]) -> FlexTensor {
        let (features, width) = (self.features(), self.width);
        let line = parts.len() * features;
        let mut out = vec![0.0_f32; self.samples * self.steps * line];
        let parts: Vec<FlexTensor> = parts.iter().map(FlexTensor::to_contiguous).collect();
        let stored: Vec<&[f32]> = parts.iter().map(|part| part.storage::<f32>()).collect();
        let sample_len = self.steps * features;
        out.par_chunks_mut(self.steps * line)
            .enumerate()
            .for_each(|(sample, out)| {
                for (step, out) in out.chunks_exact_mut(line).enumerate() {
                    for (part, out) in stored.iter().zip(out.chunks_exact_mut(features)) {
                        let part = &part[sample * sample_len..][..sample_len];
                        let heads = part.chunks_exact(self.steps * width);
                        for (head, out) in heads.zip(out.chunks_exact_mut(width)) {
                            out.copy_from_slice(&head[step * width..][..width]);
                        }
                    }
                }
            });
        tensor(out, [self.samples, self.steps, line])
    }

    /// What comes out, and the shares.
    fn forward(&self, projected: &FlexTensor) -> (FlexTensor, FlexTensor) {
        let [query, key, value] = [0, 1, 2].map(|part| self.part(projected, part, 3));
        let scores = Flex::float_matmul(query, key.transpose(2, 3));
        let shares = self.shares.forward(scores);
        let mixed = Flex::float_matmul(shares.clone(), value);
        (self.join(&[mixed]), shares)
    }

    /// The gradient of the projection.
    fn backward(
        &self,
        gradient: &FlexTensor,
        projected: &FlexTensor,
        shares: &FlexTensor,
    ) -> FlexTensor {
        let [query, key, value] = [0, 1, 2].map(|part| self.part(projected, part, 3));
        let gradient = self.part(gradient, 0, 1);
        let to_value = Flex::float_matmul(shares.transpose(2, 3), gradient.clone());
        let to_shares = Flex::float_matmul(gradient, value.transpose(2, 3));
        let to_scores = self.shares.backward(to_shares, shares);
        let to_query = Flex::float_matmul(to_scores.clone(), key);
        let to_key = Flex::float_matmul(to_scores.transpose(2, 3), query);
        self.join(&[to_query, to_key, to_value])
    }
}

/// The step of the graph.
#[derive(Debug)]
struct Attend;

/// What it keeps of the forward pass.
#[derive(Clone, Debug)]
struct Saved {
    shapes: Heads,
    projected: FlexTensor,
    shares: FlexTensor,
}

impl Backward<Flex, 1> for Attend {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        if let [Some(node)] = &ops.parents {
            let Saved {
                shapes,
                projected,
                shares,
            } = &ops.state;
            let of = shapes.backward(&gradient, projected, shares);
            gradients.register::<Flex>(node.id, of);
        }
    }
}
