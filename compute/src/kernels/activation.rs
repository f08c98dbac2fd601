//! What bends each value by itself, on all cores and in place where nobody else holds
//! the values.

#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::exponential::{exp, normal, sigmoid};
use super::values::{self, Pairwise, Single};
use super::{Held, Tracked, held};

/// A curve. What the gradient needs is saved: what came out, or else what went in.
pub(crate) trait Curve: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// Whether the slope is of what came out.
    const SAVES_OUTPUT: bool;
    /// The value at `x`.
    fn value(self, x: f32) -> f32;
    /// The slope, by what was saved.
    fn slope(self, saved: f32) -> f32;
}

/// max(0, x); what is no number stays so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relu;

impl Curve for Relu {
    const SAVES_OUTPUT: bool = true;
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        if x < 0.0 { 0.0 } else { x }
    }
    #[inline(always)]
    fn slope(self, y: f32) -> f32 {
        if y <= 0.0 { 0.0 } else { 1.0 }
    }
}

/// x times the normal distribution function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gelu;

impl Curve for Gelu {
    const SAVES_OUTPUT: bool = false;
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * normal(x).0
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let (below, density) = normal(x);
        below + x * density
    }
}

/// The approximation of the same by a hyperbolic tangent (Hendrycks and Gimpel 2016).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApproximateGelu;

impl ApproximateGelu {
    /// 2 sqrt(2 / pi): x (1 + tanh(u)) / 2 is x sigmoid(2 u).
    #[allow(clippy::excessive_precision, reason = "the nearest number is meant")]
    const SCALE: f32 = 1.595_769_1;
    const CUBIC: f32 = 0.044_715;

    #[inline(always)]
    fn inner(x: f32) -> f32 {
        Self::SCALE * (x + Self::CUBIC * x * x * x)
    }
}

impl Curve for ApproximateGelu {
    const SAVES_OUTPUT: bool = false;
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(Self::inner(x))
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let share = sigmoid(Self::inner(x));
        let inner_slope = Self::SCALE * (1.0 + 3.0 * Self::CUBIC * x * x);
        share + x * share * (1.0 - share) * inner_slope
    }
}

/// x sigmoid(x).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silu;

impl Curve for Silu {
    const SAVES_OUTPUT: bool = false;
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(x)
    }
    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let share = sigmoid(x);
        share * (1.0 + x * (1.0 - share))
    }
}

/// 1 / (1 + e to the power of -x).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sigmoid;

impl Curve for Sigmoid {
    const SAVES_OUTPUT: bool = true;
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        1.0 / (1.0 + exp(-x))
    }
    #[inline(always)]
    fn slope(self, y: f32) -> f32 {
        y * (1.0 - y)
    }
}

/// A curve of each value, or the tensor back where it is not on the CPU.
pub(crate) fn bend<C: Curve, const D: usize>(
    curve: C,
    x: Tensor<D>,
) -> Result<Tensor<D>, Tensor<D>> {
    let x = match held(x)? {
        Held::Plain(x) => {
            let out = values::single(x, Bent(curve));
            return Ok(Tensor::from_primitive::<Flex>(out));
        }
        Held::Tracked(x) => x,
    };
    let prepared = Bend::<C>(PhantomData)
        .prepare::<NoCheckpointing>([x.node()])
        .compute_bound()
        .stateful();
    let x = x.into_primitive();
    let input = (!C::SAVES_OUTPUT).then(|| x.clone());
    let out = values::single(x, Bent(curve));
    let bent = match prepared {
        OpsKind::Tracked(prepared) => {
            let saved = input.unwrap_or_else(|| out.clone());
            prepared.finish(Saved { curve, saved }, out)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    };
    Ok(Tensor::from_primitive::<Tracked>(bent))
}

#[derive(Clone, Copy)]
struct Bent<C>(C);

impl<C: Curve> Single for Bent<C> {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        self.0.value(x)
    }
}

/// The gradient times the slope.
#[derive(Clone, Copy)]
struct Sloped<C>(C);

impl<C: Curve> Pairwise for Sloped<C> {
    #[inline(always)]
    fn of(self, gradient: f32, saved: f32) -> f32 {
        gradient * self.0.slope(saved)
    }
}

/// The step of the graph.
#[derive(Debug)]
struct Bend<C>(PhantomData<C>);

/// What it keeps of the forward pass.
#[derive(Clone, Debug)]
struct Saved<C> {
    curve: C,
    saved: FlexTensor,
}

impl<C: Curve> Backward<Flex, 1> for Bend<C> {
    type State = Saved<C>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        if let [Some(node)] = &ops.parents {
            let Saved { curve, saved } = &ops.state;
            let of = values::pairwise(gradient, saved, Sloped(*curve));
            gradients.register::<Flex>(node.id, of);
        }
    }
}
