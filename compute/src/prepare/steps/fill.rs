//! Puts something where nothing is.

use std::collections::BTreeMap;

use embermesh_job::spec::prepare::condition::Value;
use embermesh_job::spec::prepare::encode::Filling;

use super::Stage;
use crate::failure::InvalidData;
use crate::prepare::column::{Column, Values, exactly};
use crate::prepare::learnt::{Lessons, What};
use crate::prepare::table::Table;
use crate::prepare::texts::Texts;

/// Fills the gaps of a column.
pub(super) fn fill(
    table: &mut Table,
    name: &str,
    with: &Filling,
    lessons: &mut Lessons,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let value = match with {
        Filling::Number(number) => Value::Number(*number),
        Filling::Text(text) => Value::Text(text.clone()),
        learnt => {
            let learn = |stage: &mut Stage<'_>| Ok(What::Filling(of(table, at, learnt, stage)?));
            match lessons.lesson(name, stage, learn)? {
                What::Filling(value) => value,
                _ => return Err(Lessons::other(name)),
            }
        }
    };
    let column = &mut table.columns[at];
    match (&mut column.values, &value) {
        (Values::Numbers(list), Value::Number(number)) => {
            for it in list.iter_mut().filter(|it| it.is_nan()) {
                *it = *number;
            }
        }
        (Values::Floats(list), Value::Number(number)) => {
            for it in list.iter_mut().filter(|it| it.is_nan()) {
                *it = *number as f32;
            }
        }
        (Values::Texts(texts), Value::Text(text)) => {
            let mut filled = Texts::default();
            for row in 0..texts.len() {
                let it = texts.get(row).or(Some(text));
                filled.push(it, stage.room, &stage.label)?;
            }
            stage.room.give(texts.held());
            *texts = filled;
        }
        // Of whole numbers none is missing.
        (Values::Bytes(_) | Values::Integers(_), Value::Number(_)) => {}
        _ => return Err(Lessons::other(name)),
    }
    Ok(())
}

/// What fills the gaps, by the rows that train.
fn of(
    table: &Table,
    at: usize,
    with: &Filling,
    stage: &mut Stage<'_>,
) -> Result<Value, InvalidData> {
    let column = &table.columns[at];
    let rows = (0..table.len()).filter(|&row| table.trains(row) && !column.is_gap(row));
    if rows.clone().next().is_none() {
        return Err(InvalidData::Misfit(format!(
            "column {:?} has nothing in the rows that train",
            column.name
        )));
    }
    if let (Filling::MostFrequent, Values::Texts(_)) = (with, &column.values) {
        let mut counts = BTreeMap::<&str, u64>::new();
        for text in rows.filter_map(|row| column.text(row)) {
            *counts.entry(text).or_default() += 1;
        }
        return Ok(Value::Text(most(counts).unwrap_or_default().to_owned()));
    }
    let count = rows.clone().count();
    let mut numbers: Vec<f64> = exactly(count, stage.room, &stage.label)?;
    numbers.extend(rows.map(|row| column.number(row)));
    let value = match with {
        Filling::Mean => mean(&numbers),
        Filling::Median => {
            numbers.sort_unstable_by(f64::total_cmp);
            let (low, high) = (numbers[(count - 1) / 2], numbers[count / 2]);
            low + (high - low) / 2.0
        }
        _ => most_frequent(&mut numbers, column),
    };
    stage.room.give(numbers.capacity() as u64 * 8);
    Ok(Value::Number(value))
}

fn mean(numbers: &[f64]) -> f64 {
    let mut mean = 0.0;
    for (count, number) in (1..).zip(numbers) {
        mean += (number - mean) / f64::from(count);
    }
    mean
}

/// The number that is there most often; of several the least.
fn most_frequent(numbers: &mut [f64], column: &Column) -> f64 {
    debug_assert!(column.shape.is_empty(), "one number a row");
    numbers.sort_unstable_by(f64::total_cmp);
    let runs = numbers.chunk_by(|one, other| one.total_cmp(other).is_eq());
    let mut best: &[f64] = &[];
    for run in runs {
        if run.len() > best.len() {
            best = run;
        }
    }
    best.first().copied().unwrap_or(f64::NAN)
}

/// The key with the largest count; of several the first.
fn most(counts: BTreeMap<&str, u64>) -> Option<&str> {
    let mut best = None;
    for (key, count) in counts {
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((key, count));
        }
    }
    best.map(|(key, _)| key)
}
