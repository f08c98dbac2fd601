//! Numbers on a common scale, as scikit-learn's `StandardScaler` and
//! `MinMaxScaler` make it.

use super::Stage;
use crate::failure::InvalidData;
use crate::prepare::column::{Column, Values, exactly};
use crate::prepare::learnt::{Lessons, What};
use crate::prepare::table::Table;

/// A range below this is none.
const LEAST_RANGE: f64 = 10.0 * f64::EPSILON;

/// Takes off the mean and divides by the deviation.
pub(super) fn standardise(
    table: &mut Table,
    name: &str,
    lessons: &mut Lessons,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let learn = |_: &mut Stage<'_>| {
        let sums = sums(table, at)?;
        Ok(What::Scale {
            mean: sums.iter().map(|sums| sums.mean).collect(),
            deviation: sums.iter().map(Sums::deviation).collect(),
        })
    };
    match lessons.lesson(name, stage, learn)? {
        What::Scale { mean, deviation } => apply(&mut table.columns[at], &mean, &deviation, stage),
        _ => Err(Lessons::other(name)),
    }
}

/// Brings the least number to 0 and the largest to 1.
pub(super) fn min_max(
    table: &mut Table,
    name: &str,
    lessons: &mut Lessons,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let at = table.find(name)?;
    let learn = |_: &mut Stage<'_>| {
        let sums = sums(table, at)?;
        Ok(What::Range {
            least: sums.iter().map(|sums| sums.least).collect(),
            most: sums.iter().map(|sums| sums.most).collect(),
        })
    };
    match lessons.lesson(name, stage, learn)? {
        What::Range { least, most } if least.len() == most.len() => {
            let ranges: Vec<f64> = least
                .iter()
                .zip(&most)
                .map(|(least, most)| match most - least {
                    range if range < LEAST_RANGE => 1.0,
                    range => range,
                })
                .collect();
            apply(&mut table.columns[at], &least, &ranges, stage)
        }
        _ => Err(Lessons::other(name)),
    }
}

/// How many groups of a row's numbers are scaled by themselves: the channels of a
/// picture, else each number.
fn groups(column: &Column) -> usize {
    match column.shape[..] {
        [channels, _, _] => channels,
        _ => column.volume(),
    }
}

/// What the rows that train come to, a group each.
fn sums(table: &Table, at: usize) -> Result<Vec<Sums>, InvalidData> {
    let column = &table.columns[at];
    let (volume, groups) = (column.volume(), groups(column));
    let size = (volume / groups.max(1)).max(1);
    let mut sums = vec![Sums::default(); groups];
    for row in (0..table.len()).filter(|&row| table.trains(row)) {
        for place in 0..volume {
            sums[place / size].add(column.number(row * volume + place));
        }
    }
    match sums.iter().any(|sums| sums.count == 0.0) {
        true => Err(InvalidData::Misfit(format!(
            "column {:?} has nothing in the rows that train",
            column.name
        ))),
        false => Ok(sums),
    }
}

/// Takes `off` each group and divides by `by`.
pub(super) fn apply(
    column: &mut Column,
    off: &[f64],
    by: &[f64],
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let (volume, groups) = (column.volume(), groups(column));
    let usable = |factor: &f64| factor.is_finite() && *factor != 0.0;
    if off.len() != groups || by.len() != groups || !by.iter().all(usable) {
        return Err(InvalidData::Misfit(format!(
            "column {:?} has {groups} numbers to scale, and there are {} to scale by",
            column.name,
            off.len().min(by.len())
        )));
    }
    let size = (volume / groups.max(1)).max(1);
    let group = |at: usize| at % volume.max(1) / size;
    let scaled = |at: usize, x: f64| (x - off[group(at)]) / by[group(at)];
    match &mut column.values {
        Values::Numbers(list) => {
            for (at, x) in list.iter_mut().enumerate() {
                *x = scaled(at, *x);
            }
        }
        Values::Floats(list) => {
            for (at, x) in list.iter_mut().enumerate() {
                *x = scaled(at, f64::from(*x)) as f32;
            }
        }
        Values::Bytes(list) => {
            let floats = narrow(list, scaled, stage)?;
            stage.room.give(list.capacity() as u64);
            column.values = Values::Floats(floats);
        }
        Values::Integers(list) => {
            let floats = narrow(list, scaled, stage)?;
            stage.room.give(list.capacity() as u64 * 4);
            column.values = Values::Floats(floats);
        }
        Values::Texts(_) | Values::Pictures(_) => return Err(Lessons::other(&column.name)),
    }
    column.classes = None;
    Ok(())
}

fn narrow<T: Copy + Into<f64>>(
    list: &[T],
    scaled: impl Fn(usize, f64) -> f64,
    stage: &mut Stage<'_>,
) -> Result<Vec<f32>, InvalidData> {
    let mut floats = exactly(list.len(), stage.room, &stage.label)?;
    let numbers = list.iter().enumerate();
    floats.extend(numbers.map(|(at, &x)| scaled(at, x.into()) as f32));
    Ok(floats)
}

/// Numbers as they run along (Welford); what is missing is passed over.
#[derive(Clone, Copy, Debug)]
struct Sums {
    count: f64,
    mean: f64,
    spread: f64,
    least: f64,
    most: f64,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            count: 0.0,
            mean: 0.0,
            spread: 0.0,
            least: f64::INFINITY,
            most: f64::NEG_INFINITY,
        }
    }
}

impl Sums {
    fn add(&mut self, x: f64) {
        if x.is_nan() {
            return;
        }
        self.count += 1.0;
        let before = x - self.mean;
        self.mean += before / self.count;
        self.spread += before * (x - self.mean);
        self.least = self.least.min(x);
        self.most = self.most.max(x);
    }

    /// The deviation of a population; 1 of numbers that are all the same, as far
    /// as rounding lets that be seen.
    fn deviation(&self) -> f64 {
        let variance = self.spread / self.count;
        let rounding =
            self.count * f64::EPSILON * variance + (self.count * self.mean * f64::EPSILON).powi(2);
        match variance <= rounding {
            true => 1.0,
            false => variance.sqrt(),
        }
    }
}
