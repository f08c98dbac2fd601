//! The gradient of the filters: of each tap, the sum over all places of what it saw
//! times the gradient there.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Slide;
use crate::lm::vectors::widest;

/// Sums that are taken together, and the values of a vector, at most.
const MOST_SUMS: usize = 24;
const MOST_LANES: usize = 16;
/// Samples whose products are summed in one go.
const MOST_SAMPLES: usize = 8;
/// Bytes of padded samples that one task holds, if it has more than one.
const TASK_BYTES: usize = 768 << 10;
/// Bytes of sums that wait for those before them.
const WAITING_BYTES: usize = 32 << 20;

/// The gradient of the filters, a row of taps each.
pub(in super::super) fn weight_gradient(gradient: &[f32], x: &[f32], slide: &Slide) -> Vec<f32> {
    let (rows, filters) = (slide.rows(), slide.filters);
    let samples = x.len() / slide.sample_len();
    let group = group(slide, samples);
    let taps = slide.taps();
    let mut sum = vec![0.0_f32; filters * rows];
    let waiting = (WAITING_BYTES / size_of_val(&sum[..]).max(1)).min(64);
    let waiting = waiting.max(rayon::current_num_threads());
    let gradients = gradient.chunks(group * filters * slide.places());
    let tasks: Vec<_> = x
        .chunks(group * slide.sample_len())
        .zip(gradients)
        .collect();
    for tasks in tasks.chunks(waiting) {
        let parts: Vec<Vec<f32>> = tasks
            .par_iter()
            .map(|(x, gradient)| part(x, gradient, &taps, slide))
            .collect();
        // One after the other: the order of a sum is part of its result.
        sum.par_chunks_mut(rows)
            .enumerate()
            .for_each(|(filter, sum)| {
                for part in &parts {
                    for (sum, part) in sum.iter_mut().zip(&part[filter * rows..]) {
                        *sum += *part;
                    }
                }
            });
    }
    sum
}

/// Samples of one task. A function of the shapes alone.
fn group(slide: &Slide, samples: usize) -> usize {
    let fit = TASK_BYTES / (slide.padded_len() * size_of::<f32>());
    fit.min(samples / MOST_SAMPLES).clamp(1, MOST_SAMPLES)
}

/// What some samples add.
fn part(x: &[f32], gradient: &[f32], taps: &[usize], slide: &Slide) -> Vec<f32> {
    let samples = x.len() / slide.sample_len();
    let (padded_len, stretch) = (slide.padded_len(), slide.stretch());
    let [_, width] = slide.padded();
    let mut padded = vec![0.0_f32; samples * padded_len];
    for (sample, padded) in x
        .chunks_exact(slide.sample_len())
        .zip(padded.chunks_exact_mut(padded_len))
    {
        slide.pad(sample, padded);
    }
    // Zeros where the stretch runs over the end of a line.
    let mut spread = vec![0.0_f32; samples * slide.filters * stretch];
    for (plane, spread) in gradient
        .chunks_exact(slide.places())
        .zip(spread.chunks_exact_mut(stretch))
    {
        for (line, spread) in plane
            .chunks_exact(slide.output[1])
            .zip(spread.chunks_mut(width))
        {
            spread[..line.len()].copy_from_slice(line);
        }
    }
    let mut sums = vec![0.0_f32; slide.filters * taps.len()];
    widest(Weigh {
        padded: &padded,
        padded_len,
        spread: &spread,
        stretch,
        filters: slide.filters,
        taps,
        sums: &mut sums,
    });
    sums
}

struct Weigh<'a> {
    padded: &'a [f32],
    padded_len: usize,
    spread: &'a [f32],
    stretch: usize,
    filters: usize,
    taps: &'a [usize],
    /// A row of taps for each filter.
    sums: &'a mut [f32],
}

impl WithSimd for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let most = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
        let mut filter = 0;
        while filter < self.filters {
            let left = (self.filters - filter).min(most);
            match left {
                4 => self.taps::<S, 4>(simd, filter),
                2 | 3 => self.taps::<S, 2>(simd, filter),
                _ => self.taps::<S, 1>(simd, filter),
            }
            filter += match left {
                4 => 4,
                2 | 3 => 2,
                _ => 1,
            };
        }
    }
}

impl Weigh<'_> {
    /// Some filters, all taps.
    #[inline(always)]
    fn taps<S: Simd, const F: usize>(&mut self, simd: S, filter: usize) {
        let mut tap = 0;
        while tap < self.taps.len() {
            match self.taps.len() - tap {
                6.. => {
                    self.block::<S, F, 6>(simd, filter, tap);
                    tap += 6;
                }
                3..6 => {
                    self.block::<S, F, 3>(simd, filter, tap);
                    tap += 3;
                }
                _ => {
                    self.block::<S, F, 1>(simd, filter, tap);
                    tap += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn block<S: Simd, const F: usize, const T: usize>(
        &mut self,
        simd: S,
        filter: usize,
        tap: usize,
    ) {
        let Some(taps) = self.taps[tap..].first_chunk::<T>() else {
            return;
        };
        let len = self.stretch;
        let mut sums = [[simd.splat_f32s(0.0); F]; T];
        let samples = self.padded.chunks_exact(self.padded_len);
        let gradients = self.spread.chunks_exact(self.filters * len);
        let whole = len / S::F32_LANES;
        for (padded, spread) in samples.zip(gradients) {
            // Loops rather than maps: a compiler keeps what they fill in registers.
            let mut seen: [&[S::f32s]; T] = [&[]; T];
            for (seen, tap) in seen.iter_mut().zip(taps) {
                *seen = &S::as_simd_f32s(&padded[*tap..][..len]).0[..whole];
            }
            let mut slopes: [&[S::f32s]; F] = [&[]; F];
            let rows = spread[filter * len..].chunks_exact(len);
            for (slopes, row) in slopes.iter_mut().zip(rows) {
                *slopes = &S::as_simd_f32s(row).0[..whole];
            }
            for at in 0..whole {
                let mut slope = [simd.splat_f32s(0.0); F];
                for (slope, slopes) in slope.iter_mut().zip(&slopes) {
                    *slope = slopes[at];
                }
                for (sums, seen) in sums.iter_mut().zip(&seen) {
                    let seen = seen[at];
                    for (sum, slope) in sums.iter_mut().zip(&slope) {
                        *sum = simd.mul_add_e_f32s(*slope, seen, *sum);
                    }
                }
            }
        }
        // Through memory: what is summed up by a loop would be kept there all along.
        let mut kept = [0.0_f32; MOST_SUMS * MOST_LANES];
        let (kept, _) = S::as_mut_simd_f32s(&mut kept[..T * F * S::F32_LANES]);
        for (kept, sums) in kept.chunks_exact_mut(F).zip(&sums) {
            for (kept, sum) in kept.iter_mut().zip(sums) {
                *kept = *sum;
            }
        }
        for (at, sums) in kept.chunks_exact(F).enumerate() {
            for (filter, sum) in (filter..).zip(sums) {
                let to = filter * self.taps.len() + tap + at;
                self.sums[to] = simd.reduce_sum_f32s(*sum);
            }
        }
    }
}
