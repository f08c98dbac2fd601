//! One function over all values of a tensor, on all cores, in place where nobody else
//! holds the tensor.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::contiguous;
use crate::lm::vectors::widest;

/// Values that one task takes: they fit the nearest caches.
const CHUNK: usize = 8 << 10;

/// A function of a value.
pub(super) trait Single: Copy + Send + Sync {
    fn of(self, x: f32) -> f32;
}

/// A function of two values.
pub(super) trait Pairwise: Copy + Send + Sync {
    fn of(self, one: f32, other: f32) -> f32;
}

/// The function of each value.
pub(super) fn single(x: FlexTensor, function: impl Single) -> FlexTensor {
    let mut x = contiguous(x);
    if let Some(values) = x.try_storage_mut::<f32>() {
        let chunks = values.par_chunks_mut(CHUNK);
        chunks.for_each(|to| widest(Change { to, function }));
        return x;
    }
    let from: &[f32] = x.storage();
    let mut out = vec![0.0_f32; from.len()];
    out.par_chunks_mut(CHUNK)
        .zip(from.par_chunks(CHUNK))
        .for_each(|(to, from)| widest(Fill { to, from, function }));
    let layout = Layout::contiguous(x.layout().shape().clone());
    FlexTensor::new(Bytes::from_elems(out), layout, DType::F32)
}

/// The function of each value and the one of `other` at its place; the result is where
/// `one` was, if nobody else holds it.
pub(super) fn pairwise(one: FlexTensor, other: &FlexTensor, function: impl Pairwise) -> FlexTensor {
    let mut one = contiguous(one);
    let other = other.to_contiguous();
    let other: &[f32] = other.storage();
    one.storage_mut::<f32>()
        .par_chunks_mut(CHUNK)
        .zip(other.par_chunks(CHUNK))
        .for_each(|(to, other)| {
            widest(Join {
                to,
                other,
                function,
            })
        });
    one
}

struct Change<'a, F> {
    to: &'a mut [f32],
    function: F,
}

impl<F: Single> WithSimd for Change<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for value in self.to {
            *value = self.function.of(*value);
        }
    }
}

struct Fill<'a, F> {
    to: &'a mut [f32],
    from: &'a [f32],
    function: F,
}

impl<F: Single> WithSimd for Fill<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = self.function.of(*from);
        }
    }
}

struct Join<'a, F> {
    to: &'a mut [f32],
    other: &'a [f32],
    function: F,
}

impl<F: Pairwise> WithSimd for Join<'_, F> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, other) in self.to.iter_mut().zip(self.other) {
            *to = self.function.of(*to, *other);
        }
    }
}
