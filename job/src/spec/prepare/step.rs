//! The steps, a closed list. What each does to the columns is [`Schema`]'s to
//! say.
//!
//! [`Schema`]: super::schema::Schema

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    MAX_COLUMNS,
    condition::{Condition, Value},
    encode::{Filling, Unknown},
    picture::{Corner, Interpolation, Pixels},
    tokenise::Tokenise,
};
use crate::spec::Input;

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step<I = Input> {
    /// Keeps these columns, in this order.
    Select {
        /// The columns.
        columns: Vec<String>,
    },
    /// Keeps all columns but these.
    Drop {
        /// The columns.
        columns: Vec<String>,
    },
    /// Gives a column another name.
    Rename {
        /// Its name.
        from: String,
        /// Its name from then on.
        to: String,
    },
    /// Keeps the rows of which this is true.
    Filter(Condition),
    /// Puts something where nothing is.
    Fill {
        /// The columns.
        columns: Vec<String>,
        /// What.
        with: Filling,
    },
    /// Takes off the mean and divides by the deviation (of a population), both
    /// over the rows that train. A column of several numbers has its own of each,
    /// one of three axes of each channel. What does not vary is only centred.
    Standardise {
        /// The columns.
        columns: Vec<String>,
    },
    /// Brings the least number of the rows that train to 0 and the largest to 1.
    MinMax {
        /// The columns.
        columns: Vec<String>,
    },
    /// A column of classes becomes one of as many numbers: 1 for its class, 0
    /// for the others.
    OneHot {
        /// The columns.
        columns: Vec<String>,
        /// The classes, in order; without any, those of the rows that train,
        /// sorted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<Value>,
        /// What becomes of another class.
        #[serde(default, skip_serializing_if = "Unknown::is_usual")]
        unknown: Unknown,
    },
    /// A column of classes becomes one of their numbers from 0.
    LabelEncode {
        /// The column.
        column: String,
        /// The classes, in order; without any, those of the rows that train,
        /// sorted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<Value>,
    },
    /// Says which rows train, which validate and which test. Later steps learn
    /// of those that train alone.
    Split {
        /// The share that validates.
        #[serde(default, skip_serializing_if = "is_nothing")]
        validation: f64,
        /// The share that tests.
        #[serde(default, skip_serializing_if = "is_nothing")]
        test: f64,
        /// A column each of whose classes is to be in every split by its share.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stratify: Option<String>,
        /// Another seed draws other rows.
        #[serde(default, skip_serializing_if = "is_zero")]
        seed: u32,
    },
    /// Keeps some of the rows, drawn without replacement, in their order.
    Sample {
        /// How many.
        rows: Amount,
        /// Another seed draws other rows.
        #[serde(default, skip_serializing_if = "is_zero")]
        seed: u32,
    },
    /// Puts the rows into another order.
    Shuffle {
        /// Another seed gives another order.
        #[serde(default, skip_serializing_if = "is_zero")]
        seed: u32,
    },
    /// Keeps the first rows.
    Limit {
        /// How many.
        rows: u32,
    },
    /// Brings pictures to one size.
    Resize {
        /// The column.
        column: String,
        /// Rows of pixels.
        height: u32,
        /// Columns of pixels.
        width: u32,
        /// How.
        #[serde(default, skip_serializing_if = "Interpolation::is_usual")]
        by: Interpolation,
    },
    /// Keeps a part of each picture.
    Crop {
        /// The column.
        column: String,
        /// Rows of pixels.
        height: u32,
        /// Columns of pixels.
        width: u32,
        /// Where the part begins.
        #[serde(default, skip_serializing_if = "Corner::is_usual")]
        from: Corner,
    },
    /// Makes pictures grey: 0.299 of red, 0.587 of green and 0.114 of blue
    /// (ITU-R BT.601).
    Greyscale {
        /// The column.
        column: String,
    },
    /// Makes numbers of grey levels.
    Pixels(Pixels),
    /// Makes tokens of texts.
    Tokenise(Tokenise<I>),
}

/// How many rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many, or all where there are fewer.
    Count(u32),
    /// This share of them, rounded.
    Share(f64),
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_nothing(value: &f64) -> bool {
    *value == 0.0
}

