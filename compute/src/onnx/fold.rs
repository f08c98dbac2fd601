//! What is computed here, on the host, because all of it is known: shapes, axes,
//! and conditions. Numbers are computed as 64-bit floats, in which whole numbers are
//! exact up to 2^53.

mod numbers;

use std::rc::Rc;

use embermesh_job::program::Kind;

use self::numbers::{cast, count, ints, joined, made, numbers, sizes, taken};
use super::attributes::Attributes;
use super::literal::{Data, Literal};
use super::operators::axes;
use super::wire::{self, NodeProto};

/// The most numbers of a tensor that is computed here; larger ones are left to the
/// device.
const MAX_NUMBERS: usize = 1 << 16;

type Operand = Option<Rc<Literal>>;

/// What comes of a node whose operands are known; none when it is left to the
/// device.
pub(super) fn apply(
    node: &NodeProto,
    opset: i64,
    operands: &[Operand],
) -> Result<Option<Vec<Literal>>, String> {
    let attributes = Attributes(node);
    if node.op_type == "Constant" {
        return constant(attributes).map(|literal| Some(vec![literal]));
    }
    if operands
        .iter()
        .flatten()
        .any(|literal| literal.len() > MAX_NUMBERS)
    {
        return Ok(None);
    }
    let folded = match operands {
        [Some(x)] => one(node, attributes, opset, x)?,
        [Some(x), Some(y)] => two(node, attributes, opset, x, y)?,
        [Some(x), Some(y), Some(z)] if node.op_type == "Where" => choose(x, y, z)?,
        [Some(x), Some(y), Some(z)] if node.op_type == "Range" => range(x, y, z)?,
        _ => None,
    };
    if let Some(literal) = folded {
        return Ok(Some(vec![literal]));
    }
    match node.op_type.as_str() {
        "Concat" => concat(attributes, operands).map(|literal| literal.map(|one| vec![one])),
        "Slice" if operands.len() > 1 => {
            slice(operands).map(|literal| literal.map(|one| vec![one]))
        }
        _ => Ok(None),
    }
}

fn constant(attributes: Attributes<'_>) -> Result<Literal, String> {
    if let Some(tensor) = attributes.tensor("value") {
        return tensor;
    }
    if attributes.has("value_int") {
        return Ok(Literal::filled(
            Kind::Int,
            &[],
            attributes.int("value_int", 0) as f64,
        ));
    }
    if attributes.has("value_float") {
        return Ok(Literal::floats(
            &[],
            vec![attributes.float("value_float", 0.0) as f32],
        ));
    }
    if let Some(ints) = attributes.ints("value_ints") {
        return Ok(Literal::ints(ints.to_vec()));
    }
    match attributes.floats("value_floats") {
        Some(floats) => Ok(Literal::floats(&[floats.len()], floats.to_vec())),
        None => Err("its value is no tensor of numbers".to_owned()),
    }
}

fn one(
    node: &NodeProto,
    attributes: Attributes<'_>,
    opset: i64,
    x: &Literal,
) -> Result<Option<Literal>, String> {
    let each = |f: fn(f64) -> f64| Some(made(x.kind, &x.shape, numbers(x).into_iter().map(f)));
    Ok(match node.op_type.as_str() {
        "Identity" => Some(x.clone()),
        "Neg" => each(|x| -x),
        "Abs" => each(f64::abs),
        "Floor" => each(f64::floor),
        "Ceil" => each(f64::ceil),
        "Sqrt" => each(f64::sqrt),
        "Not" => each(|x| f64::from(x == 0.0)),
        "Cast" => {
            let to = i32::try_from(attributes.int("to", 0)).unwrap_or(0);
            wire::kind(to).map(|kind| cast(x, kind))
        }
        "Squeeze" | "Unsqueeze" if opset < 13 || node.op_type == "Squeeze" => {
            let list = attributes.ints("axes");
            Some(squeeze(node, x, list)?)
        }
        "ConstantOfShape" => {
            let of = match attributes.tensor("value") {
                Some(tensor) => tensor?,
                None => Literal::floats(&[1], vec![0.0]),
            };
            let shape = sizes(x)?;
            let count = count(&shape)?;
            if count > MAX_NUMBERS {
                return Ok(None);
            }
            Some(Literal::filled(of.kind, &shape, of.single().unwrap_or(0.0)))
        }
        "NonZero" => Some(non_zero(x)),
        "Transpose" => Some(transposed(attributes, x)?),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin"
            if x.shape.len() == 1 && !x.is_empty() =>
        {
            let keep = attributes.flag("keepdims", true);
            let all = numbers(x).into_iter();
            let value = match node.op_type.as_str() {
                "ReduceProd" => all.product(),
                "ReduceSum" => all.sum(),
                "ReduceMax" => all.fold(f64::NEG_INFINITY, f64::max),
                _ => all.fold(f64::INFINITY, f64::min),
            };
            let shape: &[usize] = if keep { &[1] } else { &[] };
            Some(Literal::filled(x.kind, shape, value))
        }
        _ => None,
    })
}

