//! The data of a preparation as it comes: which columns it has, and which of
//! them are read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    MAX_COLUMN_NAME, MAX_COLUMNS,
    condition::Value,
    none,
    schema::{Kind, Schema},
};
use crate::spec::{
    Dialect, Input, InvalidSpec,
    invalid::{field, within},
};

/// The most rows of a spec.
const MAX_INLINE_ROWS: usize = 4096;
/// The most cells of a spec.
const MAX_INLINE_CELLS: usize = 32_768;

/// Where rows come from, by their format. Every file but Parquet, safetensors
/// and archives may be gzip-compressed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Raw<I = Input> {
    /// Comma-separated values (RFC 4180). A column of which every field is a
    /// number or nothing has numbers, any other has texts. Without a header the
    /// columns are called "1", "2" and so on.
    Csv(Fields<I>),
    /// JSON Lines: an object a line, whose fields are numbers, texts, or arrays
    /// of numbers. The fields that are wanted must be named.
    Jsonl(Fields<I>),
    /// Apache Parquet: columns of numbers, texts, or lists of numbers.
    Parquet(Fields<I>),
    /// NumPy arrays, a file each, by the names of the columns that they become.
    Npy(BTreeMap<String, I>),
    /// Arrays of one `.npz` file, by name.
    Npz(Arrays<I>),
    /// Tensors of one safetensors file, by name.
    Safetensors(Arrays<I>),
    /// The format of MNIST: the columns `image` and, with labels, `label`.
    Idx {
        /// Images.
        images: I,
        /// Their labels.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        labels: Option<I>,
    },
    /// The UCI digits as rows of numbers: the columns `image` (8x8, grey levels
    /// from 0 to 16) and `label`.
    DigitsCsv {
        /// The file.
        file: I,
    },
    /// An archive (tar, tar.gz or zip) of PNG and JPEG files: the columns `image`
    /// (red, green and blue, each of its own size), `label` (the last folder of
    /// the path) and `path`.
    Images {
        /// The archive.
        archive: I,
    },
    /// Rows in the spec itself.
    Inline(Cells),
}

/// A table of named columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fields<I = Input> {
    /// The file.
    pub file: I,
    /// How CSV is written; for other formats there is nothing to say.
    #[serde(default, skip_serializing_if = "Dialect::is_usual")]
    pub dialect: Dialect,
    /// The columns that are read, in this order; without any, all of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Columns of CSV that are texts even where every one of them is a number,
    /// such as postcodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
}

/// Arrays by name, of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrays<I = Input> {
    /// The file.
    pub file: I,
    /// The arrays that are read; each becomes a column of its name.
    pub arrays: Vec<String>,
}

/// Rows of cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cells {
    /// The columns.
    pub columns: Vec<String>,
    /// A list of cells a row: numbers, or texts; the text "" is nothing.
    pub rows: Vec<Vec<Value>>,
}

/// Whether names are some, each once.
pub(super) fn named(of: &'static str, names: &[String]) -> Result<(), InvalidSpec> {
    within(of, names.len() as u64, 0, MAX_COLUMNS as u64)?;
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() || name.len() > MAX_COLUMN_NAME || name.chars().any(char::is_control) {
            return Err(field(
                of,
                format!("a name has 1 to {MAX_COLUMN_NAME} bytes, none of them control characters"),
            ));
        }
        if !seen.insert(name) {
            return Err(field(of, format!("{name:?} is named twice")));
        }
    }
    Ok(())
}

impl<I> Raw<I> {
    pub(super) fn validate(&self) -> Result<(), InvalidSpec> {
        match self {
            Self::Csv(fields) => fields.validate("csv"),
            Self::Jsonl(fields) => fields.validate("jsonl"),
            Self::Parquet(fields) => fields.validate("parquet"),
            Self::Npy(arrays) => {
                let names: Vec<String> = arrays.keys().cloned().collect();
                within("data.npy", names.len() as u64, 1, MAX_COLUMNS as u64)?;
                named("data.npy", &names)
            }
            Self::Npz(arrays) | Self::Safetensors(arrays) => {
                let count = arrays.arrays.len() as u64;
                within("data.arrays", count, 1, MAX_COLUMNS as u64)?;
                named("data.arrays", &arrays.arrays)
            }
            Self::Idx { .. } | Self::DigitsCsv { .. } | Self::Images { .. } => Ok(()),
            Self::Inline(cells) => cells.validate(),
        }
    }

