//! A convolution whose filters move one place at a time, straight from the samples.
//!
//! Where a filter moves one place at a time, what each of its taps sees at all places
//! is one stretch of a padded plane, shifted by where the tap is: so nothing needs to
//! be unrolled. The stretch runs on over the ends of lines, and what comes out there
//! is left out at the end (Zhang, Franchetti and Low 2018, "High Performance
//! Zero-Memory Overhead Direct Convolutions"). The gradient of the input is the same
//! with the filters turned round; that of the filters is in [`weights`].
//!
//! Each sum runs over the taps in one order, whatever is computed beside it.

mod kernel;
mod weights;

use rayon::prelude::*;

use self::kernel::{Correlate, blocks, largest_block};
use crate::lm::vectors::widest;

pub(super) use self::weights::weight_gradient;

/// Stretches are so many values long, or a multiple: the widest vector.
const ROUND: usize = 16;
/// Values computed for each that is kept, at most: small planes are mostly padding,
/// and unrolling serves them better.
const MOST_WASTE: usize = 2;

/// The shapes of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slide {
    pub(super) channels: usize,
    pub(super) filters: usize,
    /// Height and width of a plane, of a filter, and of what comes out.
    pub(super) input: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
}

impl Slide {
    /// Whether little enough is computed in vain.
    pub(super) fn is_worth_it(&self) -> bool {
        self.stretch() <= MOST_WASTE * self.places()
    }

    /// The convolution that gives the gradient of the input, of the gradient of the
    /// output; none where there is more padding than a filter sees.
    pub(super) fn backwards(&self) -> Option<Self> {
        let padding = |axis: usize| {
            let reach = self.dilation[axis] * (self.kernel[axis] - 1);
            reach.checked_sub(self.padding[axis])
        };
        Some(Self {
            channels: self.filters,
            filters: self.channels,
            input: self.output,
            output: self.input,
            padding: [padding(0)?, padding(1)?],
            ..*self
        })
    }

    /// Taps of a filter.
    fn rows(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    fn places(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn sample_len(&self) -> usize {
        self.channels * self.input[0] * self.input[1]
    }

    /// Height and width of a plane with its padding.
    fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.input[axis] + 2 * self.padding[axis])
    }

    /// Values of a padded sample, and those that a vector may read beyond it.
    fn padded_len(&self) -> usize {
        let [height, width] = self.padded();
        self.channels * height * width + ROUND
    }

    /// Places from the first to the last, counted along padded lines.
    fn stretch(&self) -> usize {
        let [_, width] = self.padded();
        ((self.output[0] - 1) * width + self.output[1]).next_multiple_of(ROUND)
    }

    /// Where the stretch of each tap begins in a padded sample.
    fn taps(&self) -> Vec<usize> {
        let [height, width] = self.padded();
        let mut taps = Vec::with_capacity(self.rows());
        for channel in 0..self.channels {
            for y in 0..self.kernel[0] {
                for x in 0..self.kernel[1] {
                    let line = channel * height + y * self.dilation[0];
                    taps.push(line * width + x * self.dilation[1]);
                }
            }
        }
        taps
    }

    /// Copies a sample into the middle of zeros, which stay as they are.
    fn pad(&self, sample: &[f32], padded: &mut [f32]) {
        let [height, width] = self.padded();
        let planes = padded.chunks_exact_mut(height * width);
        for (plane, source) in planes.zip(sample.chunks_exact(self.input[0] * self.input[1])) {
            let lines = plane.chunks_exact_mut(width).skip(self.padding[0]);
            for (line, source) in lines.zip(source.chunks_exact(self.input[1])) {
                line[self.padding[1]..][..source.len()].copy_from_slice(source);
            }
        }
    }
}

/// What comes out of `x`, samples one after another, by `weight` (a row of taps for
/// each filter).
pub(super) fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, slide: &Slide) -> Vec<f32> {
    let (rows, places, filters) = (slide.rows(), slide.places(), slide.filters);
    let samples = x.len() / slide.sample_len();
    let largest = widest(largest_block());
    let packed = pack(weight, rows, largest);
    let taps = slide.taps();
    let together = together(samples, filters, largest);
    let mut out = vec![0.0_f32; samples * filters * places];
    out.par_chunks_exact_mut(filters * places)
        .zip(x.par_chunks_exact(slide.sample_len()))
        .flat_map(|(out, sample)| {
            out.par_chunks_mut(together * places)
                .enumerate()
                .map(move |(part, out)| (part * together, out, sample))
        })
        .for_each_init(
            || Scratch::new(slide, together),
            |scratch, (first, out, sample)| {
                slide.pad(sample, &mut scratch.padded);
                let filters = out.len() / places;
                widest(Correlate {
                    padded: &scratch.padded,
                    taps: &taps,
                    packed: &packed[first * rows..][..filters * rows],
                    largest,
                    out: &mut scratch.stretches[..filters * slide.stretch()],
                    stretch: slide.stretch(),
                });
                slide.keep(&scratch.stretches, bias.map(|bias| &bias[first..]), out);
            },
        );
    out
}

/// The gradient of what went in, of that of what came out.
pub(super) fn input_gradient(gradient: &[f32], weight: &[f32], back: &Slide) -> Vec<f32> {
    let area = back.kernel[0] * back.kernel[1];
    let (from, to) = (back.channels, back.filters);
    let mut turned = Vec::with_capacity(weight.len());
    for channel in 0..to {
        for filter in 0..from {
            let taps = &weight[(filter * to + channel) * area..][..area];
            turned.extend(taps.iter().rev());
        }
    }
    forward(gradient, &turned, None, back)
}

/// What a thread works in.
struct Scratch {
    padded: Vec<f32>,
    stretches: Vec<f32>,
}

impl Scratch {
    fn new(slide: &Slide, filters: usize) -> Self {
        Self {
            padded: vec![0.0; slide.padded_len()],
            stretches: vec![0.0; filters * slide.stretch()],
        }
    }
}

impl Slide {
    /// Takes what lies within the lines out of some stretches, and adds the bias.
    fn keep(&self, stretches: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        let [_, width] = self.padded();
        let planes = out.chunks_exact_mut(self.places());
        for (filter, (plane, stretch)) in planes
            .zip(stretches.chunks_exact(self.stretch()))
            .enumerate()
        {
            let bias = bias.map_or(0.0, |bias| bias[filter]);
            let lines = plane.chunks_exact_mut(self.output[1]);
            for (line, stretch) in lines.zip(stretch.chunks(width)) {
                for (value, sum) in line.iter_mut().zip(stretch) {
                    *value = sum + bias;
                }
            }
        }
    }
}

/// Filters that a task takes: all of a sample's, unless there are fewer samples than
/// threads. It changes no sum.
fn together(samples: usize, filters: usize, largest: usize) -> usize {
    let parts = rayon::current_num_threads().div_ceil(samples.max(1));
    filters.div_ceil(parts).next_multiple_of(largest)
}

/// The weights of a block of filters side by side, tap by tap.
fn pack(weight: &[f32], rows: usize, largest: usize) -> Vec<f32> {
    let mut packed = Vec::with_capacity(weight.len());
    let mut first = 0;
    for size in blocks(weight.len() / rows, largest) {
        for row in 0..rows {
            packed.extend((first..first + size).map(|filter| weight[filter * rows + row]));
        }
        first += size;
    }
    packed
}
