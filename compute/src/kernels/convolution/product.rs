//! The three matrix products: what comes out, and the gradients of what went in and
//! of the filters.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps as _;
use burn::tensor::{DType, Shape};
use rayon::prelude::*;

use super::super::tensor;
use super::columns::Windows;
use super::slide;

/// Strands of a sum.
const LANES: usize = 16;

/// What comes out.
pub(super) fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: &FlexTensor,
    windows: &Windows,
) -> FlexTensor {
    let (rows, places, filters) = (windows.rows(), windows.places(), windows.filters);
    let x = x.to_contiguous();
    let bias = bias.to_contiguous();
    if let Some(shapes) = windows.slide() {
        let weight = weight.to_contiguous();
        let out = slide::forward(x.storage(), weight.storage(), Some(bias.storage()), &shapes);
        return tensor(out, windows.output_shape());
    }
    let weight = weight
        .to_contiguous()
        .reshape(Shape::new([1, filters, rows]));
    let mut out = vec![0.0_f32; windows.samples * filters * places];
    let mut columns = Columns::default();
    for chunk in windows.chunks() {
        let product = Flex::float_matmul(weight.clone(), columns.unroll(&x, &chunk, windows));
        let start = chunk.start * filters * places;
        let bias: &[f32] = &bias.storage()[..filters];
        out[start..][..chunk.len() * filters * places]
            .par_chunks_exact_mut(places)
            .zip(product.storage::<f32>().par_chunks_exact(places))
            .enumerate()
            .for_each(|(plane, (out, product))| {
                let bias = bias[plane % filters];
                for (out, product) in out.iter_mut().zip(product) {
                    *out = product + bias;
                }
            });
    }
    tensor(out, windows.output_shape())
}

/// The gradient of what went in.
pub(super) fn input_gradient(
    gradient: &FlexTensor,
    weight: &FlexTensor,
    windows: &Windows,
) -> FlexTensor {
    let (rows, places, filters) = (windows.rows(), windows.places(), windows.filters);
    if let Some(back) = windows.slide().and_then(|shapes| shapes.backwards()) {
        let (gradient, weight) = (gradient.to_contiguous(), weight.to_contiguous());
        let out = slide::input_gradient(gradient.storage(), weight.storage(), &back);
        return tensor(out, windows.input_shape());
    }
    let weight = weight
        .to_contiguous()
        .reshape(Shape::new([1, filters, rows]))
        .transpose(1, 2);
    let gradient = gradient
        .to_contiguous()
        .reshape(Shape::new([windows.samples, filters, places]));
    let mut out = vec![0.0_f32; windows.samples * windows.sample_len()];
    for chunk in windows.chunks() {
        let part = gradient.narrow(0, chunk.start, chunk.len());
        let columns = Flex::float_matmul(weight.clone(), part);
        out[chunk.start * windows.sample_len()..][..chunk.len() * windows.sample_len()]
            .par_chunks_exact_mut(windows.sample_len())
            .zip(columns.storage::<f32>().par_chunks_exact(rows * places))
            .for_each(|(sample, columns)| windows.roll(columns, sample));
    }
    tensor(out, windows.input_shape())
}

/// The gradient of the filters.
pub(super) fn weight_gradient(
    gradient: &FlexTensor,
    x: &FlexTensor,
    windows: &Windows,
) -> FlexTensor {
    let (rows, places, filters) = (windows.rows(), windows.places(), windows.filters);
    let x = x.to_contiguous();
    if let Some(shapes) = windows.slide() {
        let gradient = gradient.to_contiguous();
        let sum = slide::weight_gradient(gradient.storage(), x.storage(), &shapes);
        return tensor(sum, windows.weight_shape());
    }
    let gradient = gradient
        .to_contiguous()
        .reshape(Shape::new([windows.samples, filters, places]));
    let mut sum = vec![0.0_f32; filters * rows];
    let mut columns = Columns::default();
    for chunk in windows.chunks() {
        let part = gradient.narrow(0, chunk.start, chunk.len());
        let unrolled = columns.unroll(&x, &chunk, windows).transpose(1, 2);
        let products = Flex::float_matmul(part, unrolled);
        // One sample after the other: the order of a sum is part of its result.
        let products: &[f32] = products.storage();
        sum.par_chunks_mut(rows)
            .enumerate()
            .for_each(|(filter, sum)| {
                for product in products.chunks_exact(filters * rows) {
                    for (sum, part) in sum.iter_mut().zip(&product[filter * rows..]) {
                        *sum += *part;
                    }
                }
            });
    }
    tensor(sum, windows.weight_shape())
}

/// The gradient of the bias.
pub(super) fn bias_gradient(gradient: &FlexTensor, windows: &Windows) -> FlexTensor {
    let (places, filters) = (windows.places(), windows.filters);
    let gradient = gradient.to_contiguous();
    let gradient: &[f32] = gradient.storage();
    let sums: Vec<f32> = (0..filters)
        .into_par_iter()
        .map(|filter| {
            gradient
                .chunks_exact(filters * places)
                .map(|sample| sum(&sample[filter * places..][..places]))
                .sum()
        })
        .collect();
    tensor(sums, [filters])
}

/// A sum in [`LANES`] strands, which the processor adds side by side.
fn sum(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut strands = [0.0_f32; LANES];
    for chunk in whole {
        for (strand, value) in strands.iter_mut().zip(chunk) {
            *strand += value;
        }
    }
    strands.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Unrolled windows, in a buffer that is used again for each chunk of one size.
#[derive(Default)]
struct Columns {
    held: Option<FlexTensor>,
}

impl Columns {
    fn unroll(
        &mut self,
        x: &FlexTensor,
        chunk: &std::ops::Range<usize>,
        windows: &Windows,
    ) -> FlexTensor {
        let (rows, places) = (windows.rows(), windows.places());
        let shape = Shape::new([chunk.len(), rows, places]);
        let mut columns = self
            .held
            .take()
            .filter(|held| *held.layout().shape() == shape)
            .unwrap_or_else(|| FlexTensor::empty(shape, DType::F32));
        let x: &[f32] = x.storage();
        let samples = &x[chunk.start * windows.sample_len()..];
        columns
            .storage_mut::<f32>()
            .par_chunks_exact_mut(rows * places)
            .zip(samples.par_chunks_exact(windows.sample_len()))
            .for_each(|(columns, sample)| windows.unroll(sample, columns));
        self.held = Some(columns.clone());
        columns
    }
}
