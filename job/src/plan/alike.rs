//! Whether two answers are the same, as far as honest nodes can agree.
//!
//! Floating-point sums depend on the order of their terms, which differs from
//! device to device. The error of such a sum is bounded by the size of what was
//! summed, not by the size of what is left, so an entry of a vector is compared
//! by the scale of the whole vector (norm-wise, as in Higham, "Accuracy and
//! Stability of Numerical Algorithms", 2002, chapter 6): an entry that is nearly
//! nothing by cancellation accuses nobody.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value as Json};

use super::{InvalidPlan, Value, invalid::field};

/// How far apart two numbers may be and count as one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerance {
    /// As a share of the largest number of the vector, or of the number itself.
    pub relative: f64,
    /// Whatever the scale.
    pub absolute: f64,
}

impl Tolerance {
    /// None at all.
    pub const EXACT: Self = Self {
        relative: 0.0,
        absolute: 0.0,
    };
    /// What single precision leaves after sums of a few thousand terms.
    pub const SINGLE: Self = Self {
        relative: 1e-4,
        absolute: 1e-6,
    };

    /// This tolerance, so many times wider.
    #[must_use]
    pub const fn times(self, factor: f64) -> Self {
        Self {
            relative: self.relative * factor,
            absolute: self.absolute * factor,
        }
    }

    pub(super) fn check(self) -> Result<(), InvalidPlan> {
        let fits = |part: f64| (0.0..=1.0).contains(&part);
        if fits(self.relative) && fits(self.absolute) {
            return Ok(());
        }
        Err(field("tolerance", "its parts are not from 0 to 1"))
    }

    fn covers(self, a: f64, b: f64, scale: f64) -> bool {
        (a - b).abs() <= self.absolute + self.relative * scale
    }
}

/// Whether two values are the same within a tolerance.
#[must_use]
pub fn alike(a: &Value, b: &Value, tolerance: Tolerance) -> bool {
    match (a, b) {
        (Value::Json(a), Value::Json(b)) => json_alike(a, b, tolerance),
        (Value::Numbers(a), Value::Numbers(b)) => vectors_alike(a, b, tolerance),
        // A proof is right to the last bit or wrong.
        (Value::Rows(a), Value::Rows(b)) => a == b,
        (Value::Json(json), Value::Numbers(numbers))
        | (Value::Numbers(numbers), Value::Json(json)) => {
            vector(json).is_some_and(|other| vectors_alike(&other, numbers, tolerance))
        }
        _ => false,
    }
}

fn json_alike(a: &Json, b: &Json, tolerance: Tolerance) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => numbers_alike(a, b, tolerance),
        (Json::Array(list), Json::Array(other)) => {
            if list.len() != other.len() {
                return false;
            }
            if let (Some(list), Some(other)) = (vector(a), vector(b))
                && tolerance != Tolerance::EXACT
            {
                return vectors_alike(&list, &other, tolerance);
            }
            let mut pairs = list.iter().zip(other);
            pairs.all(|(a, b)| json_alike(a, b, tolerance))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, field)| {
                    b.get(name)
                        .is_some_and(|other| json_alike(field, other, tolerance))
                })
        }
        _ => a == b,
    }
}

/// Whole numbers beyond 2^53 are compared as such.
fn numbers_alike(a: &Number, b: &Number, tolerance: Tolerance) -> bool {
    if a == b {
        return true;
    }
    if !a.is_f64() && !b.is_f64() && tolerance == Tolerance::EXACT {
        return false;
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => tolerance.covers(a, b, a.abs().max(b.abs())),
        _ => false,
    }
}

fn vectors_alike(a: &[f64], b: &[f64], tolerance: Tolerance) -> bool {
    let largest = |sum: f64, entry: &f64| sum.max(entry.abs());
    let scale = a.iter().chain(b).fold(0.0, largest);
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| tolerance.covers(*a, *b, scale))
}

/// The numbers of a list of numbers.
fn vector(json: &Json) -> Option<Vec<f64>> {
    json.as_array()?.iter().map(Json::as_f64).collect()
}
