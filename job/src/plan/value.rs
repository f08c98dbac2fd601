//! What a task can give: a small closed list.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The deepest JSON that a plan holds.
const MAX_DEPTH: usize = 128;

/// The result of a task, and of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Anything that JSON can say.
    Json(serde_json::Value),
    /// A vector of numbers. It is kept bit by bit, so no store rounds it.
    Numbers(
        #[serde(
            serialize_with = "bits::serialize",
            deserialize_with = "bits::deserialize"
        )]
        Vec<f64>,
    ),
    /// Words of a proof, or of a part of one.
    Rows(Vec<Row>),
}

/// Words that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What the maker of the words sorts them by.
    pub group: u64,
    /// The words.
    pub words: Vec<u64>,
}

/// Why a value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// Too many bytes.
    #[error("the result is larger than {0} bytes")]
    TooLarge(usize),
    /// Lists in lists without an end.
    #[error("the result is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A number that is infinite, or none.
    #[error("number {0} of the result is not finite")]
    NotFinite(usize),
}

impl Value {
    /// Roughly how many bytes it takes, at most `most`.
    ///
    /// # Errors
    /// [`InvalidValue`] when it takes more, or cannot be kept.
    pub fn size(&self, most: usize) -> Result<usize, InvalidValue> {
        let bytes = match self {
            Self::Json(json) => {
                let mut left = most;
                spend(json, 0, &mut left).map_err(|error| match error {
                    InvalidValue::TooLarge(_) => InvalidValue::TooLarge(most),
                    other => other,
                })?;
                most - left
            }
            Self::Numbers(numbers) => {
                if let Some(place) = numbers.iter().position(|number| !number.is_finite()) {
                    return Err(InvalidValue::NotFinite(place));
                }
                numbers.len().saturating_mul(size_of::<f64>())
            }
            Self::Rows(rows) => rows.iter().fold(0usize, |sum, row| {
                let words = row.words.len().saturating_add(2);
                sum.saturating_add(words.saturating_mul(size_of::<u64>()))
            }),
        };
        if bytes > most {
            return Err(InvalidValue::TooLarge(most));
        }
        Ok(bytes)
    }
}

/// Takes what `json` needs from what is left.
fn spend(json: &serde_json::Value, depth: usize, left: &mut usize) -> Result<(), InvalidValue> {
    use serde_json::Value as Json;
    if depth > MAX_DEPTH {
        return Err(InvalidValue::TooDeep);
    }
    let own = match json {
        Json::String(text) => text.len().saturating_add(size_of::<Json>()),
        _ => size_of::<Json>(),
    };
    take(own, left)?;
    match json {
        Json::Array(entries) => entries
            .iter()
            .try_for_each(|entry| spend(entry, depth + 1, left)),
        Json::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            take(name.len(), left)?;
            spend(field, depth + 1, left)
        }),
        _ => Ok(()),
    }
}

fn take(bytes: usize, left: &mut usize) -> Result<(), InvalidValue> {
    *left = left
        .checked_sub(bytes)
        .ok_or(InvalidValue::TooLarge(bytes))?;
    Ok(())
}

/// Numbers as their bits: a text form of a float may lose the last of them.
mod bits {
    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(numbers: &[f64], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(numbers.iter().map(|number| number.to_bits()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f64>, D::Error> {
        let bits = Vec::<u64>::deserialize(d)?;
        Ok(bits.into_iter().map(f64::from_bits).collect())
    }
}
