//! Mixed precision: which 16-bit floats a device computes in, and the scale that keeps
//! small gradients in them.
//!
//! Products of matrices and convolutions are computed in 16 bits; weights, moments,
//! normalisations, softmaxes, losses and sums stay in 32 (Micikevicius and others 2018,
//! "Mixed Precision Training"). bfloat16 has the range of a 32-bit float and needs no
//! scale.

use burn::tensor::{FloatDType, Tensor};
use embermesh_job::crypto::statement::DeviceKind;
use embermesh_job::spec::Precision;
use serde::{Deserialize, Serialize};

use crate::device::Opened;
use crate::failure::WorkFailed;

/// The 16-bit floats that each backend may compute in, the best first. A driver must
/// also say that it has them, and none is listed that the parity tests do not cover.
const HALVES: &[(DeviceKind, &[FloatDType])] = &[
    (DeviceKind::Cpu, &[]),
    (DeviceKind::Wgpu, &[FloatDType::F16]),
    (DeviceKind::Cuda, &[FloatDType::BF16, FloatDType::F16]),
];

/// The scale's first exponent, as PyTorch's.
const FIRST_EXPONENT: u32 = 16;
/// The largest: 2 to its power is far from the largest `f32`.
const MOST_EXPONENT: u32 = 24;
/// Steps without an overflow after which the scale doubles.
const DOUBLE_AFTER: u32 = 2000;

/// The 16-bit floats that a training computes in; none where it is in full precision.
///
/// # Errors
/// [`WorkFailed::NoHalf`] when the device has none.
pub(crate) fn half(
    precision: Precision,
    kind: DeviceKind,
    device: &Opened,
) -> Result<Option<FloatDType>, WorkFailed> {
    if precision.is_full() {
        return Ok(None);
    }
    let known = HALVES.iter().find(|(known, _)| *known == kind);
    let halves = known.map_or(&[][..], |(_, halves)| halves);
    let supported = |half: &&FloatDType| device.device.supports_dtype(**half);
    match halves.iter().find(supported) {
        Some(half) => Ok(Some(*half)),
        None => Err(WorkFailed::NoHalf {
            device: device.name.clone(),
        }),
    }
}

/// What the loss is multiplied by before the way back, and the gradients divided by
/// after it: a power of two, so that it rounds nothing. A checkpoint remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scaling {
    exponent: u32,
    /// Steps since the scale last changed.
    steps: u32,
    /// Steps that were not taken because a gradient overflowed.
    pub(crate) skipped: u64,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            exponent: FIRST_EXPONENT,
            steps: 0,
            skipped: 0,
        }
    }
}

impl Scaling {
    /// What to multiply by.
    pub(crate) fn factor(&self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    /// Hears whether all gradients of a step were numbers. An overflow halves the scale
    /// and the step is not to be taken; many steps without one double it.
    ///
    /// Gives whether to take the step; none when no scale is small enough.
    pub(crate) fn hear(&mut self, finite: bool) -> Option<bool> {
        if !finite {
            self.exponent = self.exponent.checked_sub(1)?;
            self.steps = 0;
            self.skipped += 1;
            return Some(false);
        }
        self.steps += 1;
        if self.steps >= DOUBLE_AFTER {
            self.exponent = (self.exponent + 1).min(MOST_EXPONENT);
            self.steps = 0;
        }
        Some(true)
    }
}

/// Whether every value is a number. One number is read from the device.
pub(crate) fn all_finite(tensors: &[Tensor<1>]) -> Result<bool, WorkFailed> {
    // Zero times a number is zero; times infinity it is not.
    let zeros = tensors
        .iter()
        .map(|tensor| tensor.clone().mul_scalar(0.0).sum())
        .collect();
    let sum = Tensor::cat(zeros, 0).sum().try_into_scalar::<f32>();
    sum.map(f32::is_finite)
        .map_err(|error| WorkFailed::Internal(format!("a result cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::device::{DeviceChoice, open};

    #[test]
    fn the_cpu_has_no_mixed_precision_and_says_so() {
        let cpu = open(DeviceChoice::Cpu).unwrap();
        assert_eq!(half(Precision::Full, DeviceKind::Cpu, &cpu).unwrap(), None);
        let refusal = half(Precision::Mixed, DeviceKind::Cpu, &cpu).unwrap_err();
        assert!(refusal.to_string().contains("16-bit"), "{refusal}");
    }

    #[test]
    fn the_scale_halves_at_an_overflow_and_grows_again() {
        let mut scaling = Scaling::default();
        assert_eq!(scaling.factor(), 65536.0);
        assert_eq!(scaling.hear(false), Some(false));
        assert_eq!((scaling.factor(), scaling.skipped), (32768.0, 1));
        for _ in 0..DOUBLE_AFTER {
            assert_eq!(scaling.hear(true), Some(true));
        }
        assert_eq!(scaling.factor(), 65536.0);
        for _ in 0..FIRST_EXPONENT {
            assert_eq!(scaling.hear(false), Some(false));
        }
        assert_eq!(scaling.hear(false), None);
    }

    #[test]
    fn what_is_no_number_is_seen() {
        let with = |value: f32| {
            let device = Device::flex();
            let tensors = [
                Tensor::from_floats([1.0, -3e38], &device),
                Tensor::from_floats([value], &device),
            ];
            all_finite(&tensors).unwrap()
        };
        assert!(with(0.0));
        assert!(!with(f32::INFINITY));
        assert!(!with(f32::NAN));
    }
}
