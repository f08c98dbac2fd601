//! Numbers for what is missing, for classes, and on a common scale.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    condition::Value,
    schema::{Kind, Schema},
};

/// The most classes of a column that becomes numbers.
pub const MAX_CLASSES: usize = 100_000;
/// The most classes of a column that becomes a number a class.
pub const MAX_ONE_HOT: usize = 4096;

/// What stands where nothing was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filling {
    /// This number.
    Number(f64),
    /// This text.
    Text(String),
    /// The mean of the column's numbers, over the rows that train.
    Mean,
    /// Their median; between two, the middle.
    Median,
    /// What is there most often; of several the first in order.
    MostFrequent,
}

/// What becomes of a class that was not there when classes were learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// The data is refused, with row and column.
    #[default]
    Refuse,
    /// A number of zeros.
    Zeros,
}

impl Unknown {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Filling {
    /// Whether it must be learnt.
    #[must_use]
    pub fn learns(&self) -> bool {
        matches!(self, Self::Mean | Self::Median | Self::MostFrequent)
    }

    pub(super) fn fits(&self, column: &str, schema: &Schema) -> Result<(), String> {
        match self {
            Self::Number(number) if !number.is_finite() => {
                return Err(format!("{number} is no number"));
            }
            Self::Number(_) | Self::Mean | Self::Median => schema.numbers(column)?,
            Self::Text(text) => {
                let value = Value::Text(text.clone());
                value.validate("text").map_err(|error| error.to_string())?;
                schema.texts(column)?;
            }
            Self::MostFrequent => {}
        }
        schema.scalars(column)
    }
}

/// Checks classes that the spec names, and that the column can have them.
pub(super) fn classes(
    column: &str,
    classes: &[Value],
    most: usize,
    schema: &Schema,
) -> Result<(), String> {
    schema.scalars(column)?;
    if classes.len() > most {
        return Err(format!("{} classes, of {most} allowed", classes.len()));
    }
    let mut seen = BTreeSet::new();
    for class in classes {
        class
            .validate("classes")
            .map_err(|error| error.to_string())?;
        let text = match class {
            Value::Number(number) => {
                schema.numbers(column)?;
                number.to_string()
            }
            Value::Text(text) => {
                schema.texts(column)?;
                format!("{text:?}")
            }
        };
        if !seen.insert(text) {
            return Err(format!("the class {class:?} is named twice"));
        }
    }
    let texts = classes
        .iter()
        .filter(|class| matches!(class, Value::Text(_)));
    let texts = texts.count();
    if texts != 0 && texts != classes.len() {
        return Err("classes are texts or numbers, not both".to_owned());
    }
    Ok(())
}

/// What a column of numbers is on a common scale: floats of the same shape.
pub(super) fn scaled(column: &str, schema: &Schema) -> Result<Kind, String> {
    Ok(match schema.numeric(column)? {
        Kind::Bytes(shape) => Kind::Numbers(shape),
        other => other,
    })
}
