//! Operations that move numbers, and look them up.

use super::super::options::{Along, Expand, OneHot, Pad, Padding, Reshaped, Slice, Split};
use super::super::{
    Kind, Op, TensorType,
    tensor::{broadcast, elements, length_of},
};
use super::{Effect, kind, same_kind, sized, takes};

/// The most parts that a tensor is split into.
const MAX_PARTS: usize = 1024;

pub(super) fn apply(op: &Op, reads: &[&TensorType]) -> Result<Effect, String> {
    match (op, reads) {
        (Op::Concat(along), [first, ..]) => concat(along, first, reads),
        (Op::Concat(_), []) => Err(takes("at least one tensor", reads)),
        (Op::Gather(along), [x, ids]) => gather(along, x, ids),
        (Op::GatherElements(along), [x, ids]) => gather_elements(along, x, ids),
        (Op::Gather(_) | Op::GatherElements(_), _) => {
            Err(takes("two tensors: values and whole numbers", reads))
        }
        (_, [x]) => one(op, x),
        _ => Err(takes("one tensor", reads)),
    }
}

fn one(op: &Op, x: &TensorType) -> Result<Effect, String> {
    match op {
        Op::Reshape(reshape) => Ok(Effect::moves(x.shaped(reshaped(reshape, x)?))),
        Op::Transpose(transpose) => {
            let mut seen = vec![false; x.shape.len()];
            for &axis in &transpose.axes {
                length_of(axis, &x.shape)?;
                seen[axis] = true;
            }
            if transpose.axes.len() != x.shape.len() || seen.contains(&false) {
                return Err(format!(
                    "axes {:?} are not those of {x} in another order",
                    transpose.axes
                ));
            }
            let shape: Vec<usize> = transpose.axes.iter().map(|&axis| x.shape[axis]).collect();
            Ok(Effect::moves(x.shaped(shape)))
        }
        Op::Slice(slice) => {
            let length = sliced(slice, x)?;
            let mut shape = x.shape.clone();
            shape[slice.axis] = length;
            Ok(Effect::moves(x.shaped(shape)))
        }
        Op::Split(split) => parts(split, x),
        Op::Expand(expand) => expanded(expand, x),
        Op::Pad(pad) => padded(pad, x),
        Op::CumSum(along) => {
            kind("it", x, &[Kind::Float, Kind::Int])?;
            length_of(along.axis, &x.shape)?;
            Ok(Effect::each(x.clone(), 1))
        }
        Op::OneHot(one_hot) => hot(one_hot, x),
        op => Err(format!("{} takes other operands", op.word())),
    }
}

fn reshaped(reshape: &Reshaped, x: &TensorType) -> Result<Vec<usize>, String> {
    let refused = || format!("{x} cannot be reshaped to {:?}", reshape.shape);
    let open = reshape.shape.iter().filter(|&&axis| axis == -1).count();
    if open > 1 || reshape.shape.iter().any(|&axis| axis < -1 || axis == 0) {
        return Err(refused());
    }
    let known: Vec<usize> = reshape
        .shape
        .iter()
        .filter(|&&axis| axis > 0)
        .map(|&axis| usize::try_from(axis).map_err(|_| refused()))
        .collect::<Result<_, _>>()?;
    let known = elements(&known).ok_or_else(refused)?;
    let size = sized(&x.shape)?;
    if !size.is_multiple_of(known) || (open == 0 && size != known) {
        return Err(refused());
    }
    let rest = usize::try_from(size / known).map_err(|_| refused())?;
    Ok(reshape
        .shape
        .iter()
        .map(|&axis| usize::try_from(axis).unwrap_or(rest))
        .collect())
}

fn sliced(slice: &Slice, x: &TensorType) -> Result<usize, String> {
    let length = length_of(slice.axis, &x.shape)?;
    let refused = || {
        format!(
            "{} places from {} on in steps of {} are not within an axis of {length}",
            slice.length, slice.start, slice.step
        )
    };
    if slice.length == 0 || slice.step == 0 || slice.start >= length {
        return Err(refused());
    }
    let last = i64::try_from(slice.length - 1)
        .ok()
        .and_then(|steps| steps.checked_mul(slice.step))
        .and_then(|far| far.checked_add(i64::try_from(slice.start).ok()?))
        .ok_or_else(refused)?;
    match usize::try_from(last) {
        Ok(last) if last < length => Ok(slice.length),
        _ => Err(refused()),
    }
}

