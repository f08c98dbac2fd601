//! Which rows there are, in which order and in which split: by draws that are a
//! function of the step's number and its seed alone.

use std::collections::BTreeMap;

use embermesh_job::spec::prepare::step::Amount;

use super::Stage;
use crate::failure::InvalidData;
use crate::prepare::column::exactly;
use crate::prepare::table::{SPLITS, TRAIN, Table};
use crate::randomness::{Purpose, permutation, stream};

/// Splits the rows by the shares that validate and test.
pub(super) fn split(
    table: &mut Table,
    shares: [f64; 2],
    stratify: Option<&str>,
    seed: u32,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let strata = match stratify {
        None => vec![table.split(TRAIN, stage.room, &stage.label)?],
        Some(column) => strata(table, column, stage)?,
    };
    let mut splits: Vec<u8> = exactly(table.len(), stage.room, &stage.label)?;
    splits.resize(table.len(), TRAIN);
    for (number, rows) in (0..).zip(&strata) {
        let order = drawn(rows.len(), seed, number, stage)?;
        let mut order = order.into_iter().map(|place| rows[place as usize] as usize);
        for (split, share) in (1..).zip(shares) {
            let count = (rows.len() as f64 * share).round() as usize;
            for row in order.by_ref().take(count) {
                splits[row] = split;
            }
        }
    }
    stage
        .room
        .give(strata.iter().map(|rows| rows.capacity() as u64 * 4).sum());
    for (split, share) in (0..).zip([1.0, shares[0], shares[1]]) {
        if share > 0.0 && !splits.contains(&split) {
            return Err(InvalidData::Misfit(format!(
                "of {} rows none comes into the split {:?}: give more rows or another share",
                table.len(),
                SPLITS[usize::from(split)]
            )));
        }
    }
    table.splits = splits;
    Ok(())
}

/// The rows of each class of a column, in order of the classes.
fn strata(table: &Table, name: &str, stage: &mut Stage<'_>) -> Result<Vec<Vec<u32>>, InvalidData> {
    let column = &table.columns[table.find(name)?];
    let mut strata = BTreeMap::<(u64, Option<&str>), Vec<u32>>::new();
    for row in 0..table.len() {
        let text = column.text(row);
        let number = match text {
            Some(_) => 0,
            None if column.is_gap(row) => {
                return Err(stage
                    .place(table, row, name)
                    .has("nothing", "a class to split by"));
            }
            None => (column.number(row) + 0.0).to_bits(),
        };
        let rows = strata.entry((number, text)).or_default();
        stage.room.reserve(rows, 1, &stage.label)?;
        rows.push(row as u32);
    }
    Ok(strata.into_values().collect())
}

/// The numbers below `count` in an order that is drawn.
fn drawn(
    count: usize,
    seed: u32,
    stratum: u64,
    stage: &mut Stage<'_>,
) -> Result<Vec<u32>, InvalidData> {
    let needed = count as u64 * 4;
    stage.room.take(needed, &stage.label)?;
    let mut rng = stream(seed, Purpose::Prepare, stage.number as u64, stratum);
    let order = permutation(u32::try_from(count).unwrap_or(u32::MAX), &mut rng);
    stage.room.give(needed);
    Ok(order)
}

/// Keeps some of the rows, in their order.
pub(super) fn sample(
    table: &mut Table,
    rows: Amount,
    seed: u32,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let all = table.len();
    let count = match rows {
        Amount::Count(count) => (count as usize).min(all),
        Amount::Share(share) => ((all as f64 * share).round() as usize).min(all),
    };
    let mut kept = drawn(all, seed, 0, stage)?;
    kept.truncate(count);
    kept.sort_unstable();
    table.keep(&kept, stage.room, &stage.label)
}

/// Puts the rows into another order.
pub(super) fn shuffle(
    table: &mut Table,
    seed: u32,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let order = drawn(table.len(), seed, 0, stage)?;
    table.keep(&order, stage.room, &stage.label)
}

/// Keeps the first rows.
pub(super) fn limit(
    table: &mut Table,
    rows: u32,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    if table.len() <= rows as usize {
        return Ok(());
    }
    let first: Vec<u32> = (0..rows).collect();
    table.keep(&first, stage.room, &stage.label)
}
