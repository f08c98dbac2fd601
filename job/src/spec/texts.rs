//! Texts, and where they come from.

use serde::{Deserialize, Serialize};

use super::{
    Column, Dialect, Input, InvalidSpec,
    invalid::{field, within},
};

/// The most texts of one job.
pub const MAX_TEXTS: usize = 1 << 20;

/// Texts by where they come from. A file may be gzip-compressed, and is UTF-8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Texts<I = Input> {
    /// Texts in the spec itself.
    Inline(Vec<String>),
    /// A file that is one text.
    Whole {
        /// The file.
        file: I,
    },
    /// A text a line; empty lines are left out.
    Lines {
        /// The file.
        file: I,
    },
    /// A column of comma-separated values (RFC 4180).
    Csv {
        /// The file.
        file: I,
        /// The column.
        column: Column,
        /// How it is written.
        #[serde(default, skip_serializing_if = "Dialect::is_usual")]
        dialect: Dialect,
    },
    /// A field of JSON Lines, an object a line.
    Jsonl {
        /// The file.
        file: I,
        /// The field.
        field: String,
    },
}

impl<I> Texts<I> {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        match self {
            Self::Inline(texts) => {
                within("texts.inline", texts.len() as u64, 1, MAX_TEXTS as u64)?;
            }
            Self::Csv {
                column: Column::Number(0),
                ..
            } => return Err(field("texts.csv.column", "columns are numbered from 1")),
            Self::Csv { dialect, .. } if !dialect.delimiter.is_ascii() => {
                return Err(field(
                    "texts.csv.dialect.delimiter",
                    "give one ASCII character",
                ));
            }
            Self::Csv {
                column: Column::Name(_),
                dialect,
                ..
            } if !dialect.header => {
                return Err(field(
                    "texts.csv.column",
                    "a file without a header has no names: give its number from 1",
                ));
            }
            Self::Jsonl { field: name, .. } if name.is_empty() => {
                return Err(field("texts.jsonl.field", "it is empty"));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        match self {
            Self::Inline(_) => Vec::new(),
            Self::Whole { file }
            | Self::Lines { file }
            | Self::Csv { file, .. }
            | Self::Jsonl { file, .. } => vec![file],
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Texts<J>, E> {
        Ok(match self {
            Self::Inline(texts) => Texts::Inline(texts),
            Self::Whole { file } => Texts::Whole { file: name(file)? },
            Self::Lines { file } => Texts::Lines { file: name(file)? },
            Self::Csv {
                file,
                column,
                dialect,
            } => Texts::Csv {
                file: name(file)?,
                column,
                dialect,
            },
            Self::Jsonl { file, field } => Texts::Jsonl {
                file: name(file)?,
                field,
            },
        })
    }
}
