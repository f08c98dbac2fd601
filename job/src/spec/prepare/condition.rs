//! Which rows a filter keeps.

use serde::{Deserialize, Serialize};

use super::schema::Schema;
use crate::spec::{InvalidSpec, invalid::field};

/// How deep conditions may be nested.
const MAX_DEPTH: usize = 16;
/// The most conditions and values of one filter.
const MAX_PARTS: usize = 4096;
/// The longest text of a value, in bytes.
const MAX_TEXT: usize = 4096;

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number or a text")]
pub enum Value {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// What is asked of a row. A field with nothing in it compares with nothing:
/// every comparison with it is false, and so is every set that it should be in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// A column stands in this relation to a value. Texts are ordered by their
    /// bytes.
    Compare {
        /// The column.
        column: String,
        /// The relation.
        is: Relation,
        /// The value.
        value: Value,
    },
    /// A column has one of these values.
    OneOf {
        /// The column.
        column: String,
        /// The values.
        values: Vec<Value>,
    },
    /// A column has nothing in it.
    Missing {
        /// The column.
        column: String,
    },
    /// Every one of these holds.
    All(Vec<Condition>),
    /// One of these holds, or more.
    Any(Vec<Condition>),
    /// This does not hold.
    Not(Box<Condition>),
}

/// How two values stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Less than.
    Less,
    /// Less than, or the same.
    AtMost,
    /// More than.
    More,
    /// More than, or the same.
    AtLeast,
}

impl Value {
    /// Whether it is a number that is one, or a text of a bearable length.
    pub(super) fn validate(&self, of: &'static str) -> Result<(), InvalidSpec> {
        match self {
            Self::Number(number) if !number.is_finite() => {
                Err(field(of, format!("{number} is no number")))
            }
            Self::Text(text) if text.len() > MAX_TEXT => Err(field(
                of,
                format!("a text of {} bytes, of {MAX_TEXT} allowed", text.len()),
            )),
            _ => Ok(()),
        }
    }
}

impl Condition {
    /// Whether it can be asked of rows with these columns.
    pub(super) fn fits(&self, schema: &Schema) -> Result<(), String> {
        let mut parts = 0;
        self.part(schema, 1, &mut parts)
    }

    fn part(&self, schema: &Schema, depth: usize, parts: &mut usize) -> Result<(), String> {
        *parts += match self {
            Self::OneOf { values, .. } => values.len().max(1),
            _ => 1,
        };
        if depth > MAX_DEPTH || *parts > MAX_PARTS {
            return Err(format!(
                "its conditions are nested more than {MAX_DEPTH} deep, or more than {MAX_PARTS}"
            ));
        }
        let of = |column: &str, values: &[Value]| {
            for value in values {
                value.validate("value").map_err(|error| error.to_string())?;
                match value {
                    Value::Number(_) => schema.numbers(column),
                    Value::Text(_) => schema.texts(column),
                }?;
            }
            schema.scalars(column)
        };
        match self {
            Self::Compare { column, value, .. } => of(column, std::slice::from_ref(value)),
            Self::OneOf { values, .. } if values.is_empty() => {
                Err("`one_of` without values keeps nothing: name some".to_owned())
            }
            Self::OneOf { column, values } => of(column, values),
            Self::Missing { column } => of(column, &[]),
            Self::All(all) | Self::Any(all) if all.is_empty() => {
                Err("`all` and `any` take one condition at least".to_owned())
            }
            Self::All(all) | Self::Any(all) => all
                .iter()
                .try_for_each(|one| one.part(schema, depth + 1, parts)),
            Self::Not(one) => one.part(schema, depth + 1, parts),
        }
    }
}
