//! What moves numbers from place to place.

use burn::tensor::{Device, Int, Tensor};
use embermesh_job::program::{Op, Pad, Padding, Slice, TensorType};

use super::join::stretch;
use super::{Operand, around, flat, these};

pub(super) fn apply(
    op: &Op,
    operands: Vec<Operand<'_>>,
    to: &TensorType,
    device: &Device,
) -> Result<Vec<Tensor<1>>, String> {
    if let Op::Concat(along) = op {
        let parts = operands
            .into_iter()
            .map(|part| part.along(along.axis))
            .collect();
        return Ok(vec![flat(Tensor::cat(parts, 1))]);
    }
    let [x] = these(operands)?;
    Ok(match op {
        Op::Reshape(_) => vec![x.x],
        Op::Transpose(transpose) => vec![permute(x.x, &x.of.shape, &transpose.axes)],
        Op::Slice(slice) => vec![self::slice(slice, x, device)],
        Op::Split(split) => {
            let x = x.along(split.axis);
            let mut start = 0;
            split
                .sizes
                .iter()
                .map(|&size| {
                    let part = x.clone().narrow(1, start, size);
                    start += size;
                    flat(part)
                })
                .collect()
        }
        Op::Expand(_) => vec![stretch(x.x, &x.of.shape, &to.shape)],
        Op::Pad(pad) => vec![padded(pad, x, device)],
        op => return Err(format!("{} cannot be done", op.word())),
    })
}

/// The axes in another order. Axes of length 1 go anywhere, and neighbours that stay
/// neighbours are one.
pub(super) fn permute(x: Tensor<1>, shape: &[usize], axes: &[usize]) -> Tensor<1> {
    let axes: Vec<usize> = axes
        .iter()
        .copied()
        .filter(|&axis| shape[axis] != 1)
        .collect();
    let mut groups: Vec<(usize, usize)> = Vec::new();
    let mut last = None;
    for &axis in &axes {
        let between = last.map(|last: usize| (last + 1..axis).all(|axis| shape[axis] == 1));
        match (groups.last_mut(), last) {
            (Some(group), Some(last)) if last < axis && between == Some(true) => {
                group.1 *= shape[axis];
            }
            _ => groups.push((axis, shape[axis])),
        }
        last = Some(axis);
    }
    if groups.len() < 2 {
        return x;
    }
    // The groups in the order of the input.
    let mut sorted: Vec<usize> = (0..groups.len()).collect();
    sorted.sort_by_key(|&at| groups[at].0);
    let lengths: Vec<usize> = sorted.iter().map(|&at| groups[at].1).collect();
    let order: Vec<usize> = (0..groups.len())
        .map(|at| sorted.iter().position(|&other| other == at).unwrap_or(at))
        .collect();
    match groups.len() {
        2 => permuted::<2>(x, &lengths, &order),
        3 => permuted::<3>(x, &lengths, &order),
        4 => permuted::<4>(x, &lengths, &order),
        5 | 6 => permuted::<6>(x, &lengths, &order),
        _ => permuted::<8>(x, &lengths, &order),
    }
}

fn permuted<const D: usize>(x: Tensor<1>, lengths: &[usize], order: &[usize]) -> Tensor<1> {
    let more = D - lengths.len();
    let mut dims = [1; D];
    dims[more..].copy_from_slice(lengths);
    let mut axes = [0; D];
    for (at, axis) in axes.iter_mut().enumerate() {
        *axis = match at.checked_sub(more) {
            None => at,
            Some(at) => order[at] + more,
        };
    }
    let x: Tensor<D> = x.reshape(dims);
    flat(x.permute(axes))
}

fn slice(slice: &Slice, x: Operand<'_>, device: &Device) -> Tensor<1> {
    let x = x.along(slice.axis);
    if slice.step == 1 {
        return flat(x.narrow(1, slice.start, slice.length));
    }
    let start = slice.start as i64;
    let places = (0..slice.length as i64).map(|at| start + at * slice.step);
    flat(x.select(1, places_on(device, places)))
}

/// Places along an axis, which are within it.
pub(super) fn places_on(device: &Device, places: impl Iterator<Item = i64>) -> Tensor<1, Int> {
    let places: Vec<i64> = places.collect();
    Tensor::from_ints(&places[..], device)
}

fn padded(pad: &Pad, x: Operand<'_>, device: &Device) -> Tensor<1> {
    let mut shape = x.of.shape.clone();
    let mut x = x.x;
    for axis in 0..shape.len() {
        let (before, after) = (pad.before[axis], pad.after[axis]);
        if before == 0 && after == 0 {
            continue;
        }
        let parts = around(&shape, axis);
        let [outer, length, inner] = parts;
        let lines: Tensor<3> = x.reshape(parts);
        x = flat(match pad.mode {
            Padding::Constant => {
                let full =
                    |count: usize| Tensor::full([outer, count, inner], pad.value as f32, device);
                let mut parts = Vec::with_capacity(3);
                if before > 0 {
                    parts.push(full(before));
                }
                parts.push(lines);
                if after > 0 {
                    parts.push(full(after));
                }
                Tensor::cat(parts, 1)
            }
            mode => {
                let last = length as i64 - 1;
                let all = -(before as i64)..(length + after) as i64;
                let places = all.map(|at| match mode {
                    Padding::Reflect if at < 0 => -at,
                    Padding::Reflect if at > last => 2 * last - at,
                    _ => at.clamp(0, last),
                });
                lines.select(1, places_on(device, places))
            }
        });
        shape[axis] += before + after;
    }
    x
}