impl<I> Step<I> {
    /// What it is called.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Select { .. } => "select",
            Self::Drop { .. } => "drop",
            Self::Rename { .. } => "rename",
            Self::Filter(_) => "filter",
            Self::Fill { .. } => "fill",
            Self::Standardise { .. } => "standardise",
            Self::MinMax { .. } => "min_max",
            Self::OneHot { .. } => "one_hot",
            Self::LabelEncode { .. } => "label_encode",
            Self::Split { .. } => "split",
            Self::Sample { .. } => "sample",
            Self::Shuffle { .. } => "shuffle",
            Self::Limit { .. } => "limit",
            Self::Resize { .. } => "resize",
            Self::Crop { .. } => "crop",
            Self::Greyscale { .. } => "greyscale",
            Self::Pixels(_) => "pixels",
            Self::Tokenise(_) => "tokenise",
        }
    }

    /// Whether what it does depends on the rows that train.
    #[must_use]
    pub fn learns(&self) -> bool {
        match self {
            Self::Standardise { .. } | Self::MinMax { .. } => true,
            Self::OneHot { classes, .. } | Self::LabelEncode { classes, .. } => classes.is_empty(),
            Self::Fill { with, .. } => with.learns(),
            _ => false,
        }
    }

    /// Whether it looks at one row at a time, whichever others there are.
    #[must_use]
    pub fn is_by_row(&self) -> bool {
        match self {
            Self::Split { .. }
            | Self::Sample { .. }
            | Self::Shuffle { .. }
            | Self::Limit { .. } => false,
            _ => !self.learns(),
        }
    }

    /// The file that it reads.
    pub(super) fn input(&self) -> Option<&I> {
        match self {
            Self::Tokenise(tokens) => Some(&tokens.tokenizer),
            _ => None,
        }
    }

    /// Checks what depends on no column.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Select { columns }
            | Self::Drop { columns }
            | Self::Fill { columns, .. }
            | Self::Standardise { columns }
            | Self::MinMax { columns }
            | Self::OneHot { columns, .. } => each_once(columns),
            Self::Split {
                validation, test, ..
            } => {
                let shares = [*validation, *test];
                let sum = validation + test;
                if shares.iter().all(|share| (0.0..1.0).contains(share)) && sum > 0.0 && sum < 1.0 {
                    return Ok(());
                }
                Err(format!(
                    "shares of {validation} to validate and {test} to test: give 0 or more, together above 0 and below 1"
                ))
            }
            Self::Sample {
                rows: Amount::Share(share),
                ..
            } if !(*share > 0.0 && *share <= 1.0) => {
                Err(format!("a share of {share} is not above 0 and at most 1"))
            }
            Self::Sample {
                rows: Amount::Count(0),
                ..
            }
            | Self::Limit { rows: 0 } => Err("it would leave no row".to_owned()),
            _ => Ok(()),
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Step<J>, E> {
        Ok(match self {
            Self::Tokenise(tokens) => Step::Tokenise(tokens.try_map(name)?),
            Self::Select { columns } => Step::Select { columns },
            Self::Drop { columns } => Step::Drop { columns },
            Self::Rename { from, to } => Step::Rename { from, to },
            Self::Filter(condition) => Step::Filter(condition),
            Self::Fill { columns, with } => Step::Fill { columns, with },
            Self::Standardise { columns } => Step::Standardise { columns },
            Self::MinMax { columns } => Step::MinMax { columns },
            Self::OneHot {
                columns,
                classes,
                unknown,
            } => Step::OneHot {
                columns,
                classes,
                unknown,
            },
            Self::LabelEncode { column, classes } => Step::LabelEncode { column, classes },
            Self::Split {
                validation,
                test,
                stratify,
                seed,
            } => Step::Split {
                validation,
                test,
                stratify,
                seed,
            },
            Self::Sample { rows, seed } => Step::Sample { rows, seed },
            Self::Shuffle { seed } => Step::Shuffle { seed },
            Self::Limit { rows } => Step::Limit { rows },
            Self::Resize {
                column,
                height,
                width,
                by,
            } => Step::Resize {
                column,
                height,
                width,
                by,
            },
            Self::Crop {
                column,
                height,
                width,
                from,
            } => Step::Crop {
                column,
                height,
                width,
                from,
            },
            Self::Greyscale { column } => Step::Greyscale { column },
            Self::Pixels(pixels) => Step::Pixels(pixels),
        })
    }
}

/// Columns must be named, and each once.
fn each_once(columns: &[String]) -> Result<(), String> {
    if columns.is_empty() || columns.len() > MAX_COLUMNS {
        return Err(format!("name 1 to {MAX_COLUMNS} columns"));
    }
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(*column)) {
        Some(column) => Err(format!("column {column:?} is named twice")),
        None => Ok(()),
    }
}
