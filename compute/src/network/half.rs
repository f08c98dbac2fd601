//! Where a pass computes in 16-bit floats: around its products and convolutions.

use burn::tensor::{FloatDType, Tensor};

use super::Mode;
use super::pass::Pass;

/// The 16-bit floats that the products of a pass are computed in, if they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half(Option<FloatDType>);

impl Half {
    /// Whether products are in 16 bits at all.
    pub(super) fn is_on(self) -> bool {
        self.0.is_some()
    }

    /// A factor of a product.
    pub(super) fn down<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self.0 {
            Some(half) => x.cast(half),
            None => x,
        }
    }

    /// What came out of one.
    pub(super) fn up<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self.0 {
            Some(_) => x.cast(FloatDType::F32),
            None => x,
        }
    }

    /// A product of factors that are 32-bit floats.
    pub(super) fn product<const D: usize>(self, one: Tensor<D>, other: Tensor<D>) -> Tensor<D> {
        self.up(self.down(one).matmul(self.down(other)))
    }
}

impl Pass<'_> {
    /// Training may be in 16 bits; what judges it never is.
    pub(super) fn half(&self) -> Half {
        Half(match self.mode {
            Mode::Train { .. } => self.network().half,
            Mode::Infer => None,
        })
    }
}
