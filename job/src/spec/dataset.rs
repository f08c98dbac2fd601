//! Where samples and what they should give come from, by their format.
//!
//! | format | what it is |
//! |---|---|
//! | [`Dataset::DigitsCsv`], [`Dataset::Idx`] | images with labels, as the UCI digits and MNIST have them |
//! | [`Dataset::Csv`], [`Dataset::Jsonl`], [`Dataset::Parquet`] | tables: columns or fields, some of them the targets |
//! | [`Dataset::Npy`], [`Dataset::Npz`], [`Dataset::Safetensors`] | arrays |
//! | [`Dataset::Images`] | an archive of PNG and JPEG files, a folder a class |
//! | [`Dataset::Inline`] | rows in the spec itself |
//! | [`Dataset::Client`] | samples that stay with the client |
//!
//! Every file may be gzip-compressed, except for Parquet and archives that are
//! compressed by themselves.

mod arrays;
mod client;
mod folder;
mod inline;
mod normalise;
mod table;
mod tensors;

use serde::{Deserialize, Serialize};

pub use self::{
    arrays::{Npy, Npz},
    client::{ClientData, Element, MAX_CLIENT_RECORD, MAX_CLIENT_SAMPLES},
    folder::Images,
    inline::{Inline, InlineTargets},
    normalise::Normalise,
    table::{Column, Dialect, Missing, Table, TargetColumns},
    tensors::Tensors,
};
use super::{
    Input, InvalidSpec,
    invalid::{field, within},
};
use crate::model::Model;

/// The most classes of a dataset.
const MAX_CLASSES: u32 = 100_000;
/// The most numbers that one sample may have as targets.
const MAX_WIDTH: u32 = 100_000;
/// The longest name of a column, an array or a class, in bytes.
const MAX_COLUMN_NAME: usize = 256;

/// Samples and what they should give, by their format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Dataset<I = Input> {
    /// Images as rows of numbers, the label last; the first line may be a
    /// header. Pixels are 0 to 16, as in the UCI digits.
    DigitsCsv {
        /// The file.
        file: I,
        /// How many classes there are.
        classes: u32,
    },
    /// The format of MNIST.
    Idx {
        /// Images: magic 0x00000803.
        images: I,
        /// Labels: magic 0x00000801. Only a prediction can do without.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        labels: Option<I>,
        /// Images that are always kept out of training.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        holdout_images: Option<I>,
        /// Their labels.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        holdout_labels: Option<I>,
        /// How many classes there are.
        classes: u32,
    },
    /// Comma-separated values (RFC 4180).
    Csv(Table<I>),
    /// JSON Lines: an object a line, whose fields are numbers or arrays of
    /// them.
    Jsonl(Table<I>),
    /// Apache Parquet: columns of numbers, or of lists of them.
    Parquet(Table<I>),
    /// A NumPy array a file.
    Npy(Npy<I>),
    /// NumPy arrays by name, in one file.
    Npz(Npz<I>),
    /// Tensors by name, in one safetensors file.
    Safetensors(Tensors<I>),
    /// An archive of images, a folder a class.
    Images(Images<I>),
    /// Rows in the spec itself.
    Inline(Inline),
    /// Samples that stay with the client.
    Client(ClientData),
}

/// What the samples of a dataset should give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One of this many classes.
    Classes(u32),
    /// This many numbers.
    Numbers(u32),
    /// Nothing that is known: there are only samples.
    #[default]
    Nothing,
}

impl Target {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    fn validate(self) -> Result<Self, InvalidSpec> {
        match self {
            Self::Classes(count) => {
                within("data.classes", count.into(), 2, MAX_CLASSES.into())?;
            }
            Self::Numbers(width) => within("data.target", width.into(), 1, MAX_WIDTH.into())?,
            Self::Nothing => {}
        }
        Ok(self)
    }
}

fn none<I>() -> Option<I> {
    None
}

