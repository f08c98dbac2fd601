//! Convolutions and poolings.

use super::super::{
    options::{Conv, Pair, Pool},
    shape::{Window, at_least_one, output_elements, product, show},
};
use super::{Effect, First, Weight};

pub(super) fn conv1d(conv: &Conv<usize>, input: &[usize]) -> Result<Effect, String> {
    let [depth, length] = line(input)?;
    let window = Window {
        kernel: conv.kernel,
        stride: conv.stride,
        padding: conv.padding,
        dilation: conv.dilation,
    };
    let shape = vec![conv.channels, window.along(length, input)?];
    convolution(conv, depth, &[conv.kernel], shape)
}

pub(super) fn conv2d(conv: &Conv<Pair>, input: &[usize]) -> Result<Effect, String> {
    let [depth, height, width] = image(input)?;
    let [tall, wide] = [0, 1].map(|axis| Window {
        kernel: conv.kernel.sides()[axis],
        stride: conv.stride.sides()[axis],
        padding: conv.padding.sides()[axis],
        dilation: conv.dilation.sides()[axis],
    });
    let shape = vec![
        conv.channels,
        tall.along(height, input)?,
        wide.along(width, input)?,
    ];
    convolution(conv, depth, &conv.kernel.sides(), shape)
}

fn convolution<S>(
    conv: &Conv<S>,
    depth: usize,
    kernel: &[usize],
    shape: Vec<usize>,
) -> Result<Effect, String> {
    at_least_one("channels", conv.channels)?;
    at_least_one("groups", conv.groups)?;
    if !depth.is_multiple_of(conv.groups) || !conv.channels.is_multiple_of(conv.groups) {
        return Err(format!(
            "{depth} input channels and {} output channels cannot both be cut into {} groups",
            conv.channels, conv.groups
        ));
    }
    let depth = depth / conv.groups;
    let mut weight = vec![conv.channels, depth];
    weight.extend(kernel);
    let seen = product(&[
        depth as u64,
        product(&kernel.iter().map(|side| *side as u64).collect::<Vec<_>>())?,
    ])?;
    let flops = product(&[2, output_elements(&shape)?, seen])?;
    let mut weights = vec![Weight::new("weight", weight, First::FanIn)];
    if conv.bias {
        weights.push(Weight::new("bias", [conv.channels], First::Zeros));
    }
    Ok(Effect {
        shape,
        weights,
        flops,
        kept: 0,
    })
}

pub(super) fn pool1d(pool: &Pool<usize>, input: &[usize]) -> Result<Effect, String> {
    let [channels, length] = line(input)?;
    let out = pooled(pool.kernel, pool.stride, pool.padding, length, input)?;
    pooling(vec![channels, out], &[pool.kernel as u64])
}

pub(super) fn pool2d(pool: &Pool<Pair>, input: &[usize]) -> Result<Effect, String> {
    let [channels, height, width] = image(input)?;
    let mut shape = vec![channels];
    for (axis, length) in [height, width].into_iter().enumerate() {
        shape.push(pooled(
            pool.kernel.sides()[axis],
            pool.stride.sides()[axis],
            pool.padding.sides()[axis],
            length,
            input,
        )?);
    }
    pooling(shape, &pool.kernel.sides().map(|side| side as u64))
}

fn pooled(
    kernel: usize,
    stride: usize,
    padding: usize,
    length: usize,
    input: &[usize],
) -> Result<usize, String> {
    if padding > kernel / 2 {
        return Err(format!(
            "padding {padding} is more than half of kernel {kernel}"
        ));
    }
    let window = Window {
        kernel,
        stride: if stride == 0 { kernel } else { stride },
        padding,
        dilation: 1,
    };
    window.along(length, input)
}

fn pooling(shape: Vec<usize>, kernel: &[u64]) -> Result<Effect, String> {
    let flops = product(&[output_elements(&shape)?, product(kernel)?])?;
    Ok(Effect {
        flops,
        ..Effect::moves(shape)
    })
}

pub(super) fn global_pool(input: &[usize]) -> Result<Effect, String> {
    if input.len() < 2 {
        return Err(format!(
            "needs channels of something, [channels, length] or [channels, height, width], and gets {}",
            show(input)
        ));
    }
    Ok(Effect {
        flops: output_elements(input)?,
        ..Effect::moves(vec![input[0]])
    })
}

fn line(input: &[usize]) -> Result<[usize; 2], String> {
    input.try_into().map_err(|_| {
        format!(
            "needs [channels, length], and gets {}: put a reshape layer before it",
            show(input)
        )
    })
}

fn image(input: &[usize]) -> Result<[usize; 3], String> {
    input.try_into().map_err(|_| {
        format!(
            "needs an image [channels, height, width], and gets {}",
            show(input)
        )
    })
}
