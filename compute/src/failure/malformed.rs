//! Data that is not what it should be: in which file, where in it, what was
//! found and what belongs there.

use std::fmt;

/// The most of a found text that a message repeats, in characters.
const MAX_QUOTE: usize = 48;

/// A place in a dataset, and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("{place}: found {found}, expected {expected}")]
pub struct Malformed {
    /// Where.
    pub place: Place,
    /// What is there.
    pub found: String,
    /// What belongs there.
    pub expected: String,
}

/// A place in a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, by its field in the spec; within an archive, its path too.
    pub file: String,
    /// The line of a text, or the row of a table or an array, from 1.
    pub row: Option<u64>,
    /// The column or field, by name and number from 1 as far as it has them.
    pub column: Option<String>,
}

impl Place {
    /// A whole file.
    pub(crate) fn file(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            ..Self::default()
        }
    }

    /// A row of it, from 1.
    pub(crate) fn row(self, row: u64) -> Self {
        Self {
            row: Some(row),
            ..self
        }
    }

    /// A column, as [`column`] names it.
    pub(crate) fn column(self, column: &str) -> Self {
        Self {
            column: Some(column.to_owned()),
            ..self
        }
    }

    /// What is wrong here.
    pub(crate) fn has(
        self,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> super::InvalidData {
        super::InvalidData::Malformed(Box::new(Malformed {
            place: self,
            found: found.into(),
            expected: expected.into(),
        }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        Ok(())
    }
}

/// A column's name for messages, from its number from 0.
pub(crate) fn column(number: usize, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{} ({})", number + 1, quoted(name)),
        None => (number + 1).to_string(),
    }
}

/// A text in quotes, as far as a message can carry it.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
