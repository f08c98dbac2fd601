//! The data of a preparation: opened, so that its columns are known, and then
//! read a piece at a time.

mod arrays;
mod csv;
mod inline;
mod jsonl;
mod parquet;
mod pictures;

use std::borrow::Cow;

use embermesh_job::spec::Input;
use embermesh_job::spec::prepare::raw::Raw;
use embermesh_job::spec::prepare::schema::Kind;

use super::table::Table;
use crate::dataset::load;
use crate::dataset::room::Room;
use crate::dataset::unpack::unpack;
use crate::failure::WorkFailed;
use crate::pipe::WorkOrder;

/// What is done with a piece of the rows. It gives back what the piece held.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Table, &mut Room) -> Result<(), WorkFailed>;

/// Rows that can be read.
pub(super) trait Rows {
    /// Shows all rows, in pieces of bounded size.
    fn each(&self, file: &str, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed>;
}

/// Data that was opened.
pub(super) struct Opened {
    /// What the data is called in messages.
    pub(super) file: &'static str,
    /// What is in it.
    pub(super) columns: Vec<(String, Kind)>,
    /// How many rows there are, where that is known before they are read.
    pub(super) count: Option<u64>,
    /// Why a column has texts, where it nearly had numbers.
    pub(super) remarks: Vec<(String, String)>,
    pub(super) rows: Box<dyn Rows>,
}

/// Opens the data of an order.
pub(super) fn open(raw: &Raw, order: &WorkOrder, room: &mut Room) -> Result<Opened, WorkFailed> {
    let file = name(raw);
    match raw {
        Raw::Csv(fields) => {
            let bytes = unpacked(fields.file, order, file, room)?;
            Ok(csv::open(bytes, fields, file, room)?)
        }
        Raw::Jsonl(fields) => {
            let bytes = unpacked(fields.file, order, file, room)?;
            Ok(jsonl::open(bytes, &fields.columns, file)?)
        }
        Raw::Parquet(fields) => {
            let bytes = load::input(fields.file, order)?;
            Ok(parquet::open(bytes, &fields.columns, file, room)?)
        }
        Raw::Npy(arrays) => {
            let mut held = arrays::Arrays::new(file);
            for (name, input) in arrays {
                let bytes = unpacked(*input, order, file, room)?;
                held.npy(name, bytes)?;
            }
            Ok(held.opened())
        }
        Raw::Npz(arrays) => {
            let mut held = arrays::Arrays::new(file);
            held.npz(&load::input(arrays.file, order)?, &arrays.arrays, room)?;
            Ok(held.opened())
        }
        Raw::Safetensors(arrays) => {
            let mut held = arrays::Arrays::new(file);
            held.safetensors(load::input(arrays.file, order)?, &arrays.arrays, room)?;
            Ok(held.opened())
        }
        Raw::Idx { images, labels } => {
            let mut held = arrays::Arrays::new(file);
            held.idx("image", unpacked(*images, order, file, room)?)?;
            if let Some(labels) = labels {
                held.idx("label", unpacked(*labels, order, file, room)?)?;
            }
            Ok(held.opened())
        }
        Raw::DigitsCsv { file: input } => {
            let mut held = arrays::Arrays::new(file);
            held.digits(&unpacked(*input, order, file, room)?, room)?;
            Ok(held.opened())
        }
        Raw::Images { archive } => Ok(pictures::open(load::input(*archive, order)?, file)),
        Raw::Inline(cells) => Ok(inline::open(cells, file)),
    }
}

/// What the data is called in messages.
fn name(raw: &Raw) -> &'static str {
    match raw {
        Raw::Csv(_) => "data.csv.file",
        Raw::Jsonl(_) => "data.jsonl.file",
        Raw::Parquet(_) => "data.parquet.file",
        Raw::Npy(_) => "data.npy",
        Raw::Npz(_) => "data.npz.file",
        Raw::Safetensors(_) => "data.safetensors.file",
        Raw::Idx { .. } => "data.idx",
        Raw::DigitsCsv { .. } => "data.digits_csv.file",
        Raw::Images { .. } => "data.images.archive",
        Raw::Inline(_) => "data.inline",
    }
}

/// The bytes of an input, unpacked when they are compressed by gzip.
fn unpacked(
    input: Input,
    order: &WorkOrder,
    file: &str,
    room: &mut Room,
) -> Result<Vec<u8>, WorkFailed> {
    let bytes = load::input(input, order)?;
    if let Cow::Owned(unpacked) = unpack(&bytes, file, room)? {
        return Ok(unpacked);
    }
    Ok(bytes)
}

/// Passes a piece on once it is large enough, and begins another.
struct Pieces<'a> {
    columns: &'a [(String, Kind)],
    piece: Table,
}

impl<'a> Pieces<'a> {
    fn new(columns: &'a [(String, Kind)]) -> Self {
        Self {
            columns,
            piece: Table::of(columns),
        }
    }

    /// The row that was appended to each column of the piece is whole.
    fn end_row(
        &mut self,
        row: u64,
        file: &str,
        room: &mut Room,
        visit: Visit<'_>,
    ) -> Result<(), WorkFailed> {
        self.piece.end_row(row, room, file)?;
        if self.piece.is_piece() {
            let next = Table::of(self.columns);
            visit(std::mem::replace(&mut self.piece, next), room)?;
        }
        Ok(())
    }

    /// The rows are over.
    fn end(self, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed> {
        if self.piece.len() > 0 {
            visit(self.piece, room)?;
        }
        Ok(())
    }
}
