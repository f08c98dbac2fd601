//! Rows in the spec itself, for a few samples that are no file.

use serde::{Deserialize, Serialize};

use super::{Target, fits, normalise::Normalise};
use crate::{
    model::Model,
    spec::{
        InvalidSpec,
        invalid::{field, within},
    },
};

/// The most rows of a spec.
const MAX_INLINE_ROWS: usize = 4096;
/// The most numbers in the rows and targets of a spec.
const MAX_INLINE_NUMBERS: usize = 32_768;

/// Samples, a row each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inline {
    /// The features.
    pub rows: Vec<Vec<f64>>,
    /// What they should give. Only a prediction can do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<InlineTargets>,
    /// How features are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

/// What rows should give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InlineTargets {
    /// The class of each row.
    Classes {
        /// How many classes there are.
        count: u32,
        /// The classes, from 0.
        of: Vec<u32>,
    },
    /// The numbers of each row.
    Numbers(Vec<Vec<f64>>),
}

impl Inline {
    pub(super) fn target(&self) -> Target {
        match &self.targets {
            None => Target::Nothing,
            Some(InlineTargets::Classes { count, .. }) => Target::Classes(*count),
            Some(InlineTargets::Numbers(rows)) => {
                let width = rows.first().map_or(0, Vec::len);
                Target::Numbers(u32::try_from(width).unwrap_or(u32::MAX))
            }
        }
    }

    pub(super) fn validate(&self, model: &Model) -> Result<Target, InvalidSpec> {
        let count = self.rows.len();
        within("data.inline.rows", count as u64, 1, MAX_INLINE_ROWS as u64)?;
        let mut numbers = even("data.inline.rows", &self.rows)?;
        fits(self.rows[0].len(), model)?;
        let targets = match &self.targets {
            None => count,
            Some(InlineTargets::Classes { count: most, of }) => {
                if let Some(class) = of.iter().find(|class| *class >= most) {
                    return Err(field(
                        "data.inline.targets.classes.of",
                        format!(
                            "{class} is not a class of {most} (0 to {})",
                            most.saturating_sub(1)
                        ),
                    ));
                }
                of.len()
            }
            Some(InlineTargets::Numbers(rows)) => {
                numbers += even("data.inline.targets.numbers", rows)?;
                rows.len()
            }
        };
        if targets != count {
            return Err(field(
                "data.inline.targets",
                format!("there are {count} rows and {targets} targets"),
            ));
        }
        within("data.inline", numbers as u64, 1, MAX_INLINE_NUMBERS as u64)?;
        self.target().validate()
    }
}

/// Checks that rows are of one length and of finite numbers, and counts these.
fn even(of: &'static str, rows: &[Vec<f64>]) -> Result<usize, InvalidSpec> {
    let width = rows.first().map_or(0, Vec::len);
    for (number, row) in (1..).zip(rows) {
        if row.len() != width {
            return Err(field(
                of,
                format!(
                    "row {number} has {} numbers, and row 1 has {width}",
                    row.len()
                ),
            ));
        }
        if let Some(column) = row.iter().position(|value| !(*value as f32).is_finite()) {
            return Err(field(
                of,
                format!(
                    "row {number}, column {}: {} is no number",
                    column + 1,
                    row[column]
                ),
            ));
        }
    }
    Ok(width * rows.len())
}
