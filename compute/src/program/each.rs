//! What becomes of each number by itself.

use burn::tensor::Tensor;
use burn::tensor::activation as burns;
use embermesh_job::program::{Kind, Op, TensorType};

use super::{Operand, these};

/// The constants of the self-normalising ELU (Klambauer and others 2017).
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
/// sqrt(2 / pi).
const GELU_SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
/// The cubic term of the approximate GELU (Hendrycks and Gimpel 2016).
const GELU_CUBIC: f64 = 0.044_715;

pub(super) fn each(op: &Op, x: Tensor<1>) -> Tensor<1> {
    match op {
        Op::Neg(_) => x.neg(),
        Op::Abs(_) => x.abs(),
        Op::Sign(_) => x.sign(),
        Op::Exp(_) => x.exp(),
        Op::Log(_) => x.log(),
        Op::Sqrt(_) => x.sqrt(),
        Op::Reciprocal(_) => x.recip(),
        Op::Erf(_) => x.erf(),
        Op::Floor(_) => x.floor(),
        Op::Ceil(_) => x.ceil(),
        Op::Round(_) => x.round(),
        Op::Sin(_) => x.sin(),
        Op::Cos(_) => x.cos(),
        Op::Tan(_) => x.tan(),
        Op::Asin(_) => x.asin(),
        Op::Acos(_) => x.acos(),
        Op::Atan(_) => x.atan(),
        Op::Sinh(_) => x.sinh(),
        Op::Cosh(_) => x.cosh(),
        Op::Tanh(_) => x.tanh(),
        Op::Asinh(_) => x.asinh(),
        Op::Acosh(_) => x.acosh(),
        Op::Atanh(_) => x.atanh(),
        op => activation(op, x),
    }
}

fn activation(op: &Op, x: Tensor<1>) -> Tensor<1> {
    match op {
        Op::Relu(_) => burns::relu(x),
        Op::LeakyRelu(slope) => burns::leaky_relu(x, slope.negative_slope),
        Op::Elu(bent) => bend(x, bent.alpha, 1.0),
        Op::Celu(bent) => bend(x, bent.alpha, 1.0 / bent.alpha),
        Op::Selu(_) => bend(x, SELU_ALPHA, 1.0).mul_scalar(SELU_SCALE),
        Op::Gelu(gelu) if gelu.approximate => {
            let cube = x.clone().mul(x.clone()).mul(x.clone());
            let inner = x
                .clone()
                .add(cube.mul_scalar(GELU_CUBIC))
                .mul_scalar(GELU_SCALE);
            x.mul(inner.tanh().add_scalar(1.0)).mul_scalar(0.5)
        }
        Op::Gelu(_) => burns::gelu(x),
        Op::Silu(_) => burns::silu(x),
        Op::Mish(_) => burns::mish(x),
        Op::Sigmoid(_) => burns::sigmoid(x),
        Op::HardSigmoid(lines) => x
            .mul_scalar(lines.alpha)
            .add_scalar(lines.beta)
            .clamp(0.0, 1.0),
        Op::Softplus(_) => burns::softplus(x, 1.0),
        Op::Softsign(_) => {
            let divisor = x.clone().abs().add_scalar(1.0);
            x.div(divisor)
        }
        Op::ThresholdedRelu(threshold) => {
            let passes = x.clone().greater_scalar(threshold.threshold).float();
            x.mul(passes)
        }
        Op::Clip(bounds) => {
            let x = match bounds.min {
                Some(min) => x.clamp_min(min as f32),
                None => x,
            };
            match bounds.max {
                Some(max) => x.clamp_max(max as f32),
                None => x,
            }
        }
        _ => x,
    }
}

/// x, or alpha (e^(scale x) - 1) below zero. What is above zero stays out of the
/// exponential, which would overflow.
fn bend(x: Tensor<1>, alpha: f64, scale: f64) -> Tensor<1> {
    let below = x
        .clone()
        .clamp_max(0.0)
        .mul_scalar(scale)
        .exp()
        .sub_scalar(1.0);
    burns::relu(x).add(below.mul_scalar(alpha))
}

/// Truth is 1.
pub(super) fn test(op: &Op, x: Tensor<1>) -> Tensor<1> {
    match op {
        Op::IsNan(_) => x.is_nan().float(),
        _ => x.equal_scalar(0.0).float(),
    }
}

pub(super) fn cast(operands: Vec<Operand<'_>>, to: &TensorType) -> Result<Tensor<1>, String> {
    let [x] = these(operands)?;
    Ok(match (x.of.kind, to.kind) {
        (Kind::Float, Kind::Int) => x.x.trunc(),
        (Kind::Float | Kind::Int, Kind::Bool) => x.x.not_equal_scalar(0.0).float(),
        _ => x.x,
    })
}