    /// The columns, as far as the spec says them.
    pub(super) fn schema(&self) -> Schema {
        let named = |names: &mut dyn Iterator<Item = (&str, Kind)>| {
            Schema::of(names.map(|(name, kind)| (name.to_owned(), kind)))
        };
        match self {
            Self::Csv(fields) | Self::Jsonl(fields) | Self::Parquet(fields) => {
                if fields.columns.is_empty() {
                    return Schema::unknown();
                }
                let kind = |name: &String| match fields.texts.contains(name) {
                    true => Kind::Text,
                    false => Kind::Unknown,
                };
                let columns = fields.columns.iter();
                named(&mut columns.map(|name| (name.as_str(), kind(name))))
            }
            Self::Npy(arrays) => {
                named(&mut arrays.keys().map(|name| (name.as_str(), Kind::Unknown)))
            }
            Self::Npz(arrays) | Self::Safetensors(arrays) => {
                let arrays = arrays.arrays.iter();
                named(&mut arrays.map(|name| (name.as_str(), Kind::Unknown)))
            }
            Self::Idx { labels, .. } => {
                let label = labels.is_some().then_some(("label", Kind::Number));
                named(&mut [("image", Kind::Bytes(None))].into_iter().chain(label))
            }
            Self::DigitsCsv { .. } => named(
                &mut [
                    ("image", Kind::Bytes(Some(vec![1, 8, 8]))),
                    ("label", Kind::Number),
                ]
                .into_iter(),
            ),
            Self::Images { .. } => named(
                &mut [
                    ("image", Kind::Pictures { channels: 3 }),
                    ("label", Kind::Text),
                    ("path", Kind::Text),
                ]
                .into_iter(),
            ),
            Self::Inline(cells) => {
                let kinds = (0..cells.columns.len()).map(|at| cells.kind(at));
                let names = cells.columns.iter().map(String::as_str);
                named(&mut names.zip(kinds))
            }
        }
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        match self {
            Self::Csv(fields) | Self::Jsonl(fields) | Self::Parquet(fields) => vec![&fields.file],
            Self::Npy(arrays) => arrays.values().collect(),
            Self::Npz(arrays) | Self::Safetensors(arrays) => vec![&arrays.file],
            Self::Idx { images, labels } => std::iter::once(images).chain(labels).collect(),
            Self::DigitsCsv { file } => vec![file],
            Self::Images { archive } => vec![archive],
            Self::Inline(_) => Vec::new(),
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Raw<J>, E> {
        Ok(match self {
            Self::Csv(fields) => Raw::Csv(fields.try_map(name)?),
            Self::Jsonl(fields) => Raw::Jsonl(fields.try_map(name)?),
            Self::Parquet(fields) => Raw::Parquet(fields.try_map(name)?),
            Self::Npy(arrays) => Raw::Npy(
                arrays
                    .into_iter()
                    .map(|(column, file)| Ok((column, name(file)?)))
                    .collect::<Result<_, E>>()?,
            ),
            Self::Npz(arrays) => Raw::Npz(arrays.try_map(name)?),
            Self::Safetensors(arrays) => Raw::Safetensors(arrays.try_map(name)?),
            Self::Idx { images, labels } => Raw::Idx {
                images: name(images)?,
                labels: labels.map(&mut *name).transpose()?,
            },
            Self::DigitsCsv { file } => Raw::DigitsCsv { file: name(file)? },
            Self::Images { archive } => Raw::Images {
                archive: name(archive)?,
            },
            Self::Inline(cells) => Raw::Inline(cells),
        })
    }
}

impl<I> Arrays<I> {
    fn try_map<J, E>(self, name: &mut impl FnMut(I) -> Result<J, E>) -> Result<Arrays<J>, E> {
        Ok(Arrays {
            file: name(self.file)?,
            arrays: self.arrays,
        })
    }
}

impl<I> Fields<I> {
    fn try_map<J, E>(self, name: &mut impl FnMut(I) -> Result<J, E>) -> Result<Fields<J>, E> {
        Ok(Fields {
            file: name(self.file)?,
            dialect: self.dialect,
            columns: self.columns,
            texts: self.texts,
        })
    }

    fn validate(&self, format: &str) -> Result<(), InvalidSpec> {
        self.dialect.validate()?;
        if format != "csv" && !self.dialect.is_usual() {
            return Err(field("data.dialect", format!("{format} has no dialects")));
        }
        if format != "csv" && !self.texts.is_empty() {
            return Err(field(
                "data.texts",
                format!("{format} says itself which columns are texts"),
            ));
        }
        if format == "jsonl" && self.columns.is_empty() {
            return Err(field("data.jsonl.columns", "name the fields that are read"));
        }
        named("data.columns", &self.columns)?;
        named("data.texts", &self.texts)?;
        let unread = |name: &&String| !self.columns.is_empty() && !self.columns.contains(name);
        match self.texts.iter().find(unread) {
            Some(name) => Err(field(
                "data.texts",
                format!("{name:?} is not among the `columns` that are read"),
            )),
            None => Ok(()),
        }
    }
}

impl Cells {
    /// What the cells of a column are: texts where any is one.
    #[must_use]
    pub fn kind(&self, at: usize) -> Kind {
        let is_text = |cell: Option<&Value>| match cell {
            Some(Value::Text(text)) => !text.is_empty(),
            _ => false,
        };
        match self.rows.iter().any(|row| is_text(row.get(at))) {
            true => Kind::Text,
            false => Kind::Number,
        }
    }

    fn validate(&self) -> Result<(), InvalidSpec> {
        named("data.inline.columns", &self.columns)?;
        let (rows, columns) = (self.rows.len(), self.columns.len());
        within("data.inline.columns", columns as u64, 1, MAX_COLUMNS as u64)?;
        within("data.inline.rows", rows as u64, 1, MAX_INLINE_ROWS as u64)?;
        let cells = rows as u64 * columns as u64;
        within("data.inline", cells, 1, MAX_INLINE_CELLS as u64)?;
        for (number, row) in (1..).zip(&self.rows) {
            if row.len() != columns {
                return Err(field(
                    "data.inline.rows",
                    format!("row {number} has {} cells of {columns}", row.len()),
                ));
            }
            for (at, cell) in row.iter().enumerate() {
                cell.validate("data.inline.rows")?;
                if matches!(cell, Value::Number(_)) && self.kind(at) == Kind::Text {
                    return Err(field(
                        "data.inline.rows",
                        format!(
                            "row {number}, column {:?}: a number among texts",
                            self.columns[at]
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}
