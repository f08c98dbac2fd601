//! Why a spec is refused.

use super::MAX_SPEC_LEN;
use crate::{model::InvalidModel, program::InvalidProgram};

/// A spec that is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidSpec {
    /// Larger than a spec may be.
    #[error("the spec has {0} bytes, of {MAX_SPEC_LEN} allowed")]
    TooLarge(usize),
    /// Not JSON, or fields that are unknown, missing or of the wrong kind.
    #[error("the spec cannot be read: {0}")]
    Malformed(String),
    /// Readable, but not in the one canonical form.
    #[error("the spec is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// The model does not fit together.
    #[error(transparent)]
    Model(#[from] InvalidModel),
    /// An operation does not fit its operands.
    #[error(transparent)]
    Program(#[from] InvalidProgram),
    /// A field out of its bounds.
    #[error("`{field}`: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why.
        reason: String,
    },
}

pub(super) fn field(field: &'static str, reason: impl Into<String>) -> InvalidSpec {
    InvalidSpec::Field {
        field,
        reason: reason.into(),
    }
}

pub(super) fn within(
    name: &'static str,
    value: u64,
    least: u64,
    most: u64,
) -> Result<(), InvalidSpec> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(field(
        name,
        format!("{value} is not from {least} to {most}"),
    ))
}

pub(super) fn share(
    name: &'static str,
    value: f64,
    least: f64,
    below: f64,
) -> Result<(), InvalidSpec> {
    if value >= least && value < below {
        return Ok(());
    }
    let least = if least == f64::MIN_POSITIVE {
        "above 0".to_owned()
    } else {
        format!("from {least}")
    };
    Err(field(
        name,
        format!("{value} is not {least} to below {below}"),
    ))
}
