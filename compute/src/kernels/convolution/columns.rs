//! The windows of a convolution, unrolled: a matrix with a row for each input value
//! that a filter sees and a column for each place where it is laid.

use std::ops::Range;

use burn::tensor::ops::ConvOptions;

use super::slide::Slide;

/// Bytes of unrolled windows that are held at once, if a few samples need no more.
const CHUNK_BYTES: usize = 4 << 20;
/// Samples that are unrolled at once, at least: fewer would leave cores idle.
const LEAST_CHUNK: usize = 8;

/// The shapes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) samples: usize,
    pub(super) channels: usize,
    pub(super) filters: usize,
    /// Height and width of a sample, of a filter, and of what comes out.
    input: [usize; 2],
    kernel: [usize; 2],
    output: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

impl Windows {
    /// `None` when the convolution is not one of those that are unrolled.
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], options: &ConvOptions<2>) -> Option<Self> {
        if options.groups != 1 || options.is_asymmetric() || x[1] != weight[1] {
            return None;
        }
        let padding = options.padding_begin();
        let output = |axis: usize| {
            let span = options.dilation[axis].checked_mul(weight[axis + 2].checked_sub(1)?)? + 1;
            let padded = x[axis + 2] + 2 * padding[axis];
            Some(padded.checked_sub(span)? / options.stride[axis] + 1)
        };
        Some(Self {
            samples: x[0],
            channels: x[1],
            filters: weight[0],
            input: [x[2], x[3]],
            kernel: [weight[2], weight[3]],
            output: [output(0)?, output(1)?],
            stride: options.stride,
            padding,
            dilation: options.dilation,
        })
    }

    /// The same where nothing needs to be unrolled.
    pub(super) fn slide(&self) -> Option<Slide> {
        let slide = Slide {
            channels: self.channels,
            filters: self.filters,
            input: self.input,
            kernel: self.kernel,
            output: self.output,
            padding: self.padding,
            dilation: self.dilation,
        };
        (self.stride == [1; 2] && slide.is_worth_it()).then_some(slide)
    }

    /// Values that a filter sees.
    pub(super) fn rows(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    /// Places where a filter is laid.
    pub(super) fn places(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Values of one sample.
    pub(super) fn sample_len(&self) -> usize {
        self.channels * self.input[0] * self.input[1]
    }

    /// The shape of what comes in.
    pub(super) fn input_shape(&self) -> [usize; 4] {
        [self.samples, self.channels, self.input[0], self.input[1]]
    }

    /// The shape of the filters.
    pub(super) fn weight_shape(&self) -> [usize; 4] {
        [self.filters, self.channels, self.kernel[0], self.kernel[1]]
    }

    /// The shape of what comes out.
    pub(super) fn output_shape(&self) -> [usize; 4] {
        [self.samples, self.filters, self.output[0], self.output[1]]
    }

    /// Which samples are unrolled together. A function of the shapes alone.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let bytes = (self.rows() * self.places() * size_of::<f32>()).max(1);
        let chunk = (CHUNK_BYTES / bytes).max(LEAST_CHUNK);
        let samples = self.samples;
        (0..samples)
            .step_by(chunk)
            .map(move |start| start..(start + chunk).min(samples))
    }

    /// Unrolls a sample.
    pub(super) fn unroll(&self, sample: &[f32], columns: &mut [f32]) {
        let [height, width] = self.input;
        for (row, line) in columns.chunks_exact_mut(self.places()).enumerate() {
            let (channel, tap) = self.tap(row);
            let plane = &sample[channel * height * width..][..height * width];
            for (y, places) in line.chunks_exact_mut(self.output[1]).enumerate() {
                let Some(source) = self.source(0, y, tap[0]) else {
                    places.fill(0.0);
                    continue;
                };
                let inside = self.inside(tap[1]);
                places[..inside.start].fill(0.0);
                places[inside.end..].fill(0.0);
                if inside.is_empty() {
                    continue;
                }
                let first =
                    inside.start * self.stride[1] + tap[1] * self.dilation[1] - self.padding[1];
                let source = &plane[source * width..][first..width];
                let places = &mut places[inside];
                if self.stride[1] == 1 {
                    places.copy_from_slice(&source[..places.len()]);
                } else {
                    for (place, value) in
                        places.iter_mut().zip(source.iter().step_by(self.stride[1]))
                    {
                        *place = *value;
                    }
                }
            }
        }
    }

    /// Adds what was unrolled back to where it came from.
    pub(super) fn roll(&self, columns: &[f32], sample: &mut [f32]) {
        let [height, width] = self.input;
        for (row, line) in columns.chunks_exact(self.places()).enumerate() {
            let (channel, tap) = self.tap(row);
            let plane = &mut sample[channel * height * width..][..height * width];
            let inside = self.inside(tap[1]);
            if inside.is_empty() {
                continue;
            }
            let first = inside.start * self.stride[1] + tap[1] * self.dilation[1] - self.padding[1];
            for (y, places) in line.chunks_exact(self.output[1]).enumerate() {
                let Some(target) = self.source(0, y, tap[0]) else {
                    continue;
                };
                let target = &mut plane[target * width..][first..width];
                let places = &places[inside.clone()];
                if self.stride[1] == 1 {
                    for (value, place) in target.iter_mut().zip(places) {
                        *value += *place;
                    }
                } else {
                    let target = target.iter_mut().step_by(self.stride[1]);
                    for (value, place) in target.zip(places) {
                        *value += *place;
                    }
                }
            }
        }
    }

    /// The channel that a row is of, and the place within the filter.
    fn tap(&self, row: usize) -> (usize, [usize; 2]) {
        let area = self.kernel[0] * self.kernel[1];
        let within = row % area;
        (
            row / area,
            [within / self.kernel[1], within % self.kernel[1]],
        )
    }

    /// Where the tap of a place lies in the sample, unless in the padding.
    fn source(&self, axis: usize, place: usize, tap: usize) -> Option<usize> {
        (place * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.padding[axis])
            .filter(|at| *at < self.input[axis])
    }

    /// The places of a line whose tap lies in the sample.
    fn inside(&self, tap: usize) -> Range<usize> {
        let offset = tap * self.dilation[1];
        let stride = self.stride[1];
        let start = self.padding[1].saturating_sub(offset).div_ceil(stride);
        let end = (self.input[1] + self.padding[1])
            .saturating_sub(offset)
            .div_ceil(stride)
            .min(self.output[1]);
        start.min(end)..end
    }
}
