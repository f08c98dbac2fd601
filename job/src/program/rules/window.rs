//! Convolutions and poolings over one or two axes.

use super::super::options::{ConvTransposed, Convolve, Windows};
use super::super::{Kind, Op, TensorType};
use super::{Effect, count, kind, shape_is, takes};

/// The largest number of an option: nothing real comes near.
const MAX_OPTION: usize = 1 << 20;

pub(super) fn apply(op: &Op, reads: &[&TensorType]) -> Result<Effect, String> {
    for x in reads {
        kind("an operand", x, &[Kind::Float])?;
    }
    match (op, reads) {
        (Op::Conv(conv), [x, weight, rest @ ..]) if rest.len() < 2 => {
            convolution(conv, x, weight, rest.first().copied())
        }
        (Op::ConvTranspose(conv), [x, weight, rest @ ..]) if rest.len() < 2 => {
            transposed(conv, x, weight, rest.first().copied())
        }
        (Op::MaxPool(pool) | Op::AvgPool(pool), [x]) => pooling(pool, x),
        (Op::MaxPool(_) | Op::AvgPool(_), _) => Err(takes("one tensor", reads)),
        _ => Err(takes("a tensor, filters, and perhaps a bias", reads)),
    }
}

/// Samples, channels, and the axes that windows go along.
fn channelled(x: &TensorType) -> Result<(usize, usize, &[usize]), String> {
    match x.shape[..] {
        [samples, channels, ref axes @ ..] if (1..=2).contains(&axes.len()) => {
            Ok((samples, channels, axes))
        }
        _ => Err(format!(
            "takes [samples, channels, length] or [samples, channels, height, width], and gets {x}"
        )),
    }
}

/// A number an axis; the usual one where none is given.
fn numbers(
    what: &str,
    given: &[usize],
    axes: usize,
    usual: usize,
    least: usize,
) -> Result<Vec<usize>, String> {
    if given.is_empty() {
        return Ok(vec![usual; axes]);
    }
    if given.len() != axes {
        return Err(format!(
            "{what} {given:?} needs a number for each of {axes} axes"
        ));
    }
    if given.iter().any(|&at| at < least || at > MAX_OPTION) {
        return Err(format!(
            "{what} {given:?} is not from {least} to {MAX_OPTION}"
        ));
    }
    Ok(given.to_vec())
}

/// How often a window fits along an axis.
fn along(
    length: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<usize> {
    let span = (kernel.checked_sub(1)?)
        .checked_mul(dilation)?
        .checked_add(1)?;
    let padded = padding.checked_mul(2)?.checked_add(length)?;
    Some(padded.checked_sub(span)? / stride + 1)
}

fn convolution(
    conv: &Convolve,
    x: &TensorType,
    weight: &TensorType,
    bias: Option<&TensorType>,
) -> Result<Effect, String> {
    let (samples, channels, axes) = channelled(x)?;
    let refused = || format!("filters {weight} do not fit {x} in {} groups", conv.groups);
    let [filters, depth, ref kernel @ ..] = weight.shape[..] else {
        return Err(refused());
    };
    let fits = conv.groups > 0
        && kernel.len() == axes.len()
        && filters.is_multiple_of(conv.groups)
        && depth.checked_mul(conv.groups) == Some(channels);
    if !fits {
        return Err(refused());
    }
    let stride = numbers("stride", &conv.stride, axes.len(), 1, 1)?;
    let padding = numbers("padding", &conv.padding, axes.len(), 0, 0)?;
    let dilation = numbers("dilation", &conv.dilation, axes.len(), 1, 1)?;
    let mut shape = vec![samples, filters];
    for axis in 0..axes.len() {
        let fit = along(
            axes[axis],
            kernel[axis],
            stride[axis],
            padding[axis],
            dilation[axis],
        );
        shape.push(fit.ok_or_else(|| format!("kernel {kernel:?} does not fit {x}"))?);
    }
    if let Some(bias) = bias {
        shape_is("its bias", bias, &[filters])?;
    }
    let output = TensorType::floats(shape);
    let seen = count(kernel).saturating_mul(depth as u64);
    let flops = output.len().saturating_mul(2).saturating_mul(seen);
    Ok(Effect::each(output, 1).costing(flops))
}

fn transposed(
    conv: &ConvTransposed,
    x: &TensorType,
    weight: &TensorType,
    bias: Option<&TensorType>,
) -> Result<Effect, String> {
    let (samples, channels, axes) = channelled(x)?;
    let refused = || format!("filters {weight} do not fit {x} in {} groups", conv.groups);
    let [depth, filters, ref kernel @ ..] = weight.shape[..] else {
        return Err(refused());
    };
    let fits = conv.groups > 0
        && kernel.len() == axes.len()
        && depth == channels
        && channels.is_multiple_of(conv.groups);
    if !fits {
        return Err(refused());
    }
    let filters = filters.checked_mul(conv.groups).ok_or_else(refused)?;
    let stride = numbers("stride", &conv.stride, axes.len(), 1, 1)?;
    let padding = numbers("padding", &conv.padding, axes.len(), 0, 0)?;
    let added = numbers("output_padding", &conv.output_padding, axes.len(), 0, 0)?;
    let dilation = numbers("dilation", &conv.dilation, axes.len(), 1, 1)?;
    let mut shape = vec![samples, filters];
    for axis in 0..axes.len() {
        if added[axis] >= stride[axis].max(dilation[axis]) {
            return Err("output_padding must be smaller than stride or dilation".to_owned());
        }
        let length = (axes[axis] - 1)
            .checked_mul(stride[axis])
            .and_then(|far| far.checked_add((kernel[axis] - 1).checked_mul(dilation[axis])?))
            .and_then(|far| far.checked_add(added[axis] + 1))
            .and_then(|far| far.checked_sub(2 * padding[axis]))
            .filter(|length| *length > 0);
        shape.push(length.ok_or_else(|| format!("padding {padding:?} leaves nothing of {x}"))?);
    }
    if let Some(bias) = bias {
        shape_is("its bias", bias, &[filters])?;
    }
    let seen = count(kernel).saturating_mul((filters / conv.groups) as u64);
    let flops = x.len().saturating_mul(2).saturating_mul(seen);
    Ok(Effect::each(TensorType::floats(shape), 1).costing(flops))
}

fn pooling(pool: &Windows, x: &TensorType) -> Result<Effect, String> {
    let (samples, channels, axes) = channelled(x)?;
    let kernel = numbers("kernel", &pool.kernel, axes.len(), 0, 1)?;
    if pool.kernel.is_empty() {
        return Err("kernel has a number for each axis that windows go along".to_owned());
    }
    let padding = numbers("padding", &pool.padding, axes.len(), 0, 0)?;
    let stride = if pool.stride.is_empty() {
        kernel.clone()
    } else {
        numbers("stride", &pool.stride, axes.len(), 1, 1)?
    };
    let mut shape = vec![samples, channels];
    for axis in 0..axes.len() {
        if padding[axis] > kernel[axis] / 2 {
            return Err(format!(
                "padding {padding:?} is more than half of kernel {kernel:?}"
            ));
        }
        let fit = along(axes[axis], kernel[axis], stride[axis], padding[axis], 1);
        shape.push(fit.ok_or_else(|| format!("kernel {kernel:?} does not fit {x}"))?);
    }
    let output = TensorType::floats(shape);
    let flops = output.len().saturating_mul(count(&kernel));
    Ok(Effect::each(output, 1).costing(flops))
}