impl<I> Dataset<I> {
    /// What its samples should give.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::DigitsCsv { classes, .. } => Target::Classes(*classes),
            Self::Idx {
                labels, classes, ..
            } => match labels {
                Some(_) => Target::Classes(*classes),
                None => Target::Nothing,
            },
            Self::Csv(table) | Self::Jsonl(table) | Self::Parquet(table) => table.target(),
            Self::Npy(arrays) => arrays.target,
            Self::Npz(arrays) => arrays.target,
            Self::Safetensors(tensors) => tensors.target,
            Self::Images(images) => images.target(),
            Self::Inline(rows) => rows.target(),
            Self::Client(data) => data.target,
        }
    }

    /// How the numbers of its samples are scaled, where the data says it.
    #[must_use]
    pub fn normalise(&self) -> Option<Normalise> {
        match self {
            Self::DigitsCsv { .. } | Self::Idx { .. } => None,
            Self::Csv(table) | Self::Jsonl(table) | Self::Parquet(table) => table.normalise,
            Self::Npy(arrays) => arrays.normalise,
            Self::Npz(arrays) => arrays.normalise,
            Self::Safetensors(tensors) => tensors.normalise,
            Self::Images(images) => images.normalise,
            Self::Inline(rows) => rows.normalise,
            Self::Client(data) => data.normalise,
        }
    }

    /// What becomes of a number that is not there.
    #[must_use]
    pub fn missing(&self) -> Missing {
        match self {
            Self::Csv(table) | Self::Jsonl(table) | Self::Parquet(table) => table.missing,
            Self::Client(data) => data.missing,
            _ => Missing::Refuse,
        }
    }

    /// What the classes are called, where the data says it.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Self::Csv(table) | Self::Jsonl(table) | Self::Parquet(table) => table.labels(),
            Self::Images(images) => &images.classes,
            Self::Client(data) if matches!(data.target, Target::Classes(_)) => &data.labels,
            _ => &[],
        }
    }

    /// The files that it is read from.
    #[must_use]
    pub fn input_refs(&self) -> Vec<&I> {
        let all = match self {
            Self::DigitsCsv { file, .. } => vec![Some(file)],
            Self::Idx {
                images,
                labels,
                holdout_images,
                holdout_labels,
                ..
            } => vec![
                Some(images),
                labels.as_ref(),
                holdout_images.as_ref(),
                holdout_labels.as_ref(),
            ],
            Self::Csv(table) | Self::Jsonl(table) | Self::Parquet(table) => {
                vec![Some(&table.file), table.holdout.as_ref()]
            }
            Self::Npy(arrays) => vec![
                Some(&arrays.features),
                arrays.targets.as_ref(),
                arrays.holdout_features.as_ref(),
                arrays.holdout_targets.as_ref(),
            ],
            Self::Npz(arrays) => vec![Some(&arrays.file), arrays.holdout.as_ref()],
            Self::Safetensors(tensors) => vec![Some(&tensors.file), tensors.holdout.as_ref()],
            Self::Images(images) => vec![Some(&images.archive), images.holdout.as_ref()],
            Self::Inline(_) | Self::Client(_) => Vec::new(),
        };
        all.into_iter().flatten().collect()
    }

    /// The same data with other names for its files.
    ///
    /// # Errors
    /// The first that `name` gives.
    pub fn try_map_inputs<J, E>(
        self,
        mut name: impl FnMut(I) -> Result<J, E>,
    ) -> Result<Dataset<J>, E> {
        self.try_map(&mut name)
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Dataset<J>, E> {
        Ok(match self {
            Self::DigitsCsv { file, classes } => Dataset::DigitsCsv {
                file: name(file)?,
                classes,
            },
            Self::Idx {
                images,
                labels,
                holdout_images,
                holdout_labels,
                classes,
            } => Dataset::Idx {
                images: name(images)?,
                labels: labels.map(&mut *name).transpose()?,
                holdout_images: holdout_images.map(&mut *name).transpose()?,
                holdout_labels: holdout_labels.map(&mut *name).transpose()?,
                classes,
            },
            Self::Csv(table) => Dataset::Csv(table.try_map(name)?),
            Self::Jsonl(table) => Dataset::Jsonl(table.try_map(name)?),
            Self::Parquet(table) => Dataset::Parquet(table.try_map(name)?),
            Self::Npy(arrays) => Dataset::Npy(arrays.try_map(name)?),
            Self::Npz(arrays) => Dataset::Npz(arrays.try_map(name)?),
            Self::Safetensors(tensors) => Dataset::Safetensors(tensors.try_map(name)?),
            Self::Images(images) => Dataset::Images(images.try_map(name)?),
            Self::Inline(rows) => Dataset::Inline(rows),
            Self::Client(data) => Dataset::Client(data),
        })
    }

    /// Checks what can be known before a file is read, and that the samples
    /// fit the model as far as their shape is said here.
    pub(super) fn validate(&self, model: &Model) -> Result<Target, InvalidSpec> {
        match self {
            Self::DigitsCsv { classes, .. } => Target::Classes(*classes).validate()?,
            Self::Idx {
                labels,
                holdout_images,
                holdout_labels,
                classes,
                ..
            } => {
                let labelled = labels.is_some();
                if holdout_labels.is_some() != (holdout_images.is_some() && labelled) {
                    return Err(field(
                        "data",
                        "give both holdout_images and holdout_labels, or neither",
                    ));
                }
                Target::Classes(*classes).validate()?
            }
            Self::Csv(table) => table.validate(model, "csv")?,
            Self::Jsonl(table) => table.validate(model, "jsonl")?,
            Self::Parquet(table) => table.validate(model, "parquet")?,
            Self::Npy(arrays) => arrays.validate()?,
            Self::Npz(arrays) => arrays.validate()?,
            Self::Safetensors(tensors) => tensors.validate()?,
            Self::Images(images) => images.validate(model)?,
            Self::Inline(rows) => rows.validate(model)?,
            Self::Client(data) => data.validate(model)?,
        };
        if let Some(rule) = self.normalise() {
            rule.validate()?;
        }
        Ok(self.target())
    }
}

/// Whether a name of a column, an array or a class is one.
fn named(of: &'static str, name: &str) -> Result<(), InvalidSpec> {
    if name.is_empty() || name.len() > MAX_COLUMN_NAME {
        return Err(field(
            of,
            format!("a name has 1 to {MAX_COLUMN_NAME} bytes"),
        ));
    }
    Ok(())
}

/// Whether rows of so many numbers fit a model.
fn fits(width: usize, model: &Model) -> Result<(), InvalidSpec> {
    let takes = model
        .input
        .iter()
        .try_fold(1_usize, |product, &axis| product.checked_mul(axis));
    if takes == Some(width) {
        return Ok(());
    }
    Err(field(
        "data",
        format!(
            "its samples have {width} numbers each, and the model's input is {:?}",
            model.input
        ),
    ))
}

#[cfg(test)]
mod tests;
