//! The inner loops: some filters at some places at a time, whose sums stay in
//! registers while the taps go by.

use pulp::{Simd, WithSimd};

/// Vectors of places that are computed together.
const VECTORS: usize = 3;

/// Filters that are computed together, at most.
pub(super) fn largest_block() -> impl WithSimd<Output = usize> {
    struct Largest;
    impl WithSimd for Largest {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
        }
    }
    Largest
}

/// How many filters each block has: as many as fit, then half as many.
pub(super) fn blocks(filters: usize, largest: usize) -> impl Iterator<Item = usize> {
    let mut left = filters;
    let mut size = largest;
    std::iter::from_fn(move || {
        while size > left {
            size /= 2;
        }
        left -= size;
        (size > 0).then_some(size)
    })
}

/// Filters over one padded sample.
pub(super) struct Correlate<'a> {
    pub(super) padded: &'a [f32],
    /// Where each tap's stretch begins.
    pub(super) taps: &'a [usize],
    /// Weights in blocks.
    pub(super) packed: &'a [f32],
    pub(super) largest: usize,
    /// A stretch for each filter.
    pub(super) out: &'a mut [f32],
    pub(super) stretch: usize,
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut at = 0;
        while at < self.stretch {
            let left = (self.stretch - at) / S::F32_LANES;
            match left {
                0 => break,
                1 => self.places::<S, 1>(simd, at),
                2 => self.places::<S, 2>(simd, at),
                _ => self.places::<S, VECTORS>(simd, at),
            }
            at += left.min(VECTORS) * S::F32_LANES;
        }
    }
}

impl Correlate<'_> {
    /// All filters at some vectors of places.
    #[inline(always)]
    fn places<S: Simd, const V: usize>(&mut self, simd: S, at: usize) {
        let (mut first, mut packed) = (0, self.packed);
        for size in blocks(self.out.len() / self.stretch, self.largest) {
            let (weights, rest) = packed.split_at(size * self.taps.len());
            packed = rest;
            match size {
                8 => self.block::<S, V, 8>(simd, at, first, weights),
                4 => self.block::<S, V, 4>(simd, at, first, weights),
                2 => self.block::<S, V, 2>(simd, at, first, weights),
                _ => self.block::<S, V, 1>(simd, at, first, weights),
            }
            first += size;
        }
    }

    #[inline(always)]
    fn block<S: Simd, const V: usize, const F: usize>(
        &mut self,
        simd: S,
        at: usize,
        first: usize,
        weights: &[f32],
    ) {
        let padded = &self.padded[at..];
        let mut sums = [[simd.splat_f32s(0.0); V]; F];
        let (weights, _) = weights.as_chunks::<F>();
        for (&tap, weights) in self.taps.iter().zip(weights) {
            let (seen, _) = S::as_simd_f32s(&padded[tap..][..V * S::F32_LANES]);
            let Some(seen) = seen.first_chunk::<V>() else {
                break;
            };
            for (sums, weight) in sums.iter_mut().zip(weights) {
                let weight = simd.splat_f32s(*weight);
                for (sum, seen) in sums.iter_mut().zip(seen) {
                    *sum = simd.mul_add_e_f32s(weight, *seen, *sum);
                }
            }
        }
        for (filter, sums) in sums.iter().enumerate() {
            let out = &mut self.out[(first + filter) * self.stretch + at..];
            let (out, _) = S::as_mut_simd_f32s(&mut out[..V * S::F32_LANES]);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = *sum;
            }
        }
    }
}
