//! Operations that move values, or join them element by element.

use super::super::{
    MAX_AXES,
    options::{Concat, Mean, Reshape, Transpose},
    shape::{elements, output_elements, show},
};
use super::Effect;

/// The length of an axis.
pub(super) fn length_of(axis: usize, input: &[usize]) -> Result<usize, String> {
    input.get(axis).copied().ok_or_else(|| {
        format!(
            "axis {axis} is not one of {}: they are numbered from 0, without the batch",
            show(input)
        )
    })
}

pub(super) fn reshape(reshape: &Reshape, input: &[usize]) -> Result<Effect, String> {
    let wanted = &reshape.shape;
    if !(1..=MAX_AXES).contains(&wanted.len()) {
        return Err(format!("shape has 1 to {MAX_AXES} axes, without the batch"));
    }
    let size = output_elements(input)?;
    let known = wanted
        .iter()
        .filter(|axis| **axis != -1)
        .try_fold(1u64, |known, axis| {
            let axis = u64::try_from(*axis).ok().filter(|axis| *axis > 0)?;
            known.checked_mul(axis)
        })
        .ok_or("each axis of shape is at least 1, or -1 for one that follows from the others")?;
    let open = wanted.iter().filter(|axis| **axis == -1).count();
    let fits = match open {
        0 => known == size,
        1 => size.is_multiple_of(known),
        _ => return Err("only one axis of shape may be -1".to_owned()),
    };
    if !fits {
        return Err(format!(
            "shape {wanted:?} does not hold the {size} values of {}",
            show(input)
        ));
    }
    let shape = wanted
        .iter()
        .map(|axis| usize::try_from(*axis).unwrap_or_else(|_| (size / known) as usize))
        .collect();
    Ok(Effect::moves(shape))
}

pub(super) fn transpose(transpose: &Transpose, input: &[usize]) -> Result<Effect, String> {
    let axes = &transpose.axes;
    let mut sorted: Vec<usize> = axes.iter().copied().take(MAX_AXES + 1).collect();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..input.len()) {
        return Err(format!(
            "axes must name each axis of {} once, from 0, without the batch",
            show(input)
        ));
    }
    Ok(Effect::moves(
        axes.iter().map(|axis| input[*axis]).collect(),
    ))
}

pub(super) fn concat(concat: Concat, inputs: &[Vec<usize>]) -> Result<Effect, String> {
    let axis = concat.axis;
    let mut shape = inputs[0].clone();
    shape[..].get(axis).ok_or_else(|| {
        format!(
            "axis {axis} is not one of {}: they are numbered from 0, without the batch",
            show(&inputs[0])
        )
    })?;
    for other in &inputs[1..] {
        let alike = other.len() == shape.len()
            && (0..shape.len()).all(|at| at == axis || other[at] == shape[at]);
        if !alike {
            return Err(format!(
                "{} and {} differ in more than axis {axis}, along which they are joined",
                show(&inputs[0]),
                show(other)
            ));
        }
        shape[axis] = shape[axis]
            .checked_add(other[axis])
            .ok_or("it is too large")?;
    }
    Ok(Effect::moves(shape))
}

/// Of the same shapes, or of some where an axis has the length 1.
pub(super) fn join(inputs: &[Vec<usize>]) -> Result<Effect, String> {
    let mut shape = inputs[0].clone();
    for other in &inputs[1..] {
        let alike = other.len() == shape.len()
            && shape
                .iter()
                .zip(other)
                .all(|(one, other)| one == other || *one == 1 || *other == 1);
        if !alike {
            return Err(format!(
                "{} and {} cannot be joined element by element: make their shapes the same, with a dense or a 1x1 convolution on the shorter way",
                show(&inputs[0]),
                show(other)
            ));
        }
        for (one, other) in shape.iter_mut().zip(other) {
            *one = (*one).max(*other);
        }
    }
    let size = elements(&shape).unwrap_or(0);
    let joins = inputs.len() as u64 - 1;
    Ok(Effect {
        flops: size.saturating_mul(joins),
        kept: size.saturating_mul(joins - 1),
        ..Effect::moves(shape)
    })
}

pub(super) fn mean(mean: Mean, input: &[usize]) -> Result<Effect, String> {
    length_of(mean.axis, input)?;
    if input.len() == 1 {
        return Err(format!(
            "would leave no axis of {}: it takes the mean of steps or images",
            show(input)
        ));
    }
    let mut shape = input.to_vec();
    shape.remove(mean.axis);
    Ok(Effect {
        flops: output_elements(input)?,
        ..Effect::moves(shape)
    })
}

pub(super) fn last(input: &[usize]) -> Result<Effect, String> {
    if input.len() < 2 {
        return Err(format!(
            "needs a sequence [steps, features], and gets {}",
            show(input)
        ));
    }
    Ok(Effect::moves(input[1..].to_vec()))
}