fn two(
    node: &NodeProto,
    attributes: Attributes<'_>,
    opset: i64,
    x: &Literal,
    y: &Literal,
) -> Result<Option<Literal>, String> {
    let is_int = x.kind == Kind::Int;
    let join = |f: &dyn Fn(f64, f64) -> f64| joined(x, y, x.kind, f);
    let test = |f: &dyn Fn(f64, f64) -> bool| joined(x, y, Kind::Bool, &|x, y| f64::from(f(x, y)));
    match node.op_type.as_str() {
        "Add" => join(&|x, y| x + y),
        "Sub" => join(&|x, y| x - y),
        "Mul" => join(&|x, y| x * y),
        "Div" if is_int && numbers(y).contains(&0.0) => Err("divides by 0".to_owned()),
        "Div" if is_int => join(&|x, y| (x / y).trunc()),
        "Div" => join(&|x, y| x / y),
        "Mod" if is_int && numbers(y).contains(&0.0) => Err("divides by 0".to_owned()),
        "Mod" if is_int && !attributes.flag("fmod", false) => join(&|x, y| x - y * (x / y).floor()),
        "Max" => join(&f64::max),
        "Min" => join(&f64::min),
        "Equal" => test(&|x, y| x == y),
        "Less" => test(&|x, y| x < y),
        "LessOrEqual" => test(&|x, y| x <= y),
        "Greater" => test(&|x, y| x > y),
        "GreaterOrEqual" => test(&|x, y| x >= y),
        "And" => test(&|x, y| x != 0.0 && y != 0.0),
        "Or" => test(&|x, y| x != 0.0 || y != 0.0),
        "Gather" => gather(attributes, x, y),
        "Squeeze" | "Unsqueeze" if opset >= 13 => squeeze(node, x, y.as_ints()).map(Some),
        "Reshape" => {
            let shape =
                super::operators::reshape(&x.shape, ints(y)?, attributes.flag("allowzero", false))?;
            Ok(Some(Literal { shape, ..x.clone() }))
        }
        "Expand" => {
            let shape = sizes(y)?;
            if count(&shape)? > MAX_NUMBERS {
                return Ok(None);
            }
            let ones = Literal::filled(x.kind, &shape, 0.0);
            joined(x, &ones, x.kind, &|x, _| x)
        }
        _ => Ok(None),
    }
}

/// The same numbers without axes of length 1, or with more of them.
fn squeeze(node: &NodeProto, x: &Literal, list: Option<&[i64]>) -> Result<Literal, String> {
    let shape = if node.op_type == "Squeeze" {
        axes::squeezed(&x.shape, list)?
    } else {
        axes::unsqueezed(&x.shape, list.unwrap_or_default())?
    };
    Ok(Literal { shape, ..x.clone() })
}

fn gather(
    attributes: Attributes<'_>,
    x: &Literal,
    places: &Literal,
) -> Result<Option<Literal>, String> {
    let axis = axes::axis(attributes.int("axis", 0), x.shape.len())?;
    let length = x.shape[axis];
    let inner = count(&x.shape[axis + 1..])?;
    let outer = count(&x.shape[..axis])?;
    let mut from = Vec::with_capacity(places.len());
    for &place in ints(places)? {
        let place = if place < 0 {
            place + length as i64
        } else {
            place
        };
        let place = usize::try_from(place).ok().filter(|&place| place < length);
        from.push(place.ok_or_else(|| format!("a place is not within an axis of {length}"))?);
    }
    let all = outer
        .checked_mul(from.len())
        .and_then(|all| all.checked_mul(inner));
    if all.is_none_or(|all| all > MAX_NUMBERS) {
        return Ok(None);
    }
    let mut at = Vec::new();
    for outer in 0..outer {
        for &place in &from {
            let start = (outer * length + place) * inner;
            at.extend(start..start + inner);
        }
    }
    let shape = [&x.shape[..axis], &places.shape, &x.shape[axis + 1..]].concat();
    Ok(Some(taken(x, &at, shape)))
}

