//! Keeps the rows of which a condition is true.

use std::collections::BTreeSet;

use embermesh_job::spec::prepare::condition::{Condition, Relation, Value};

use super::Stage;
use crate::failure::InvalidData;
use crate::prepare::column::exactly;
use crate::prepare::table::Table;

/// A condition whose columns have been found.
enum Test<'a> {
    Compare(usize, Relation, &'a Value),
    Texts(usize, BTreeSet<&'a str>),
    Numbers(usize, Vec<f64>),
    Missing(usize),
    All(Vec<Test<'a>>),
    Any(Vec<Test<'a>>),
    Not(Box<Test<'a>>),
}

/// Keeps the rows of which this is true.
pub(super) fn filter(
    table: &mut Table,
    condition: &Condition,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let test = Test::of(condition, table)?;
    let mut kept = exactly(table.len(), stage.room, &stage.label)?;
    kept.extend(
        (0..table.len())
            .filter(|&row| test.holds(table, row))
            .map(|row| row as u32),
    );
    if kept.len() < table.len() {
        table.keep(&kept, stage.room, &stage.label)?;
    }
    stage.room.give(kept.capacity() as u64 * 4);
    Ok(())
}

impl<'a> Test<'a> {
    fn of(condition: &'a Condition, table: &Table) -> Result<Self, InvalidData> {
        let all = |conditions: &'a [Condition]| {
            conditions
                .iter()
                .map(|one| Self::of(one, table))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match condition {
            Condition::Compare { column, is, value } => {
                Self::Compare(table.find(column)?, *is, value)
            }
            Condition::OneOf { column, values } => {
                let texts: BTreeSet<&str> = values
                    .iter()
                    .filter_map(|value| match value {
                        Value::Text(text) => Some(text.as_str()),
                        Value::Number(_) => None,
                    })
                    .collect();
                let numbers = values.iter().filter_map(|value| match value {
                    Value::Number(number) => Some(*number),
                    Value::Text(_) => None,
                });
                let at = table.find(column)?;
                match texts.is_empty() {
                    true => Self::Numbers(at, numbers.collect()),
                    false => Self::Texts(at, texts),
                }
            }
            Condition::Missing { column } => Self::Missing(table.find(column)?),
            Condition::All(conditions) => Self::All(all(conditions)?),
            Condition::Any(conditions) => Self::Any(all(conditions)?),
            Condition::Not(one) => Self::Not(Box::new(Self::of(one, table)?)),
        })
    }

    fn holds(&self, table: &Table, row: usize) -> bool {
        match self {
            Self::Compare(at, is, Value::Number(value)) => {
                let number = table.columns[*at].number(row);
                number.partial_cmp(value).is_some_and(|it| stands(it, *is))
            }
            Self::Compare(at, is, Value::Text(value)) => {
                let text = table.columns[*at].text(row);
                text.is_some_and(|text| stands(text.cmp(value), *is))
            }
            Self::Texts(at, texts) => {
                let text = table.columns[*at].text(row);
                text.is_some_and(|text| texts.contains(text))
            }
            Self::Numbers(at, numbers) => {
                let number = table.columns[*at].number(row);
                numbers
                    .iter()
                    .any(|value| number.partial_cmp(value) == Some(std::cmp::Ordering::Equal))
            }
            Self::Missing(at) => table.columns[*at].is_gap(row),
            Self::All(tests) => tests.iter().all(|test| test.holds(table, row)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(table, row)),
            Self::Not(test) => !test.holds(table, row),
        }
    }
}

fn stands(found: std::cmp::Ordering, is: Relation) -> bool {
    match is {
        Relation::Equal => found.is_eq(),
        Relation::NotEqual => found.is_ne(),
        Relation::Less => found.is_lt(),
        Relation::AtMost => found.is_le(),
        Relation::More => found.is_gt(),
        Relation::AtLeast => found.is_ge(),
    }
}
