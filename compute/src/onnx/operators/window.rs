//! Convolutions and poolings.

use embermesh_job::program::{ConvTransposed, Convolve, Op, Pad, Padding, Reduce, Value, Windows};

use super::super::attributes::Attributes;
use super::super::graph::Importer;
use super::super::wire::NodeProto;
use super::{Made, made};

/// As good as minus infinity, and a number all the same: what the largest of a window
/// never is.
const LEAST: f64 = f32::MIN as f64;

pub(super) fn apply(importer: &mut Importer, node: &NodeProto) -> Made {
    match node.op_type.as_str() {
        "Conv" => conv(importer, node),
        "ConvTranspose" => transposed(importer, node),
        "MaxPool" | "AveragePool" => pool(importer, node),
        "GlobalAveragePool" | "GlobalMaxPool" => {
            let rank = importer.type_of(node, 0)?.shape.len();
            let reduce = Reduce {
                axes: (2..rank).collect(),
                keep: true,
            };
            if rank < 3 {
                return Err("it takes [samples, channels, ...]".to_owned());
            }
            let op = if node.op_type == "GlobalMaxPool" {
                Op::Max(reduce)
            } else {
                Op::Mean(reduce)
            };
            let x = importer.value(node, 0)?;
            made(importer.apply(op, &[x])?)
        }
        _ => Ok(None),
    }
}

/// How windows go over axes, as the attributes say it.
struct Way {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
}

fn way(node: &NodeProto, lengths: &[usize], kernel: Vec<usize>) -> Result<Way, String> {
    let attributes = Attributes(node);
    let axes = lengths.len();
    let list = |name: &str, usual: usize| -> Result<Vec<usize>, String> {
        let list = attributes.sizes(name)?;
        match list.len() {
            0 => Ok(vec![usual; axes]),
            count if count == axes => Ok(list),
            count => Err(format!("{name} has {count} numbers for {axes} axes")),
        }
    };
    if kernel.len() != axes || kernel.contains(&0) {
        return Err(format!("the kernel {kernel:?} is not one over {axes} axes"));
    }
    let (stride, dilation) = (list("strides", 1)?, list("dilations", 1)?);
    if stride.contains(&0) || dilation.contains(&0) {
        return Err("strides and dilations are at least 1".to_owned());
    }
    let auto = attributes.text("auto_pad", "NOTSET");
    let (mut before, mut after) = (vec![0; axes], vec![0; axes]);
    match auto {
        "NOTSET" => {
            let pads = attributes.sizes("pads")?;
            if !pads.is_empty() && pads.len() != 2 * axes {
                return Err(format!("pads {pads:?} are not two for each axis"));
            }
            if !pads.is_empty() {
                before.copy_from_slice(&pads[..axes]);
                after.copy_from_slice(&pads[axes..]);
            }
        }
        "VALID" => {}
        "SAME_UPPER" | "SAME_LOWER" => {
            for axis in 0..axes {
                let out = lengths[axis].div_ceil(stride[axis]);
                let span = span(kernel[axis], dilation[axis])?;
                let needed = (out - 1)
                    .checked_mul(stride[axis])
                    .and_then(|far| far.checked_add(span))
                    .ok_or("it is too large")?;
                let all = needed.saturating_sub(lengths[axis]);
                let (less, more) = (all / 2, all - all / 2);
                (before[axis], after[axis]) = if auto == "SAME_UPPER" {
                    (less, more)
                } else {
                    (more, less)
                };
            }
        }
        other => return Err(format!("auto_pad {other:?} is not read")),
    }
    Ok(Way {
        kernel,
        stride,
        dilation,
        before,
        after,
    })
}

fn span(kernel: usize, dilation: usize) -> Result<usize, String> {
    (kernel - 1)
        .checked_mul(dilation)
        .and_then(|span| span.checked_add(1))
        .ok_or_else(|| "it is too large".to_owned())
}

/// More numbers around the axes that windows go along.
fn padded(
    importer: &mut Importer,
    x: Value,
    before: &[usize],
    after: &[usize],
    value: f64,
) -> Result<Value, String> {
    let all = |amounts: &[usize]| [&[0, 0][..], amounts].concat();
    let pad = Pad {
        before: all(before),
        after: all(after),
        mode: Padding::Constant,
        value,
    };
    importer.apply(Op::Pad(pad), &[x])
}

/// The axes that windows go along.
fn lengths(importer: &Importer, node: &NodeProto) -> Result<Vec<usize>, String> {
    let of = importer.type_of(node, 0)?;
    match of.shape.get(2..) {
        Some(lengths) if (1..=2).contains(&lengths.len()) => Ok(lengths.to_vec()),
        _ => Err(format!(
            "it takes one or two axes after samples and channels, not {of}"
        )),
    }
}

