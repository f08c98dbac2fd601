//! In which numbers a training computes.

use embermesh_crypto::statement::DeviceKind;
use serde::{Deserialize, Serialize};

use super::{InvalidSpec, Requirements, invalid::field};

/// In which numbers a training computes. Weights, moments, normalisations, losses and
/// sums are 32-bit floats whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    Full,
    /// The products of matrices and the convolutions in 16-bit floats: bfloat16 where
    /// the device computes in it, else IEEE half precision with the loss scaled so that
    /// small gradients are not lost (Micikevicius and others 2018). GPUs only.
    Mixed,
}

impl Precision {
    /// Whether it is that of every training that does not say.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub fn is_full(&self) -> bool {
        *self == Self::Full
    }

    /// A job in mixed precision says which kind of GPU it wants: a processor has no
    /// units for 16-bit floats that would make it worth while.
    pub(super) fn validate(self, requires: &Requirements) -> Result<(), InvalidSpec> {
        if self.is_full()
            || requires
                .device
                .is_some_and(|device| device != DeviceKind::Cpu)
        {
            return Ok(());
        }
        Err(field(
            "precision",
            "mixed precision is for GPUs: set requires.device to cuda or wgpu, or leave precision out",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_precision_asks_for_a_gpu() {
        let mut requires = Requirements::default();
        assert!(Precision::Full.validate(&requires).is_ok());
        let refusal = Precision::Mixed.validate(&requires).unwrap_err();
        assert!(refusal.to_string().contains("requires.device"), "{refusal}");
        requires.device = Some(DeviceKind::Cpu);
        assert!(Precision::Mixed.validate(&requires).is_err());
        for device in [DeviceKind::Wgpu, DeviceKind::Cuda] {
            requires.device = Some(device);
            assert!(Precision::Mixed.validate(&requires).is_ok());
        }
    }
}
