//! Comma-separated values, RFC 4180, with any delimiter.
//!
//! `csv-core` parses into buffers that are ours, so that a line of a gigabyte
//! ends with an error and not with a gigabyte.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use embermesh_job::spec::{Column, Dialect, Table};

use super::Set;
use super::columns::Columns;
use super::room::Room;
use super::table::{Cell, Rows};
use crate::failure::{InvalidData, Place};

/// The most text of one row, in bytes.
const MAX_RECORD: usize = 4 << 20;
/// The most fields of one row.
const MAX_FIELDS: usize = 1 << 18;
/// The mark of UTF-8 that some programs put at the beginning.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the rows of a file.
pub(crate) fn parse<I>(
    bytes: &[u8],
    table: &Table<I>,
    file: &str,
    room: &mut Room,
) -> Result<Set, InvalidData> {
    let mut records = Records::new(bytes, table.dialect.delimiter, file);
    let mut names = None;
    if table.dialect.header {
        let header = records
            .next()?
            .ok_or_else(|| Place::file(file).has("nothing", "a header that names the columns"))?;
        names = Some(header.names()?);
    }
    let mut chosen = None;
    let mut rows = Rows::new(table, file, room);
    while let Some(record) = records.next()? {
        let count = names.as_ref().map_or(record.len(), Vec::len);
        let columns = Columns {
            file,
            names: names.as_deref(),
            count,
        };
        let (chosen, count) = match &chosen {
            Some(chosen) => chosen,
            None => chosen.insert((columns.choose(table)?, count)),
        };
        if record.len() != *count {
            return Err(record.place().has(
                format!("{} fields", record.len()),
                format!("{count}, as in the first line"),
            ));
        }
        rows.begin(record.line);
        for (at, label) in &chosen.features {
            rows.feature(label, Cell::Text(record.text(*at, label)?))?;
        }
        for (at, label) in &chosen.targets {
            rows.target(label, Cell::Text(record.text(*at, label)?))?;
        }
        rows.end()?;
    }
    rows.finish()
}

/// The texts of one column.
pub(crate) fn texts(
    bytes: &[u8],
    column: &Column,
    dialect: &Dialect,
    file: &str,
    keep: &mut dyn FnMut(&str) -> Result<(), InvalidData>,
) -> Result<(), InvalidData> {
    let mut records = Records::new(bytes, dialect.delimiter, file);
    let mut names = None;
    if dialect.header {
        let header = records
            .next()?
            .ok_or_else(|| Place::file(file).has("nothing", "a header that names the columns"))?;
        names = Some(header.names()?);
    }
    let mut chosen = None;
    while let Some(record) = records.next()? {
        let columns = Columns {
            file,
            names: names.as_deref(),
            count: names.as_ref().map_or(record.len(), Vec::len),
        };
        let (at, label) = match &chosen {
            Some(chosen) => chosen,
            None => {
                let at = columns.find(column)?;
                chosen.insert((at, columns.label(at)))
            }
        };
        if *at >= record.len() {
            let found = format!("{} fields", record.len());
            return Err(record.place().column(label).has(found, "a text"));
        }
        keep(record.text(*at, label)?)?;
    }
    Ok(())
}

/// The records of a text, one after another.
struct Records<'a> {
    rest: &'a [u8],
    parser: Reader,
    file: &'a str,
    line: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// One of them.
struct Record<'a> {
    file: &'a str,
    line: u64,
    text: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8], delimiter: char, file: &'a str) -> Self {
        Self {
            rest: bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes),
            parser: ReaderBuilder::new().delimiter(delimiter as u8).build(),
            file,
            line: 1,
            text: vec![0; 4096],
            ends: vec![0; 256],
        }
    }

    fn next(&mut self) -> Result<Option<Record<'_>>, InvalidData> {
        // Empty lines are no records.
        while let Some((b'\n' | b'\r', _)) = self.rest.split_first() {
            self.consume(1);
        }
        let line = self.line;
        let (mut length, mut fields) = (0, 0);
        loop {
            let (result, read, written, ended) = self.parser.read_record(
                self.rest,
                &mut self.text[length..],
                &mut self.ends[fields..],
            );
            self.consume(read);
            length += written;
            fields += ended;
            let most = match result {
                ReadRecordResult::InputEmpty => continue,
                ReadRecordResult::OutputFull => double(&mut self.text, MAX_RECORD),
                ReadRecordResult::OutputEndsFull => double(&mut self.ends, MAX_FIELDS),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            };
            if let Err(most) = most {
                return Err(Place::file(self.file).row(line).has(
                    format!("a row of more than {length} bytes in {fields} fields"),
                    format!("at most {most}"),
                ));
            }
        }
        Ok(Some(Record {
            file: self.file,
            line,
            text: &self.text[..length],
            ends: &self.ends[..fields],
        }))
    }

    fn consume(&mut self, count: usize) {
        let (read, rest) = self.rest.split_at(count);
        self.line += read.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.rest = rest;
    }
}

/// Doubles a buffer, or says how large it may be.
fn double<T: Clone + Default>(buffer: &mut Vec<T>, most: usize) -> Result<(), usize> {
    if buffer.len() >= most {
        return Err(most);
    }
    let size = (buffer.len() * 2).min(most);
    buffer.resize(size, T::default());
    Ok(())
}

impl Record<'_> {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn place(&self) -> Place {
        Place::file(self.file).row(self.line)
    }

    fn text(&self, at: usize, label: &str) -> Result<&str, InvalidData> {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        std::str::from_utf8(&self.text[start..self.ends[at]]).map_err(|_| {
            self.place()
                .column(label)
                .has("bytes that are no UTF-8", "text")
        })
    }

    fn names(&self) -> Result<Vec<String>, InvalidData> {
        (0..self.len())
            .map(|at| {
                let name = self.text(at, &(at + 1).to_string())?;
                Ok(name.trim().to_owned())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
