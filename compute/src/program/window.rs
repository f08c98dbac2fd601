//! Convolutions and poolings. One axis goes through what is fast for two, as images
//! one pixel high.

use burn::tensor::ops::{AvgPoolOptions, ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor};
use embermesh_job::program::{ConvTransposed, Convolve, Windows};

use super::{Operand, flat, these};
use crate::kernels;

/// A number for each of two axes; the usual one where none is given, and for the
/// height of what has none.
fn two(given: &[usize], usual: usize, of_one: usize) -> [usize; 2] {
    match *given {
        [height, width] => [height, width],
        [width] => [of_one, width],
        _ => [usual; 2],
    }
}

/// As images; filters likewise.
fn images(operand: Operand<'_>) -> Result<Tensor<4>, String> {
    match operand.of.shape[..] {
        [a, b, height, width] => Ok(operand.x.reshape([a, b, height, width])),
        [a, b, length] => Ok(operand.x.reshape([a, b, 1, length])),
        _ => Err("these are no images".to_owned()),
    }
}

pub(super) fn conv(
    conv: &Convolve,
    operands: Vec<Operand<'_>>,
    device: &Device,
) -> Result<Tensor<1>, String> {
    let mut operands = operands.into_iter();
    let x = images(operands.next().ok_or("it is missing")?)?;
    let weight = images(operands.next().ok_or("filters are missing")?)?;
    let bias = match operands.next() {
        Some(bias) => bias.x,
        None => Tensor::zeros([weight.dims()[0]], device),
    };
    let options = ConvOptions::new(
        two(&conv.stride, 1, 1),
        two(&conv.padding, 0, 0),
        two(&conv.dilation, 1, 1),
        conv.groups,
    );
    Ok(flat(kernels::conv2d(x, weight, bias, options)))
}

pub(super) fn transposed(
    conv: &ConvTransposed,
    operands: Vec<Operand<'_>>,
) -> Result<Tensor<1>, String> {
    let mut operands = operands.into_iter();
    let x = images(operands.next().ok_or("it is missing")?)?;
    let weight = images(operands.next().ok_or("filters are missing")?)?;
    let bias = operands.next().map(|bias| bias.x);
    let options = ConvTransposeOptions::new(
        two(&conv.stride, 1, 1),
        two(&conv.padding, 0, 0),
        two(&conv.output_padding, 0, 0),
        two(&conv.dilation, 1, 1),
        conv.groups,
    );
    let maps = burn::tensor::module::conv_transpose2d(x, weight, bias, options);
    Ok(flat(maps))
}

pub(super) fn max_pool(pool: &Windows, operands: Vec<Operand<'_>>) -> Result<Tensor<1>, String> {
    let [x] = these(operands)?;
    let kernel = two(&pool.kernel, 1, 1);
    let options = MaxPoolOptions::new(kernel)
        .with_stride(stride(pool, kernel))
        .with_padding(two(&pool.padding, 0, 0));
    Ok(flat(kernels::max_pool2d(images(x)?, options)))
}

pub(super) fn avg_pool(pool: &Windows, operands: Vec<Operand<'_>>) -> Result<Tensor<1>, String> {
    let [x] = these(operands)?;
    let kernel = two(&pool.kernel, 1, 1);
    let options = AvgPoolOptions::new(kernel)
        .with_stride(stride(pool, kernel))
        .with_padding(two(&pool.padding, 0, 0))
        .with_count_include_pad(pool.count_padding);
    Ok(flat(burn::tensor::module::avg_pool2d(images(x)?, options)))
}

fn stride(pool: &Windows, kernel: [usize; 2]) -> [usize; 2] {
    if pool.stride.is_empty() {
        return kernel;
    }
    two(&pool.stride, 1, 1)
}
