//! Kinds and shapes of tensors, and arithmetic over them that cannot overflow.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::MAX_RANK;
use crate::model::MAX_ELEMENTS;

/// What the numbers of a tensor are. All of them are kept as 32-bit floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Numbers.
    #[default]
    Float,
    /// Whole numbers, exact up to 2^24.
    Int,
    /// True, which is 1, or false, which is 0.
    Bool,
}

/// The kind and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// What its numbers are.
    pub kind: Kind,
    /// Its axes; none for a single number.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// Floats of a shape.
    #[must_use]
    pub fn floats(shape: impl Into<Vec<usize>>) -> Self {
        Self {
            kind: Kind::Float,
            shape: shape.into(),
        }
    }

    /// The same kind in another shape.
    #[must_use]
    pub fn shaped(&self, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            kind: self.kind,
            shape: shape.into(),
        }
    }

    /// How many numbers it has; 0 where that cannot be counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        elements(&self.shape).unwrap_or(0)
    }

    /// Whether it has no numbers, or more than can be counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Float => "float",
            Kind::Int => "int",
            Kind::Bool => "bool",
        };
        write!(f, "{kind}{:?}", self.shape)
    }
}

/// The number of elements, if it is within bounds.
pub(super) fn elements(shape: &[usize]) -> Option<u64> {
    let size = shape
        .iter()
        .try_fold(1_u64, |size, axis| size.checked_mul(*axis as u64))?;
    (1..=MAX_ELEMENTS).contains(&size).then_some(size)
}

/// Whether a tensor may have this shape.
pub(super) fn check(shape: &[usize]) -> Result<(), String> {
    if shape.len() > MAX_RANK {
        return Err(format!("{shape:?} has more than {MAX_RANK} axes"));
    }
    match elements(shape) {
        Some(_) => Ok(()),
        None => Err(format!(
            "a tensor of the shape {shape:?} is empty or too large: 1 to {MAX_ELEMENTS} elements"
        )),
    }
}

/// The shape that all of these can be stretched to, as NumPy does.
pub(super) fn broadcast<'a>(
    shapes: impl IntoIterator<Item = &'a [usize]>,
) -> Result<Vec<usize>, String> {
    let mut out: Vec<usize> = Vec::new();
    for shape in shapes {
        if shape.len() > out.len() {
            let more = shape.len() - out.len();
            out.splice(0..0, std::iter::repeat_n(1, more));
        }
        let offset = out.len() - shape.len();
        for (axis, &length) in shape.iter().enumerate() {
            let at = &mut out[offset + axis];
            if *at == 1 {
                *at = length;
            } else if length != 1 && length != *at {
                return Err(format!(
                    "{shape:?} cannot be stretched to {out:?}: axes are equal or 1, counted from the last"
                ));
            }
        }
    }
    Ok(out)
}

/// The length of an axis.
pub(super) fn length_of(axis: usize, shape: &[usize]) -> Result<usize, String> {
    shape.get(axis).copied().ok_or_else(|| {
        format!(
            "axis {axis} is not one of {shape:?}, whose axes are 0 to below {}",
            shape.len()
        )
    })
}