fn parts(split: &Split, x: &TensorType) -> Result<Effect, String> {
    let length = length_of(split.axis, &x.shape)?;
    let sum = split
        .sizes
        .iter()
        .try_fold(0_usize, |sum, &size| sum.checked_add(size));
    if sum != Some(length) || split.sizes.contains(&0) || split.sizes.len() > MAX_PARTS {
        return Err(format!(
            "parts of {:?} do not make up an axis of {length}",
            split.sizes
        ));
    }
    let outputs = split
        .sizes
        .iter()
        .map(|&size| {
            let mut shape = x.shape.clone();
            shape[split.axis] = size;
            x.shaped(shape)
        })
        .collect();
    Ok(Effect {
        outputs,
        flops: 0,
        kept: 0,
    })
}

fn expanded(expand: &Expand, x: &TensorType) -> Result<Effect, String> {
    if broadcast([&x.shape[..], &expand.shape])? != expand.shape {
        return Err(format!("{x} does not stretch to {:?}", expand.shape));
    }
    Ok(Effect::moves(x.shaped(expand.shape.clone())))
}

fn padded(pad: &Pad, x: &TensorType) -> Result<Effect, String> {
    if pad.before.len() != x.shape.len() || pad.after.len() != x.shape.len() {
        return Err(format!(
            "before {:?} and after {:?} need a number for each axis of {x}",
            pad.before, pad.after
        ));
    }
    if pad.value.is_nan() {
        return Err("what is put around it is no number".to_owned());
    }
    let mut shape = Vec::with_capacity(x.shape.len());
    for ((&length, &before), &after) in x.shape.iter().zip(&pad.before).zip(&pad.after) {
        if pad.mode == Padding::Reflect && before.max(after) >= length {
            return Err(format!(
                "{before} and {after} mirrored numbers are more than an axis of {length} has"
            ));
        }
        let padded = length
            .checked_add(before)
            .and_then(|sum| sum.checked_add(after));
        shape.push(padded.ok_or("padding is too large")?);
    }
    Ok(Effect::moves(x.shaped(shape)))
}

fn hot(one_hot: &OneHot, x: &TensorType) -> Result<Effect, String> {
    kind("it", x, &[Kind::Int])?;
    if one_hot.depth == 0 {
        return Err("depth must be at least 1".to_owned());
    }
    let mut shape = x.shape.clone();
    shape.push(one_hot.depth);
    Ok(Effect::each(TensorType::floats(shape), 1))
}

fn concat(along: &Along, first: &TensorType, reads: &[&TensorType]) -> Result<Effect, String> {
    length_of(along.axis, &first.shape)?;
    let mut shape = first.shape.clone();
    shape[along.axis] = 0;
    for other in reads {
        same_kind(first, other)?;
        let fits = other.shape.len() == shape.len()
            && (0..shape.len())
                .all(|axis| axis == along.axis || other.shape[axis] == first.shape[axis]);
        if !fits {
            return Err(format!(
                "{first} and {other} differ in more than axis {}",
                along.axis
            ));
        }
        shape[along.axis] = shape[along.axis]
            .checked_add(other.shape[along.axis])
            .ok_or("it is too large")?;
    }
    Ok(Effect::moves(first.shaped(shape)))
}

fn gather(along: &Along, x: &TensorType, ids: &TensorType) -> Result<Effect, String> {
    kind("the second operand", ids, &[Kind::Int])?;
    length_of(along.axis, &x.shape)?;
    let mut shape = x.shape[..along.axis].to_vec();
    shape.extend(&ids.shape);
    shape.extend(&x.shape[along.axis + 1..]);
    Ok(Effect::moves(x.shaped(shape)))
}

fn gather_elements(along: &Along, x: &TensorType, ids: &TensorType) -> Result<Effect, String> {
    kind("the second operand", ids, &[Kind::Int])?;
    length_of(along.axis, &x.shape)?;
    let fits = ids.shape.len() == x.shape.len()
        && (0..x.shape.len()).all(|axis| axis == along.axis || ids.shape[axis] == x.shape[axis]);
    if !fits {
        return Err(format!(
            "{x} and places {ids} differ in more than axis {}",
            along.axis
        ));
    }
    Ok(Effect::moves(x.shaped(ids.shape.clone())))
}
