//! Tables: which columns of a file are features, which are targets, and what
//! becomes of a field with nothing in it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{MAX_WIDTH, Target, fits, named, none, normalise::Normalise};
use crate::{
    model::Model,
    spec::{
        Input, InvalidSpec,
        invalid::{field, within},
    },
};

/// The most columns that a spec may name.
const MAX_COLUMNS: usize = 16_384;

/// A table in one file, and perhaps a second whose rows are held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table<I = Input> {
    /// The file.
    pub file: I,
    /// Rows that are always kept out of training.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub holdout: Option<I>,
    /// How CSV is written; for other formats there is nothing to say.
    #[serde(default, skip_serializing_if = "Dialect::is_usual")]
    pub dialect: Dialect,
    /// The columns that make a sample, in this order; without any, all but the
    /// targets in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Column>,
    /// What a sample should give. Only a prediction can do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetColumns>,
    /// What becomes of a field with nothing in it.
    #[serde(default, skip_serializing_if = "Missing::is_usual")]
    pub missing: Missing,
    /// How features are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
}

/// How a CSV file is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dialect {
    /// What stands between two fields: one ASCII character.
    pub delimiter: char,
    /// Whether the first line names the columns.
    pub header: bool,
}

/// A column, by its name or its number from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a column's name, or its number from 1")]
pub enum Column {
    /// Its number, from 1.
    Number(u32),
    /// Its name.
    Name(String),
}

/// The columns that say what a sample should give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetColumns {
    /// One of several classes. Give either their `count`, when the column holds
    /// their numbers from 0, or the `labels` that it holds, in order.
    Classes {
        /// The column.
        column: Column,
        /// How many classes there are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
        /// The texts that stand for class 0, 1 and so on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        labels: Vec<String>,
    },
    /// Numbers, a column each.
    Numbers {
        /// The columns, in the order of the model's outputs.
        columns: Vec<Column>,
    },
}

/// What becomes of a field with nothing in it: an empty one, `NA`, `NaN`,
/// `null` or `?` in CSV, `null` or no field in JSON, a null in Parquet. For a
/// target it is `refuse`, whatever is said for features other than `drop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The data is refused, with row and column.
    #[default]
    Refuse,
    /// The row is left out.
    Drop,
    /// The mean of the column, over the samples that train.
    Mean,
    /// This number.
    Fill(f64),
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: ',',
            header: true,
        }
    }
}

impl Dialect {
    pub(in crate::spec) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Missing {
    fn is_usual(&self) -> bool {
        *self == Self::Refuse
    }
}

impl<I> Table<I> {
    /// A table of which every column but the targets is a feature.
    #[must_use]
    pub fn new(file: I, target: Option<TargetColumns>) -> Self {
        Self {
            file,
            holdout: None,
            dialect: Dialect::default(),
            features: Vec::new(),
            target,
            missing: Missing::Refuse,
            normalise: None,
        }
    }

    pub(super) fn target(&self) -> Target {
        match &self.target {
            None => Target::Nothing,
            Some(TargetColumns::Classes { count, labels, .. }) => {
                let named = u32::try_from(labels.len()).unwrap_or(u32::MAX);
                Target::Classes(count.unwrap_or(named))
            }
            Some(TargetColumns::Numbers { columns }) => {
                Target::Numbers(u32::try_from(columns.len()).unwrap_or(u32::MAX))
            }
        }
    }

    pub(super) fn labels(&self) -> &[String] {
        match &self.target {
            Some(TargetColumns::Classes { labels, .. }) => labels,
            _ => &[],
        }
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Table<J>, E> {
        Ok(Table {
            file: name(self.file)?,
            holdout: self.holdout.map(&mut *name).transpose()?,
            dialect: self.dialect,
            features: self.features,
            target: self.target,
            missing: self.missing,
            normalise: self.normalise,
        })
    }

    pub(super) fn validate(&self, model: &Model, format: &str) -> Result<Target, InvalidSpec> {
        let delimiter = self.dialect.delimiter;
        if !delimiter.is_ascii() || matches!(delimiter, '"' | '\n' | '\r' | '\0') {
            return Err(field(
                "data.csv.dialect.delimiter",
                "give one ASCII character, and no quote or end of line",
            ));
        }
        if format != "csv" && !self.dialect.is_usual() {
            return Err(field("data.dialect", format!("{format} has no dialects")));
        }
        if format == "jsonl" && self.features.is_empty() {
            return Err(field(
                "data.jsonl.features",
                "name the fields that make a sample, in their order",
            ));
        }
        let targets = match &self.target {
            None => Vec::new(),
            Some(target) => target.validate()?,
        };
        let mut seen = BTreeSet::new();
        within(
            "data.features",
            self.features.len() as u64,
            0,
            MAX_COLUMNS as u64,
        )?;
        for column in self.features.iter().chain(targets) {
            column.validate(format, self.dialect.header)?;
            if !seen.insert(column) {
                return Err(field(
                    "data.features",
                    format!("{column} is named twice, as a feature or a target"),
                ));
            }
        }
        if let Missing::Fill(value) = self.missing
            && !value.is_finite()
        {
            return Err(field("data.missing.fill", format!("{value} is no number")));
        }
        // A field of JSON or a column of Parquet may be a list.
        if format == "csv" && !self.features.is_empty() {
            fits(self.features.len(), model)?;
        }
        self.target().validate()
    }
}

impl TargetColumns {
    /// Checks what it says of classes, and gives its columns.
    fn validate(&self) -> Result<Vec<&Column>, InvalidSpec> {
        match self {
            Self::Numbers { columns } => {
                within(
                    "data.target.numbers.columns",
                    columns.len() as u64,
                    1,
                    MAX_WIDTH.into(),
                )?;
                Ok(columns.iter().collect())
            }
            Self::Classes {
                column,
                count,
                labels,
            } => {
                if count.is_some() != labels.is_empty() {
                    return Err(field(
                        "data.target.classes",
                        "give `count` when the column holds numbers from 0, or `labels` when it holds texts",
                    ));
                }
                let mut seen = BTreeSet::new();
                for label in labels {
                    named("data.target.classes.labels", label)?;
                    if !seen.insert(label) {
                        return Err(field(
                            "data.target.classes.labels",
                            format!("\"{label}\" stands for two classes"),
                        ));
                    }
                }
                Ok(vec![column])
            }
        }
    }
}

impl Column {
    fn validate(&self, format: &str, header: bool) -> Result<(), InvalidSpec> {
        match self {
            Self::Name(name) => {
                if !header {
                    return Err(field(
                        "data.csv.features",
                        format!("without a header there is no column \"{name}\": give numbers"),
                    ));
                }
                named("data.features", name)
            }
            Self::Number(_) if format == "jsonl" => Err(field(
                "data.jsonl.features",
                "fields of JSON have names and no numbers",
            )),
            Self::Number(number) => within("data.features", u64::from(*number), 1, 1 << 24),
        }
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "column \"{name}\""),
            Self::Number(number) => write!(f, "column {number}"),
        }
    }
}
