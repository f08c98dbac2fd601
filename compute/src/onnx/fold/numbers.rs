//! Numbers of literals: read, made, chosen, joined.

use embermesh_job::program::Kind;

use super::super::literal::{Data, Literal};
use super::MAX_NUMBERS;

pub(super) fn ints(x: &Literal) -> Result<&[i64], String> {
    x.as_ints()
        .ok_or_else(|| "whole numbers belong there".to_owned())
}

pub(super) fn sizes(x: &Literal) -> Result<Vec<usize>, String> {
    let size = |&value: &i64| usize::try_from(value).map_err(|_| format!("an axis of {value}"));
    ints(x)?.iter().map(size).collect()
}

pub(super) fn count(shape: &[usize]) -> Result<usize, String> {
    shape
        .iter()
        .try_fold(1_usize, |count, &axis| count.checked_mul(axis))
        .ok_or_else(|| format!("{shape:?} is too large"))
}

pub(super) fn numbers(x: &Literal) -> Vec<f64> {
    match &x.data {
        Data::Floats(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Data::Ints(values) => values.iter().map(|&value| value as f64).collect(),
    }
}

pub(super) fn made(kind: Kind, shape: &[usize], values: impl Iterator<Item = f64>) -> Literal {
    Literal {
        kind,
        shape: shape.to_vec(),
        data: match kind {
            Kind::Float => Data::Floats(values.map(|value| value as f32).collect()),
            Kind::Int => Data::Ints(values.map(|value| value as i64).collect()),
            Kind::Bool => Data::Ints(values.map(|value| i64::from(value != 0.0)).collect()),
        },
    }
}

pub(super) fn cast(x: &Literal, kind: Kind) -> Literal {
    if kind == x.kind {
        return x.clone();
    }
    made(kind, &x.shape, numbers(x).into_iter())
}

/// Those numbers of a literal, in another shape.
pub(super) fn taken(x: &Literal, places: &[usize], shape: Vec<usize>) -> Literal {
    Literal {
        kind: x.kind,
        shape,
        data: match &x.data {
            Data::Floats(values) => Data::Floats(places.iter().map(|&at| values[at]).collect()),
            Data::Ints(values) => Data::Ints(places.iter().map(|&at| values[at]).collect()),
        },
    }
}

/// Two literals into one, stretched as NumPy does.
pub(super) fn joined(
    x: &Literal,
    y: &Literal,
    kind: Kind,
    f: &dyn Fn(f64, f64) -> f64,
) -> Result<Option<Literal>, String> {
    let rank = x.shape.len().max(y.shape.len());
    let at = |shape: &[usize], axis: usize| {
        axis.checked_sub(rank - shape.len())
            .map_or(1, |axis| shape[axis])
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        shape.push(match (at(&x.shape, axis), at(&y.shape, axis)) {
            (1, other) | (other, 1) => other,
            (one, other) if one == other => one,
            _ => {
                return Err(format!(
                    "{:?} cannot be stretched to {:?}",
                    x.shape, y.shape
                ));
            }
        });
    }
    let all = count(&shape)?;
    if all > MAX_NUMBERS {
        return Ok(None);
    }
    let place = |of: &[usize], mut at_all: usize| {
        let mut place = 0;
        let mut size = 1;
        for axis in (0..rank).rev() {
            let along = at_all % shape[axis];
            at_all /= shape[axis];
            let length = at(of, axis);
            if length != 1 {
                place += along * size;
            }
            size *= length;
        }
        place
    };
    let (xs, ys) = (numbers(x), numbers(y));
    let values = (0..all).map(|at| f(xs[place(&x.shape, at)], ys[place(&y.shape, at)]));
    Ok(Some(made(kind, &shape, values)))
}
