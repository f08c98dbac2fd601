//! Operators that tell of shapes, and that give numbers another one.

use std::rc::Rc;

use embermesh_job::program::{Along, Expand, Kind, Op, Reordered, Reshaped, Slice, Split, Value};

use super::super::attributes::Attributes;
use super::super::graph::{Entry, Importer};
use super::super::literal::Literal;
use super::super::wire::NodeProto;
use super::{Made, axes, made};

pub(super) fn apply(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    match node.op_type.as_str() {
        "Shape" => {
            let shape = importer.type_of(node, 0)?.shape;
            let rank = shape.len() as i64;
            let at = |name: &str, usual: i64| {
                let place = attributes.int(name, usual);
                let place = if place < 0 {
                    place.saturating_add(rank)
                } else {
                    place
                };
                place.clamp(0, rank) as usize
            };
            let (start, end) = (at("start", 0), at("end", rank));
            let sizes = shape.get(start..end.max(start)).unwrap_or_default();
            known(Literal::ints(
                sizes.iter().map(|&size| size as i64).collect(),
            ))
        }
        "Size" => {
            let of = importer.type_of(node, 0)?;
            let size: usize = of.shape.iter().product();
            known(Literal::filled(Kind::Int, &[], size as f64))
        }
        "Reshape" => {
            let shape = importer.type_of(node, 0)?.shape;
            let wanted = importer.ints(node, 1, "shape")?;
            let shape = reshape(&shape, &wanted, attributes.flag("allowzero", false))?;
            reshaped(importer, node, shape)
        }
        "Flatten" => {
            let shape = importer.type_of(node, 0)?.shape;
            let axis = attributes.int("axis", 1);
            let axis = if axis == shape.len() as i64 {
                shape.len()
            } else {
                axes::axis(axis, shape.len())?
            };
            let both = [
                shape[..axis].iter().product(),
                shape[axis..].iter().product(),
            ];
            reshaped(importer, node, both.to_vec())
        }
        "Squeeze" | "Unsqueeze" => {
            let shape = importer.type_of(node, 0)?.shape;
            let list = if importer.has(node, 1) {
                Some(importer.ints(node, 1, "list of axes")?)
            } else {
                attributes.ints("axes").map(<[i64]>::to_vec)
            };
            let shape = if node.op_type == "Squeeze" {
                axes::squeezed(&shape, list.as_deref())?
            } else {
                axes::unsqueezed(&shape, &list.ok_or("it has no list of axes")?)?
            };
            reshaped(importer, node, shape)
        }
        "Transpose" => {
            let rank = importer.type_of(node, 0)?.shape.len();
            let order = match attributes.ints("perm") {
                Some(list) => list
                    .iter()
                    .map(|&axis| axes::axis(axis, rank))
                    .collect::<Result<_, _>>()?,
                None => (0..rank).rev().collect(),
            };
            let x = importer.value(node, 0)?;
            made(importer.apply(Op::Transpose(Reordered { axes: order }), &[x])?)
        }
        "Concat" => concat(importer, node),
        "Split" => split(importer, node),
        "Slice" => slice(importer, node),
        "Gather" | "GatherElements" => {
            let rank = importer.type_of(node, 0)?.shape.len();
            let axis = axes::axis(attributes.int("axis", 0), rank)?;
            let values = importer.values(node)?;
            let op = if node.op_type == "Gather" {
                Op::Gather(Along { axis })
            } else {
                Op::GatherElements(Along { axis })
            };
            made(importer.apply(op, &values)?)
        }
        "Expand" => {
            let shape = importer.type_of(node, 0)?.shape;
            let wanted = sizes(&importer.ints(node, 1, "shape")?)?;
            let x = importer.value(node, 0)?;
            let shape = stretched(&shape, &wanted)?;
            made(importer.apply(Op::Expand(Expand { shape }), &[x])?)
        }
        "ConstantOfShape" => {
            let shape = sizes(&importer.ints(node, 0, "shape")?)?;
            let of = match attributes.tensor("value") {
                Some(tensor) => tensor?,
                None => Literal::floats(&[1], vec![0.0]),
            };
            let value = importer.number(of.kind, of.single().unwrap_or(0.0))?;
            made(importer.apply(Op::Expand(Expand { shape }), &[value])?)
        }
        _ => Ok(None),
    }
}

fn known(literal: Literal) -> Made {
    Ok(Some(vec![Entry::Known(Rc::new(literal), None)]))
}

pub(super) fn sizes(list: &[i64]) -> Result<Vec<usize>, String> {
    list.iter()
        .map(|&size| usize::try_from(size).map_err(|_| format!("an axis of {size}")))
        .collect()
}

fn reshaped(importer: &mut Importer, node: &NodeProto, shape: Vec<usize>) -> Made {
    let x = importer.value(node, 0)?;
    made(reshape_to(importer, x, &shape)?)
}

