//! One tensor that a computation starts from: numbers in the spec, or a tensor in a
//! safetensors file.

use serde::{Deserialize, Serialize};

use super::super::Input;
use crate::program::{Kind, MAX_EXACT, TensorType};

/// The most tensors of one computation.
pub const MAX_TENSORS: usize = 256;
/// The longest name of a tensor in a file, in bytes.
const MAX_KEY: usize = 256;

/// One tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor<I = Input> {
    /// What it is called.
    pub name: String,
    /// Its axes; for numbers in the spec, one axis of all of them by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// What its numbers are.
    #[serde(default, skip_serializing_if = "is_float")]
    pub kind: Kind,
    /// Its numbers, row-major.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f64>>,
    /// The safetensors file that holds it instead.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub file: Option<I>,
    /// What it is called in the file; its own name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_float(kind: &Kind) -> bool {
    *kind == Kind::Float
}

fn none<I>() -> Option<I> {
    None
}

impl<I> Tensor<I> {
    /// Floats of a shape, in the spec.
    #[must_use]
    pub fn inline(name: impl Into<String>, shape: &[usize], values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            shape: Some(shape.to_vec()),
            kind: Kind::Float,
            values: Some(values),
            file: None,
            key: None,
        }
    }

    /// What it is called in its file.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.name)
    }

    /// Its kind and shape, if what is said of it agrees.
    pub(super) fn check(&self) -> Result<TensorType, String> {
        let shape = match (&self.values, &self.file, &self.shape) {
            (Some(values), None, shape) => {
                if self.key.is_some() {
                    return Err("a `key` is of a file".to_owned());
                }
                let shape = shape.clone().unwrap_or_else(|| vec![values.len()]);
                let count = shape
                    .iter()
                    .try_fold(1_usize, |count, &axis| count.checked_mul(axis));
                if count != Some(values.len()) {
                    return Err(format!(
                        "{} numbers do not have the shape {shape:?}",
                        values.len()
                    ));
                }
                values
                    .iter()
                    .try_for_each(|&value| is_of(self.kind, value))?;
                shape
            }
            (None, Some(_), Some(shape)) => {
                if self.key().is_empty() || self.key().len() > MAX_KEY {
                    return Err(format!("a `key` has 1 to {MAX_KEY} bytes"));
                }
                shape.clone()
            }
            (None, Some(_), None) => return Err("say its `shape`".to_owned()),
            _ => return Err("give either `values` or a `file`".to_owned()),
        };
        Ok(TensorType {
            kind: self.kind,
            shape,
        })
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Tensor<J>, E> {
        Ok(Tensor {
            name: self.name,
            shape: self.shape,
            kind: self.kind,
            values: self.values,
            file: self.file.map(name).transpose()?,
            key: self.key,
        })
    }
}

/// Whether a number is one of a kind.
fn is_of(kind: Kind, value: f64) -> Result<(), String> {
    let fits = match kind {
        Kind::Float => (value as f32).is_finite(),
        Kind::Int => value.fract() == 0.0 && value.abs() <= MAX_EXACT as f64,
        Kind::Bool => value == 0.0 || value == 1.0,
    };
    if fits {
        return Ok(());
    }
    Err(match kind {
        Kind::Float => format!("{value} is not finite as a 32-bit float"),
        Kind::Int => format!("{value} is not a whole number within 2^24"),
        Kind::Bool => format!("{value} is neither 0 nor 1"),
    })
}
