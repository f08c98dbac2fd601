//! A table of answers that is being written, in whatever format.

use embermesh_job::spec::TableFormat;

use super::answer::{Answer, Meaning};
use super::columns::Columns;
use super::lines::{Csv, Jsonl};
use crate::failure::WorkFailed;
use crate::output::Output;

/// Takes answers, and gives the file once all are there.
pub(super) trait Sheet {
    /// Appends rows.
    fn write(&mut self, answers: &[Answer]) -> Result<(), WorkFailed>;

    /// Ends the table.
    fn finish(self: Box<Self>) -> Result<Output, WorkFailed>;
}

/// Begins a table.
pub(super) fn open<'a>(
    format: TableFormat,
    output: Output,
    meaning: &'a Meaning,
) -> Result<Box<dyn Sheet + 'a>, WorkFailed> {
    Ok(match format {
        TableFormat::Jsonl => Box::new(Jsonl::new(output, meaning)),
        TableFormat::Csv => Box::new(Csv::new(output, meaning)?),
        TableFormat::Parquet => Box::new(Columns::new(output, meaning)?),
    })
}
