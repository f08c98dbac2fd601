//! What bends each value by itself, and the softmaxes.

use burn::tensor::Tensor;
use burn::tensor::activation as burns;
use embermesh_job::model::{Op, Softmax};

use super::flow::{Flow, each};
use crate::kernels::activation::{self as curves, bend};
use crate::kernels::{Hidden, shares};

/// sqrt(2 / pi).
const GELU_SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
/// The cubic term of the approximate GELU (Hendrycks and Gimpel 2016).
const GELU_CUBIC: f64 = 0.044_715;

/// An activation; what is none leaves the values as they are.
pub(super) fn apply(op: &Op, flow: Flow) -> Flow {
    match op {
        Op::Relu(_) => each!(flow, x => relu(x)),
        Op::LeakyRelu(leaky) => each!(flow, x => burns::leaky_relu(x, leaky.negative_slope)),
        Op::Elu(elu) => each!(flow, x => self::elu(x, elu.alpha)),
        Op::Gelu(gelu) if gelu.approximate => each!(flow, x => approximate_gelu(x)),
        Op::Gelu(_) => each!(flow, x => gelu(x)),
        Op::Silu(_) => {
            each!(flow, x => bend(curves::Silu, x).unwrap_or_else(burns::silu))
        }
        Op::Mish(_) => each!(flow, x => burns::mish(x)),
        Op::Tanh(_) => each!(flow, x => burns::tanh(x)),
        Op::Sigmoid(_) => {
            each!(flow, x => bend(curves::Sigmoid, x).unwrap_or_else(burns::sigmoid))
        }
        Op::Softplus(softplus) => each!(flow, x => burns::softplus(x, softplus.beta)),
        Op::Softmax(softmax) => {
            each!(flow, x => { let axis = axis_of(softmax, &x); self::softmax(x, axis) })
        }
        Op::LogSoftmax(softmax) => {
            each!(flow, x => { let axis = axis_of(softmax, &x); burns::log_softmax(x, axis) })
        }
        _ => flow,
    }
}

fn axis_of<const D: usize>(softmax: &Softmax, _: &Tensor<D>) -> usize {
    softmax.axis.map_or(D - 1, |axis| axis + 1)
}

/// max(0, x).
pub(super) fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    bend(curves::Relu, x).unwrap_or_else(burns::relu)
}

/// x times the normal distribution function.
pub(super) fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    bend(curves::Gelu, x).unwrap_or_else(burns::gelu)
}

fn softmax<const D: usize>(x: Tensor<D>, axis: usize) -> Tensor<D> {
    let ours = if axis + 1 == D {
        shares(x, 1.0, Hidden::Nothing)
    } else {
        Err(x)
    };
    ours.unwrap_or_else(|x| burns::softmax(x, axis))
}

/// burn's takes the exponential of what is above zero too, which overflows, and
/// then its gradient is no number.
fn elu<const D: usize>(x: Tensor<D>, alpha: f64) -> Tensor<D> {
    let below = x.clone().clamp_max(0.0).exp().sub_scalar(1.0);
    burns::relu(x).add(below.mul_scalar(alpha))
}

pub(crate) fn approximate_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let x = match bend(curves::ApproximateGelu, x) {
        Ok(bent) => return bent,
        Err(x) => x,
    };
    let cube = x.clone().mul(x.clone()).mul(x.clone());
    let inner = x
        .clone()
        .add(cube.mul_scalar(GELU_CUBIC))
        .mul_scalar(GELU_SCALE);
    x.mul(inner.tanh().add_scalar(1.0)).mul_scalar(0.5)
}
