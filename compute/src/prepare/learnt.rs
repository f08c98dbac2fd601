//! What steps learn of the rows that train, so that it can be applied to other
//! rows later; and the record of a preparation, `prepared.json`, that carries it.

use std::collections::{BTreeMap, VecDeque};

use embermesh_job::spec::PreparedFormat;
use embermesh_job::spec::prepare::condition::Value;
use serde::{Deserialize, Serialize};

use super::column::{Column, Values};
use super::steps::Stage;
use crate::failure::{InvalidData, Place};

/// The largest record that is read, in bytes.
const MAX_RECORD: usize = 64 << 20;
/// Bytes that a byte of a record may become.
const GROWTH: u64 = 16;

/// What one step learnt of one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lesson {
    /// The number of the step, from 1.
    step: usize,
    /// What the step is called.
    word: String,
    column: String,
    is: What,
}

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum What {
    /// Mean and deviation of each number, or of each channel.
    Scale {
        /// What is taken off.
        mean: Vec<f64>,
        /// What the rest is divided by.
        deviation: Vec<f64>,
    },
    /// The least and the largest of each number, or of each channel.
    Range {
        /// What becomes 0.
        least: Vec<f64>,
        /// What becomes 1.
        most: Vec<f64>,
    },
    /// The classes, in order.
    Classes(Vec<Value>),
    /// What fills gaps.
    Filling(Value),
}

/// What the steps learn, or what they are given instead.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    given: Option<VecDeque<Lesson>>,
    all: Vec<Lesson>,
}

/// The record of a preparation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    format: PreparedFormat,
    /// The rows of each split.
    rows: BTreeMap<String, u64>,
    columns: Vec<Described>,
    learnt: Vec<Lesson>,
}

/// A column of the result.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    /// Of its elements: u8, i32, f32, f64 or text.
    r#type: String,
    /// Of a row; empty for one number or text.
    shape: Vec<usize>,
    /// What its numbers stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<Value>,
}

impl Lessons {
    /// What an earlier preparation learnt, from its record.
    pub(crate) fn given(bytes: &[u8], stage: &mut Stage<'_>) -> Result<Self, InvalidData> {
        let wrong = |found: String| {
            Place::file("learnt").has(found, "the prepared.json of an earlier preparation")
        };
        if bytes.len() > MAX_RECORD {
            return Err(wrong(format!("{} bytes", bytes.len())));
        }
        stage.room.take(bytes.len() as u64 * GROWTH, "learnt")?;
        let record: Record =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            given: Some(record.learnt.into()),
            all: Vec::new(),
        })
    }

    /// What a step is to know of a column: what is given, else what it learns.
    pub(super) fn lesson(
        &mut self,
        column: &str,
        stage: &mut Stage<'_>,
        learn: impl FnOnce(&mut Stage<'_>) -> Result<What, InvalidData>,
    ) -> Result<What, InvalidData> {
        let is = match &mut self.given {
            None => learn(stage)?,
            Some(given) => match given.pop_front() {
                Some(lesson) if lesson.word == stage.word && lesson.column == column => lesson.is,
                other => {
                    let has = other.map_or("nothing more".to_owned(), |other| {
                        format!("a `{}` of column {:?}", other.word, other.column)
                    });
                    return Err(InvalidData::Misfit(format!(
                        "`learnt` has {has} next, and this is a `{}` of column {column:?}: give the record of a preparation with the same steps",
                        stage.word
                    )));
                }
            },
        };
        self.all.push(Lesson {
            step: stage.number,
            word: stage.word.to_owned(),
            column: column.to_owned(),
            is: is.clone(),
        });
        Ok(is)
    }

    /// What is given does not fit the column.
    pub(super) fn other(column: &str) -> InvalidData {
        InvalidData::Misfit(format!(
            "what is known of column {column:?} is of another kind of column"
        ))
    }
}

impl Record {
    pub(crate) fn new(
        format: PreparedFormat,
        rows: BTreeMap<String, u64>,
        columns: &[Column],
        lessons: Lessons,
    ) -> Self {
        let columns = columns.iter().map(|column| Described {
            name: column.name.clone(),
            r#type: element(&column.values).to_owned(),
            shape: column.shape.clone(),
            classes: column
                .classes
                .as_ref()
                .map(|classes| classes.to_vec())
                .unwrap_or_default(),
        });
        Self {
            format,
            rows,
            columns: columns.collect(),
            learnt: lessons.all,
        }
    }
}

/// What the elements of a column are called.
fn element(values: &Values) -> &'static str {
    match values {
        Values::Bytes(_) | Values::Pictures(_) => "u8",
        Values::Integers(_) => "i32",
        Values::Floats(_) => "f32",
        Values::Numbers(_) => "f64",
        Values::Texts(_) => "text",
    }
}
