//! Classes as numbers, as scikit-learn's `LabelEncoder` and `OneHotEncoder` make
//! them: sorted, unless the spec gives their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use embermesh_job::spec::prepare::condition::Value;
use embermesh_job::spec::prepare::encode::{MAX_CLASSES, MAX_ONE_HOT, Unknown};

use super::Stage;
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};
use crate::prepare::column::{Column, Values, exactly};
use crate::prepare::learnt::{Lessons, What};
use crate::prepare::table::Table;

/// A class to look up: numbers by their bits, of which zero has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Number(u64),
    Text(&'a str),
}

/// The numbers of classes in the column `name`.
pub(super) fn label(
    table: &mut Table,
    name: &str,
    classes: &[Value],
    lessons: &mut Lessons,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let classes = settle(table, at, classes, MAX_CLASSES, lessons, stage)?;
    let mut numbers: Vec<i32> = exactly(table.len(), stage.room, &stage.label)?;
    let known = known(&classes);
    for row in 0..table.len() {
        let class = key(&table.columns[at], row).and_then(|key| known.get(&key));
        let class = class.ok_or_else(|| stranger(table, at, row, &classes, stage))?;
        numbers.push(*class as i32);
    }
    replace(
        &mut table.columns[at],
        Vec::new(),
        Values::Integers(numbers),
        classes,
        stage,
    );
    Ok(())
}

/// A number a class in the column `name`: 1 for its class, 0 for the others.
pub(super) fn one_hot(
    table: &mut Table,
    name: &str,
    classes: &[Value],
    unknown: Unknown,
    lessons: &mut Lessons,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let classes = settle(table, at, classes, MAX_ONE_HOT, lessons, stage)?;
    let width = classes.len();
    let count = table.len().saturating_mul(width);
    let mut numbers: Vec<u8> = exactly(count, stage.room, &stage.label)?;
    let known = known(&classes);
    for row in 0..table.len() {
        let class = key(&table.columns[at], row).and_then(|key| known.get(&key));
        if class.is_none() && unknown == Unknown::Refuse {
            return Err(stranger(table, at, row, &classes, stage));
        }
        numbers.extend((0..width).map(|place| u8::from(class == Some(&place))));
    }
    replace(
        &mut table.columns[at],
        vec![width],
        Values::Bytes(numbers),
        classes,
        stage,
    );
    Ok(())
}

fn replace(
    column: &mut Column,
    shape: Vec<usize>,
    values: Values,
    classes: Vec<Value>,
    stage: &mut Stage<'_>,
) {
    stage.room.give(column.held());
    column.shape = shape;
    column.values = values;
    column.classes = Some(Arc::new(classes));
}

/// The classes that the spec gives, or those of the rows that train, sorted.
fn settle(
    table: &Table,
    at: usize,
    classes: &[Value],
    most: usize,
    lessons: &mut Lessons,
    stage: &mut Stage<'_>,
) -> Result<Vec<Value>, InvalidData> {
    if !classes.is_empty() {
        return Ok(classes.to_vec());
    }
    let name = &table.columns[at].name;
    let learn = |stage: &mut Stage<'_>| found(table, at, most, stage).map(What::Classes);
    match lessons.lesson(name, stage, learn)? {
        What::Classes(classes) if classes.len() <= most => Ok(classes),
        _ => Err(Lessons::other(name)),
    }
}

/// The classes of the rows that train, sorted.
fn found(
    table: &Table,
    at: usize,
    most: usize,
    stage: &mut Stage<'_>,
) -> Result<Vec<Value>, InvalidData> {
    let column = &table.columns[at];
    let mut texts = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for row in (0..table.len()).filter(|&row| table.trains(row)) {
        let is_new = match key(column, row) {
            None => continue,
            Some(Key::Text(text)) => texts.insert(text).then_some(text.len()),
            Some(Key::Number(bits)) => numbers.insert(bits).then_some(0),
        };
        let Some(length) = is_new else { continue };
        stage.room.take(64 + 2 * length as u64, &stage.label)?;
        if texts.len() + numbers.len() > most {
            return Err(stage.place(table, row, &column.name).has(
                "a further class",
                format!("at most {most} (is this a column of classes?)"),
            ));
        }
    }
    let mut sorted: Vec<f64> = numbers.into_iter().map(f64::from_bits).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let texts = texts.into_iter().map(|text| Value::Text(text.to_owned()));
    let classes: Vec<Value> = sorted.into_iter().map(Value::Number).chain(texts).collect();
    match classes.is_empty() {
        true => Err(InvalidData::Misfit(format!(
            "column {:?} has nothing in the rows that train",
            column.name
        ))),
        false => Ok(classes),
    }
}

fn known(classes: &[Value]) -> BTreeMap<Key<'_>, usize> {
    let keys = classes.iter().map(|class| match class {
        Value::Number(number) => Key::Number((number + 0.0).to_bits()),
        Value::Text(text) => Key::Text(text),
    });
    keys.zip(0..).collect()
}

fn key(column: &Column, row: usize) -> Option<Key<'_>> {
    match &column.values {
        Values::Texts(texts) => texts.get(row).map(Key::Text),
        _ => Some(column.number(row))
            .filter(|number| !number.is_nan())
            .map(|number| Key::Number((number + 0.0).to_bits())),
    }
}

/// A row whose class is none of those that are known.
fn stranger(
    table: &Table,
    at: usize,
    row: usize,
    classes: &[Value],
    stage: &Stage<'_>,
) -> InvalidData {
    let column = &table.columns[at];
    let said = |value: &Value| match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => quoted(text),
    };
    let found = column.value(row);
    let found = found.as_ref().map_or("nothing".to_owned(), said);
    let list: Vec<String> = classes.iter().take(8).map(said).collect();
    let more = if classes.len() > 8 { ", ..." } else { "" };
    let place: Place = stage.place(table, row, &column.name);
    place.has(found, format!("one of {}{more}", list.join(", ")))
}