fn conv(importer: &mut Importer, node: &NodeProto) -> Made {
    let lengths = lengths(importer, node)?;
    let weight = importer.type_of(node, 1)?.shape;
    let kernel = weight.get(2..).unwrap_or_default().to_vec();
    let way = way(node, &lengths, kernel)?;
    let groups = usize::try_from(Attributes(node).int("group", 1)).unwrap_or(0);
    let mut values = importer.values(node)?;
    let mut padding = way.before.clone();
    if way.before != way.after {
        values[0] = padded(importer, values[0], &way.before, &way.after, 0.0)?;
        padding.fill(0);
    }
    let conv = Convolve {
        stride: way.stride,
        padding,
        dilation: way.dilation,
        groups,
    };
    made(importer.apply(Op::Conv(conv), &values)?)
}

fn transposed(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    if attributes.has("output_shape") || attributes.text("auto_pad", "NOTSET") != "NOTSET" {
        return Err("output_shape and auto_pad are not read: give pads".to_owned());
    }
    let lengths = lengths(importer, node)?;
    let weight = importer.type_of(node, 1)?.shape;
    let kernel = weight.get(2..).unwrap_or_default().to_vec();
    let way = way(node, &lengths, kernel)?;
    if way.before != way.after {
        return Err("pads differ at both ends of an axis, which is not read".to_owned());
    }
    let output_padding = attributes.sizes("output_padding")?;
    let conv = ConvTransposed {
        stride: way.stride,
        padding: way.before,
        output_padding,
        dilation: way.dilation,
        groups: usize::try_from(attributes.int("group", 1)).unwrap_or(0),
    };
    let values = importer.values(node)?;
    made(importer.apply(Op::ConvTranspose(conv), &values)?)
}

fn pool(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    if node.output.iter().skip(1).any(|name| !name.is_empty()) {
        return Err("the places of the largest are not given".to_owned());
    }
    let lengths = lengths(importer, node)?;
    let mut way = way(node, &lengths, attributes.sizes("kernel_shape")?)?;
    if way.dilation.iter().any(|&dilation| dilation != 1) {
        return Err("dilations other than 1 are not read".to_owned());
    }
    let mut x = importer.value(node, 0)?;
    let is_max = node.op_type == "MaxPool";
    let count_padding = attributes.flag("count_include_pad", false);
    if attributes.flag("ceil_mode", false) {
        for (axis, &length) in lengths.iter().enumerate() {
            let padded = way.before[axis]
                .checked_add(length)
                .and_then(|sum| sum.checked_add(way.after[axis]))
                .ok_or("it is too large")?;
            let rest = padded
                .checked_sub(way.kernel[axis])
                .ok_or("its kernel does not fit")?;
            let more = rest.next_multiple_of(way.stride[axis]) - rest;
            // A window that would begin in what is added is none.
            let starts = rest.div_ceil(way.stride[axis]) * way.stride[axis];
            if more > 0 && starts < way.before[axis] + length {
                way.after[axis] += more;
            }
        }
    }
    let mut padding = way.before.clone();
    let uneven = way.before != way.after
        || (0..lengths.len()).any(|axis| way.before[axis] > way.kernel[axis] / 2);
    if uneven {
        if !is_max && !count_padding {
            return uneven_mean(importer, x, &way, &lengths);
        }
        if !is_max && attributes.flag("ceil_mode", false) {
            return Err(
                "a mean over padding that differs at both ends, with ceil_mode, is not read"
                    .to_owned(),
            );
        }
        let around = if is_max { LEAST } else { 0.0 };
        x = padded(importer, x, &way.before, &way.after, around)?;
        padding.fill(0);
    }
    let windows = Windows {
        kernel: way.kernel,
        stride: way.stride,
        padding,
        count_padding,
    };
    let op = if is_max {
        Op::MaxPool(windows)
    } else {
        Op::AvgPool(windows)
    };
    made(importer.apply(op, &[x])?)
}

/// The mean of what of each window is there: of numbers, with zeros around them, over
/// the mean of ones, with zeros around them.
fn uneven_mean(importer: &mut Importer, x: Value, way: &Way, lengths: &[usize]) -> Made {
    use super::super::literal::Literal;
    use embermesh_job::program::{Bare, Expand, Kind};
    let windows = Windows {
        kernel: way.kernel.clone(),
        stride: way.stride.clone(),
        padding: Vec::new(),
        count_padding: true,
    };
    let one = importer.constant("one", Literal::filled(Kind::Float, &[], 1.0))?;
    let shape = [&[1, 1][..], lengths].concat();
    let ones = importer.apply(Op::Expand(Expand { shape }), &[one])?;
    let mut means = Vec::with_capacity(2);
    for of in [x, ones] {
        let of = padded(importer, of, &way.before, &way.after, 0.0)?;
        means.push(importer.apply(Op::AvgPool(windows.clone()), &[of])?);
    }
    made(importer.apply(Op::Div(Bare {}), &means)?)
}
