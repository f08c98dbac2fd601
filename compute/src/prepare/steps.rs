//! What each step does to rows.

mod encode;
mod fill;
mod filter;
mod picture;
mod scale;
mod select;
mod split;
pub(super) mod tokens;

use embermesh_job::spec::prepare::step::Step;

use self::tokens::Tokens;
use super::learnt::Lessons;
use super::table::Table;
use crate::dataset::room::Room;
use crate::failure::{InvalidData, Place};

/// A step at work.
pub(crate) struct Stage<'a> {
    /// Its number, from 1.
    pub(super) number: usize,
    pub(super) word: &'static str,
    /// What the data is called in messages.
    pub(super) file: &'static str,
    pub(super) room: &'a mut Room,
    /// What the step is called where it asks for memory.
    pub(super) label: String,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        number: usize,
        word: &'static str,
        file: &'static str,
        room: &'a mut Room,
    ) -> Self {
        Self {
            number,
            word,
            file,
            room,
            label: format!("step {number} ({word})"),
        }
    }

    /// Where a row of a column stands in the file.
    fn place(&self, table: &Table, row: usize, column: &str) -> Place {
        table.place(self.file, row, column)
    }
}

/// Does a step.
///
/// # Errors
/// With the number of the step, unless memory is short.
pub(super) fn run(
    step: &Step,
    table: &mut Table,
    tokens: Option<&Tokens<'_>>,
    lessons: &mut Lessons,
    stage: &mut Stage<'_>,
) -> Result<(), InvalidData> {
    let done = match step {
        Step::Select { columns } => select::select(table, columns, stage),
        Step::Drop { columns } => select::drop(table, columns, stage),
        Step::Rename { from, to } => select::rename(table, from, to),
        Step::Filter(condition) => filter::filter(table, condition, stage),
        Step::Fill { columns, with } => columns
            .iter()
            .try_for_each(|column| fill::fill(table, column, with, lessons, stage)),
        Step::Standardise { columns } => columns
            .iter()
            .try_for_each(|column| scale::standardise(table, column, lessons, stage)),
        Step::MinMax { columns } => columns
            .iter()
            .try_for_each(|column| scale::min_max(table, column, lessons, stage)),
        Step::OneHot {
            columns,
            classes,
            unknown,
        } => columns.iter().try_for_each(|column| {
            encode::one_hot(table, column, classes, *unknown, lessons, stage)
        }),
        Step::LabelEncode { column, classes } => {
            encode::label(table, column, classes, lessons, stage)
        }
        Step::Split {
            validation,
            test,
            stratify,
            seed,
        } => split::split(
            table,
            [*validation, *test],
            stratify.as_deref(),
            *seed,
            stage,
        ),
        Step::Sample { rows, seed } => split::sample(table, *rows, *seed, stage),
        Step::Shuffle { seed } => split::shuffle(table, *seed, stage),
        Step::Limit { rows } => split::limit(table, *rows, stage),
        Step::Resize {
            column,
            height,
            width,
            by,
        } => picture::resize(table, column, [*height, *width], *by, stage),
        Step::Crop {
            column,
            height,
            width,
            from,
        } => picture::crop(table, column, [*height, *width], *from, stage),
        Step::Greyscale { column } => picture::grey(table, column, stage),
        Step::Pixels(pixels) => picture::pixels(table, pixels, stage),
        Step::Tokenise(how) => match tokens {
            Some(tokens) => tokens::tokenise(table, how, tokens, stage),
            None => Err(InvalidData::Misfit("its tokenizer was not read".to_owned())),
        },
    };
    done.map_err(|error| error.in_step(stage.number, stage.word))
}

#[cfg(test)]
mod tests;