/// The axes in another order.
fn transposed(attributes: Attributes<'_>, x: &Literal) -> Result<Literal, String> {
    let rank = x.shape.len();
    let order = match attributes.ints("perm") {
        Some(list) => list
            .iter()
            .map(|&at| axes::axis(at, rank))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    if order.len() != rank || !(0..rank).all(|axis| order.contains(&axis)) {
        return Err(format!("{order:?} are not the axes of {:?}", x.shape));
    }
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape[axis]).collect();
    let steps: Vec<usize> = order
        .iter()
        .map(|&axis| x.shape[axis + 1..].iter().product())
        .collect();
    let places: Vec<usize> = (0..x.len())
        .map(|mut at| {
            let mut place = 0;
            for axis in (0..rank).rev() {
                place += at % shape[axis] * steps[axis];
                at /= shape[axis];
            }
            place
        })
        .collect();
    Ok(taken(x, &places, shape))
}

/// Of lists only: what shapes are made of.
fn slice(operands: &[Operand]) -> Result<Option<Literal>, String> {
    let mut lists = Vec::with_capacity(4);
    for operand in operands.get(1..).unwrap_or_default() {
        lists.push(operand.as_deref().map(ints).transpose()?);
    }
    let single = |at: usize| match lists.get(at) {
        Some(Some([one])) => Some(*one),
        _ => None,
    };
    let (Some(Some(x)), Some(start), Some(end)) = (operands.first(), single(0), single(1)) else {
        return Ok(None);
    };
    let (axis, step) = (single(2).unwrap_or(0), single(3).unwrap_or(1));
    if x.shape.is_empty() {
        return Ok(None);
    }
    let axis = axes::axis(axis, x.shape.len())?;
    let (start, length) = axes::slice(x.shape[axis], start, end, step)?;
    let inner = count(&x.shape[axis + 1..])?;
    let outer = count(&x.shape[..axis])?;
    let mut at = Vec::new();
    for outer in 0..outer {
        for place in 0..length as i64 {
            let place = (start as i64 + place * step) as usize;
            let start = (outer * x.shape[axis] + place) * inner;
            at.extend(start..start + inner);
        }
    }
    let mut shape = x.shape.clone();
    shape[axis] = length;
    Ok(Some(taken(x, &at, shape)))
}

/// Of lists only.
fn concat(attributes: Attributes<'_>, operands: &[Operand]) -> Result<Option<Literal>, String> {
    let parts: Vec<&Literal> = operands.iter().flatten().map(|part| &**part).collect();
    let Some(first) = parts.first() else {
        return Ok(None);
    };
    let axis = axes::axis(attributes.int("axis", 0), first.shape.len())?;
    let lists = parts
        .iter()
        .all(|part| part.shape.len() == 1 && part.kind == first.kind);
    if axis != 0 || !lists {
        return Ok(None);
    }
    let all: Vec<f64> = parts.iter().flat_map(|part| numbers(part)).collect();
    if all.len() > MAX_NUMBERS {
        return Ok(None);
    }
    Ok(Some(made(first.kind, &[all.len()], all.into_iter())))
}

fn non_zero(x: &Literal) -> Literal {
    let values = numbers(x);
    let found: Vec<usize> = (0..values.len()).filter(|&at| values[at] != 0.0).collect();
    let rank = x.shape.len();
    let mut places = Vec::with_capacity(rank * found.len());
    for axis in 0..rank {
        let inner: usize = x.shape[axis + 1..].iter().product();
        places.extend(found.iter().map(|at| (at / inner % x.shape[axis]) as i64));
    }
    Literal {
        kind: Kind::Int,
        shape: vec![rank, found.len()],
        data: Data::Ints(places),
    }
}

fn range(start: &Literal, end: &Literal, step: &Literal) -> Result<Option<Literal>, String> {
    let (Some(start_at), Some(end), Some(step)) = (start.single(), end.single(), step.single())
    else {
        return Err("it takes three numbers".to_owned());
    };
    let length = ((end - start_at) / step).ceil().max(0.0);
    if length.is_nan() || length > MAX_NUMBERS as f64 {
        return Err(format!("{length} numbers are more than {MAX_NUMBERS}"));
    }
    let values = (0..length as usize).map(|at| start_at + at as f64 * step);
    Ok(Some(made(start.kind, &[length as usize], values)))
}

fn choose(condition: &Literal, x: &Literal, y: &Literal) -> Result<Option<Literal>, String> {
    let Some(yes) = joined(condition, x, x.kind, &|_, x| x)? else {
        return Ok(None);
    };
    let Some(is) = joined(condition, &yes, Kind::Bool, &|condition, _| condition)? else {
        return Ok(None);
    };
    let Some(no) = joined(&yes, y, x.kind, &|_, y| y)? else {
        return Ok(None);
    };
    if is.shape != no.shape || yes.shape != no.shape {
        return Ok(None);
    }
    let values = numbers(&is)
        .into_iter()
        .zip(numbers(&yes))
        .zip(numbers(&no));
    let chosen = values.map(|((is, yes), no)| if is == 0.0 { no } else { yes });
    Ok(Some(made(x.kind, &no.shape, chosen)))
}
