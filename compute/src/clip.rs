//! Bounds on gradients, as `torch.nn.utils` has them.

use burn::tensor::Tensor;
use embermesh_job::spec::Clip;

/// Keeps the quotient finite where all gradients are zero, as PyTorch does.
const SMALL: f64 = 1e-6;

/// Gradients within their bound. Nothing is read from the device.
pub(crate) fn clip(rule: Clip, gradients: Vec<Tensor<1>>) -> Vec<Tensor<1>> {
    match rule {
        Clip::Value(most) => gradients
            .into_iter()
            .map(|gradient| gradient.clamp(-most, most))
            .collect(),
        Clip::Norm(most) => {
            let squares = gradients
                .iter()
                .map(|gradient| gradient.clone().mul(gradient.clone()).sum())
                .collect();
            let norm = Tensor::cat(squares, 0).sum().sqrt();
            let factor = norm
                .add_scalar(SMALL)
                .recip()
                .mul_scalar(most)
                .clamp_max(1.0);
            gradients
                .into_iter()
                .map(|gradient| gradient.mul(factor.clone()))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn clipped(rule: Clip) -> Vec<f32> {
        let device = Device::flex();
        let gradients = vec![
            Tensor::from_floats([3.0, -4.0], &device),
            Tensor::from_floats([12.0], &device),
        ];
        Tensor::cat(clip(rule, gradients), 0)
            .try_into_vec_as::<f32>()
            .unwrap()
    }

    #[test]
    fn values_stay_between_the_bound_and_its_negative() {
        assert_eq!(clipped(Clip::Value(3.5)), [3.0, -3.5, 3.5]);
    }

    /// The norm is 13: sqrt(9 + 16 + 144).
    #[test]
    fn a_long_gradient_is_shortened_as_a_whole_and_a_short_one_left() {
        let short = clipped(Clip::Norm(6.5));
        for (value, expected) in short.iter().zip([1.5, -2.0, 6.0]) {
            assert!((value - expected).abs() < 1e-5, "{short:?}");
        }
        assert_eq!(clipped(Clip::Norm(100.0)), [3.0, -4.0, 12.0]);
    }
}
