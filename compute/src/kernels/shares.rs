//! The softmax over the last axis, scaled, and with steps to come hidden where asked:
//! what an attention needs, in one way over its scores.

#[cfg(test)]
mod tests;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::exponential::exp;
use super::{Held, Tracked, contiguous, held, strands};
use crate::lm::vectors::widest;

/// Values that one task takes, about.
const CHUNK: usize = 8 << 10;

/// What of a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// Everything.
    Nothing,
    /// Of the rows of a square, or what is left of one: in row `n` the first `n + 1`.
    StepsToCome {
        /// Rows of a square.
        rows: usize,
    },
}

impl Hidden {
    /// How many values of a row count.
    fn seen(self, row: usize, width: usize) -> usize {
        match self {
            Self::Nothing => width,
            Self::StepsToCome { rows } => width.min(row % rows + 1),
        }
    }
}

/// Shares of each row that sum to one, of `scale` times the values; what is hidden has
/// no share. The tensor back where it is not on the CPU.
pub(crate) fn shares<const D: usize>(
    x: Tensor<D>,
    scale: f32,
    hidden: Hidden,
) -> Result<Tensor<D>, Tensor<D>> {
    let rule = Rule::new(x.dims()[D - 1], scale, hidden);
    let x = match held(x)? {
        Held::Plain(x) => return Ok(Tensor::from_primitive::<Flex>(rule.forward(x))),
        Held::Tracked(x) => x,
    };
    let prepared = Shares
        .prepare::<NoCheckpointing>([x.node()])
        .compute_bound()
        .stateful();
    let out = rule.forward(x.into_primitive());
    let shares = match prepared {
        OpsKind::Tracked(prepared) => {
            let shares = out.clone();
            prepared.finish(Saved { rule, shares }, out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    };
    Ok(Tensor::from_primitive::<Tracked>(shares))
}

/// How the shares of a row are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    width: usize,
    scale: f32,
    hidden: Hidden,
}

impl Rule {
    /// Of rows that are `width` long.
    pub(super) fn new(width: usize, scale: f32, hidden: Hidden) -> Self {
        Self {
            width,
            scale,
            hidden,
        }
    }

    /// Whole rows that one task takes.
    fn chunk(self) -> usize {
        (CHUNK / self.width).max(1) * self.width
    }

    /// The shares.
    pub(super) fn forward(self, x: FlexTensor) -> FlexTensor {
        let mut x = contiguous(x);
        let chunk = self.chunk();
        x.storage_mut::<f32>()
            .par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(number, values)| {
                widest(Forward {
                    rule: self,
                    first: number * chunk / self.width,
                    values,
                });
            });
        x
    }

    /// The gradient of what went in.
    pub(super) fn backward(self, gradient: FlexTensor, shares: &FlexTensor) -> FlexTensor {
        let mut gradient = contiguous(gradient);
        let shares: &[f32] = shares.storage();
        let chunk = self.chunk();
        gradient
            .storage_mut::<f32>()
            .par_chunks_mut(chunk)
            .zip(shares.par_chunks(chunk))
            .for_each(|(gradient, shares)| {
                widest(Back {
                    rule: self,
                    gradient,
                    shares,
                });
            });
        gradient
    }
}

struct Forward<'a> {
    rule: Rule,
    /// The number of the first row.
    first: usize,
    values: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Rule {
            width,
            scale,
            hidden,
        } = self.rule;
        for (row, values) in (self.first..).zip(self.values.chunks_exact_mut(width)) {
            let (seen, to_come) = values.split_at_mut(hidden.seen(row, width));
            to_come.fill(0.0);
            for value in seen.iter_mut() {
                *value *= scale;
            }
            let largest = strands::largest(seen);
            for value in seen.iter_mut() {
                *value = exp(*value - largest);
            }
            let share = 1.0 / strands::sum(seen);
            for value in seen.iter_mut() {
                *value *= share;
            }
        }
    }
}

struct Back<'a> {
    rule: Rule,
    gradient: &'a mut [f32],
    shares: &'a [f32],
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Rule { width, scale, .. } = self.rule;
        let rows = self.gradient.chunks_exact_mut(width);
        for (gradient, shares) in rows.zip(self.shares.chunks_exact(width)) {
            let mean = strands::dot(gradient, shares);
            for (gradient, share) in gradient.iter_mut().zip(shares) {
                *gradient = (*gradient - mean) * share * scale;
            }
        }
    }
}

/// The step of the graph.
#[derive(Debug)]
struct Shares;

/// What it keeps of the forward pass.
#[derive(Clone, Debug)]
struct Saved {
    rule: Rule,
    shares: FlexTensor,
}

impl Backward<Flex, 1> for Shares {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let [Some(node)] = &ops.parents {
            let Saved { rule, shares } = &ops.state;
            let of = rule.backward(gradient, shares);
            gradients.register::<Flex>(node.id, of);
        }
    }
}