pub(super) fn reshape_to(
    importer: &mut Importer,
    x: Value,
    shape: &[usize],
) -> Result<Value, String> {
    let shape = shape
        .iter()
        .map(|&axis| i64::try_from(axis).map_err(|_| "an axis is too long".to_owned()))
        .collect::<Result<Vec<_>, _>>()?;
    importer.apply(Op::Reshape(Reshaped { shape }), &[x])
}

/// The shape that a reshape asks for: 0 is the same axis of the input, -1 what is
/// left.
pub(in super::super) fn reshape(
    shape: &[usize],
    wanted: &[i64],
    zero_is_zero: bool,
) -> Result<Vec<usize>, String> {
    let refused = || format!("{shape:?} cannot be reshaped to {wanted:?}");
    let mut out = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &size) in wanted.iter().enumerate() {
        out.push(match size {
            -1 if open.replace(axis).is_some() => return Err(refused()),
            -1 => 1,
            0 if !zero_is_zero => *shape.get(axis).ok_or_else(refused)?,
            size => usize::try_from(size).map_err(|_| refused())?,
        });
    }
    let count = |shape: &[usize]| {
        shape
            .iter()
            .try_fold(1_usize, |count, &axis| count.checked_mul(axis))
            .ok_or_else(refused)
    };
    let (all, given) = (count(shape)?, count(&out)?);
    match open {
        Some(axis) if given > 0 && all.is_multiple_of(given) => out[axis] = all / given,
        None if all == given => {}
        _ => return Err(refused()),
    }
    Ok(out)
}

/// The shape that two stretch to.
fn stretched(x: &[usize], y: &[usize]) -> Result<Vec<usize>, String> {
    let rank = x.len().max(y.len());
    let at = |shape: &[usize], axis: usize| {
        axis.checked_sub(rank - shape.len())
            .map_or(1, |axis| shape[axis])
    };
    (0..rank)
        .map(|axis| match (at(x, axis), at(y, axis)) {
            (1, other) | (other, 1) => Ok(other),
            (one, other) if one == other => Ok(one),
            _ => Err(format!("{x:?} does not stretch to {y:?}")),
        })
        .collect()
}

fn concat(importer: &mut Importer, node: &NodeProto) -> Made {
    let mut values = Vec::with_capacity(node.input.len());
    for index in 0..node.input.len() {
        // Nothing adds nothing.
        if !importer.type_of(node, index)?.shape.contains(&0) {
            values.push(importer.value(node, index)?);
        }
    }
    let &first = values.first().ok_or("it has no operands")?;
    let rank = importer.builder.type_of(first).shape.len();
    let axis = axes::axis(Attributes(node).int("axis", 1), rank)?;
    if values.len() == 1 {
        return made(first);
    }
    made(importer.apply(Op::Concat(Along { axis }), &values)?)
}

fn split(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let shape = importer.type_of(node, 0)?.shape;
    let axis = axes::axis(attributes.int("axis", 0), shape.len())?;
    let sizes = if importer.has(node, 1) {
        sizes(&importer.ints(node, 1, "list of sizes")?)?
    } else if attributes.has("split") {
        attributes.sizes("split")?
    } else {
        let parts = usize::try_from(attributes.int("num_outputs", node.output.len() as i64))
            .ok()
            .filter(|&parts| parts > 0 && parts <= shape[axis])
            .ok_or("it does not say in how many parts")?;
        let each = shape[axis].div_ceil(parts);
        let mut left = shape[axis];
        (0..parts)
            .map(|_| {
                let size = each.min(left);
                left -= size;
                size
            })
            .collect()
    };
    let x = importer.value(node, 0)?;
    let gives = importer.apply_all(Op::Split(Split { axis, sizes }), &[x])?;
    Ok(Some(gives.into_iter().map(Entry::Made).collect()))
}

fn slice(importer: &mut Importer, node: &NodeProto) -> Made {
    let attributes = Attributes(node);
    let shape = importer.type_of(node, 0)?.shape;
    let list = |importer: &Importer, index: usize, name: &str| {
        if importer.opset < 10 {
            return Ok(attributes.ints(name).map(<[i64]>::to_vec));
        }
        importer
            .has(node, index)
            .then(|| importer.ints(node, index, name))
            .transpose()
    };
    let starts = list(importer, 1, "starts")?.ok_or("it has no starts")?;
    let ends = list(importer, 2, "ends")?.ok_or("it has no ends")?;
    let along = list(importer, 3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(importer, 4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || along.len() != starts.len() || steps.len() != starts.len() {
        return Err("starts, ends, axes and steps are not as many".to_owned());
    }
    let mut x = importer.value(node, 0)?;
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(along).zip(steps) {
        let axis = axes::axis(axis, shape.len())?;
        let (start, length) = axes::slice(shape[axis], start, end, step)?;
        if length == shape[axis] && step == 1 {
            continue;
        }
        let part = Slice {
            axis,
            start,
            length,
            step,
        };
        x = importer.apply(Op::Slice(part), &[x])?;
    }
    made(x)
}
