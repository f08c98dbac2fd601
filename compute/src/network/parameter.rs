//! Tensors of a network, and what their values are at first.

use burn::tensor::{Device, Tensor, TensorData};
use embermesh_job::model::{First, Weight};

use crate::randomness::{Purpose, stream, unit};

/// A tensor of the network.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// The layer's name and what it is of it: "conv1.weight".
    pub(crate) name: String,
    /// Its shape, as PyTorch lays it out.
    pub(crate) shape: Vec<usize>,
    /// Its values in row-major order, without a gradient.
    pub(crate) value: Tensor<1>,
}

/// First values of what is learnt, keyed by its place among all that is.
pub(super) fn first_values(
    weight: &Weight,
    is_last: bool,
    seed: u32,
    key: u64,
    device: &Device,
) -> Tensor<1> {
    let count = weight.shape.iter().product();
    let mut rng = stream(seed, Purpose::Weights, key, 0);
    let mut even = |bound: f32| -> Vec<f32> {
        (0..count)
            .map(|_| (unit(&mut rng) * 2.0 - 1.0) * bound)
            .collect()
    };
    let values = match weight.first {
        // Zeros keep the signs that they are drawn with: checkpoints of before
        // are compared bit for bit.
        First::Zeros => even(0.0),
        First::Ones => vec![1.0; count],
        First::Even(bound) => even(bound as f32),
        First::FanIn => {
            // He's first values for layers that a ReLU follows; the last layer
            // feeds a softmax and starts smaller.
            let gain: f64 = if is_last { 3.0 } else { 6.0 };
            let fan_in: usize = weight.shape[1..].iter().product();
            even((gain / fan_in.max(1) as f64).sqrt() as f32)
        }
        First::Normal(spread) => (0..count)
            .map(|_| {
                // Box and Muller 1958; a unit is below 1, so its complement
                // has a logarithm.
                let radius = (-2.0 * (1.0 - f64::from(unit(&mut rng))).ln()).sqrt();
                let angle = std::f64::consts::TAU * f64::from(unit(&mut rng));
                (radius * angle.cos() * spread) as f32
            })
            .collect(),
    };
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// First values of state, which are never random.
pub(super) fn first_state(weight: &Weight, device: &Device) -> Tensor<1> {
    let count: usize = weight.shape.iter().product();
    match weight.first {
        First::Ones => Tensor::ones([count], device),
        _ => Tensor::zeros([count], device),
    }
}
