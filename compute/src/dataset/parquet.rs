//! Apache Parquet: columns of numbers, flat or of one level of lists, and of
//! texts where they are labels.
//!
//! The crate that decodes it trusts what headers say of sizes, so footer and
//! page headers are judged first ([`pages`]); what it gives up on with a panic
//! is an error here.

mod column;
mod delta;
mod pages;
pub(crate) mod rows;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, RowGroupReader};
use ::parquet::file::serialized_reader::SerializedFileReader;
use bytes::Bytes;
use embermesh_job::spec::Table;

use self::column::Column;
use super::Set;
use super::columns::{Chosen, Columns};
use super::room::Room;
use super::table::Rows;
use crate::failure::{InvalidData, Place};

/// What a file begins and ends with.
const MAGIC: &[u8] = b"PAR1";
/// The largest footer, in bytes.
const MAX_FOOTER: usize = 16 << 20;
/// Bytes that a byte of the footer may become.
const FOOTER_GROWTH: u64 = 64;
/// The most row groups of a file.
const MAX_GROUPS: usize = 1 << 16;
/// Rows that are read at a time.
const BATCH: usize = 1024;

/// Reads the rows of a file.
pub(crate) fn parse<I>(
    bytes: Vec<u8>,
    table: &Table<I>,
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let footer = footer(&bytes, file)?;
    let growth = footer as u64 * FOOTER_GROWTH;
    room.take(growth, file)?;
    let bytes = Bytes::from(bytes);
    let set = catch_unwind(AssertUnwindSafe(|| read(&bytes, table, file, room)));
    let set = set.unwrap_or_else(|_| {
        Err(Place::file(file).has("pages that cannot be decoded", "a whole Parquet file"))
    })?;
    room.give(growth);
    Ok(set)
}

/// Bytes of the footer, which must be there.
fn footer(bytes: &[u8], file: &str) -> Result<usize, InvalidData> {
    let wrong = |found: String, expected: String| Place::file(file).has(found, expected);
    if !bytes.starts_with(MAGIC) || !bytes.ends_with(MAGIC) || bytes.len() < 12 {
        return Err(wrong(
            "another beginning or end".to_owned(),
            "a whole Parquet file (PAR1 at both ends)".to_owned(),
        ));
    }
    let tail = &bytes[bytes.len() - 8..];
    let size = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]) as usize;
    let most = MAX_FOOTER.min(bytes.len() - 12);
    if size > most {
        return Err(wrong(
            format!("a footer of {size} bytes"),
            format!("at most {most}"),
        ));
    }
    Ok(size)
}

fn read<I>(
    bytes: &Bytes,
    table: &Table<I>,
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let broken = |error: ParquetError| unreadable(file, &error);
    let reader = SerializedFileReader::new(bytes.clone()).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let names: Vec<String> = schema
        .columns()
        .iter()
        .map(|leaf| column::name(leaf))
        .collect();
    let columns = Columns {
        file,
        names: Some(&names),
        count: names.len(),
    };
    let chosen = columns.choose(table)?;
    for (at, label) in chosen.features.iter().chain(&chosen.targets) {
        column::check(&schema.column(*at), &Place::file(file).column(label))?;
    }
    let groups = reader.num_row_groups();
    if groups > MAX_GROUPS {
        return Err(Place::file(file).has(
            format!("{groups} row groups"),
            format!("at most {MAX_GROUPS}"),
        ));
    }
    let read = chosen.features.iter().chain(&chosen.targets);
    let most = take_pages(&reader, bytes, read, file, room)?;
    let mut row = 0;
    let mut rows = Rows::new(table, file, room);
    for number in 0..groups {
        let group = reader.get_row_group(number).map_err(broken)?;
        row = rows_of(&*group, number, &chosen, row, file, &mut rows)?;
    }
    let set = rows.finish()?;
    room.give(most);
    Ok(set)
}

/// Judges the pages of these columns, each with its label, and takes the memory that
/// pages, dictionaries and texts as differences need while rows are read; gives how
/// much that is.
fn take_pages<'a>(
    reader: &SerializedFileReader<Bytes>,
    bytes: &Bytes,
    columns: impl Iterator<Item = &'a (usize, String)> + Clone,
    file: &str,
    room: &mut Room,
) -> Result<u64, InvalidData> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let mut most = 0_u64;
    let mut within = Vec::new();
    for (number, group) in reader.metadata().row_groups().iter().enumerate() {
        let mut needed = 0_u64;
        for (at, label) in columns.clone() {
            let lists = schema.column(*at).max_rep_level() > 0;
            let place = Place::file(file).column(label);
            let pages = pages::check(bytes, group.column(*at), lists, &place)?;
            needed = needed.saturating_add(pages.needed);
            if pages.deltas {
                within.push((number, *at, place));
            }
        }
        most = most.max(needed);
    }
    room.take(most, file)?;
    let mut expanded = 0_u64;
    for (number, at, place) in within {
        let group = reader
            .get_row_group(number)
            .map_err(|error| unreadable(file, &error))?;
        let pages = group
            .get_column_page_reader(at)
            .map_err(|error| unreadable(file, &error))?;
        let leaf = schema.column(at);
        let needed = delta::check(pages, &leaf, room.left(), &place)?;
        expanded = expanded.max(needed);
    }
    room.take(expanded, file)?;
    Ok(most.saturating_add(expanded))
}

fn unreadable(file: &str, error: &ParquetError) -> InvalidData {
    Place::file(file).has(
        format!("what cannot be read ({error})"),
        "a Parquet file, plain or snappy-compressed",
    )
}

/// Reads the rows of a group, which come after `row` others.
fn rows_of(
    group: &dyn RowGroupReader,
    number: usize,
    chosen: &Chosen,
    mut row: u64,
    file: &str,
    rows: &mut Rows<'_>,
) -> Result<u64, InvalidData> {
    let open = |columns: &[(usize, String)]| {
        columns
            .iter()
            .map(|(at, label)| Column::open(group, *at, label, file))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut features = open(&chosen.features)?;
    let mut targets = open(&chosen.targets)?;
    let claimed = group.metadata().num_rows();
    let mut left = usize::try_from(claimed).map_err(|_| {
        Place::file(file).has(
            format!("a row group (number {}) of {claimed} rows", number + 1),
            "a number of rows",
        )
    })?;
    while left > 0 {
        let count = left.min(BATCH);
        for column in features.iter_mut().chain(&mut targets) {
            column.read(count, row + 1)?;
        }
        for at in 0..count {
            row += 1;
            rows.begin(row);
            for column in &features {
                column.each(at, |label, cell| rows.feature(label, cell))?;
            }
            for column in &targets {
                column.each(at, |label, cell| rows.target(label, cell))?;
            }
            rows.end()?;
        }
        left -= count;
    }
    Ok(row)
}

#[cfg(test)]
mod tests;
