//! Rows as Parquet: a column a column; several numbers a row are a list.

use std::path::PathBuf;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use crate::dataset::room::Room;
use crate::failure::{WorkFailed, at};
use crate::output::Output;
use crate::prepare::column::{Column, Values};
use crate::prepare::table::Table;

/// Bytes of values that go into a row group.
const GROUP_BYTES: usize = 4 << 20;
/// Bytes that a byte of values may take while it is written.
const GROWTH: u64 = 4;
/// The most rows of a row group.
const GROUP_ROWS: usize = 1 << 16;

/// A Parquet file that is being written.
pub(in crate::prepare) struct Parquet {
    to: SerializedFileWriter<Output>,
    path: PathBuf,
    /// Rows that came in pieces and are not yet written.
    held: Table,
}

impl Parquet {
    /// Begins a file for columns like these.
    pub(in crate::prepare) fn new(to: Output, columns: &[Column]) -> Result<Self, WorkFailed> {
        let path = to.path().to_owned();
        let failed = |error: ParquetError| at(&path)(std::io::Error::other(error));
        let fields = columns
            .iter()
            .map(field)
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let schema = Type::group_type_builder("prepared")
            .with_fields(fields)
            .build()
            .map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let to = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties))
            .map_err(failed)?;
        Ok(Self {
            to,
            path,
            held: Table::default(),
        })
    }

    /// Takes a piece of the rows, and writes once there are enough.
    pub(in crate::prepare) fn take(
        &mut self,
        piece: Table,
        room: &mut Room,
    ) -> Result<(), WorkFailed> {
        self.held.append(piece, room, "the rows that are written")?;
        if self.held.held() >= GROUP_BYTES as u64 || self.held.len() >= GROUP_ROWS {
            self.flush(room)?;
        }
        Ok(())
    }

    fn flush(&mut self, room: &mut Room) -> Result<(), WorkFailed> {
        let held = std::mem::take(&mut self.held);
        if held.len() == 0 {
            return Ok(());
        }
        let all: Vec<u32> = (0..held.len() as u32).collect();
        self.write(&held, &all, room)?;
        room.give(held.held());
        Ok(())
    }

    /// Writes rows of a table.
    pub(in crate::prepare) fn write(
        &mut self,
        table: &Table,
        rows: &[u32],
        room: &mut Room,
    ) -> Result<(), WorkFailed> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (count, bytes) = group(table, rest);
            let (rows, others) = rest.split_at(count);
            let needed = bytes as u64 * GROWTH;
            room.take(needed, "the rows that are written")?;
            self.write_group(table, rows)
                .map_err(|error| self.failed(error))?;
            room.give(needed);
            rest = others;
        }
        Ok(())
    }

    fn write_group(&mut self, table: &Table, rows: &[u32]) -> Result<(), ParquetError> {
        let mut group = self.to.next_row_group()?;
        for column in &table.columns {
            let Some(mut writer) = group.next_column()? else {
                break;
            };
            match &column.values {
                Values::Texts(texts) => {
                    let all = rows.iter().map(|&row| texts.get(row as usize));
                    let values: Vec<ByteArray> =
                        all.clone().flatten().map(ByteArray::from).collect();
                    let def: Vec<i16> = all.map(|text| i16::from(text.is_some())).collect();
                    writer
                        .typed::<ByteArrayType>()
                        .write_batch(&values, Some(&def), None)?;
                }
                Values::Bytes(list) => {
                    each(writer.typed::<Int32Type>(), column, list, rows, |&x| {
                        i32::from(x)
                    })?;
                }
                Values::Integers(list) => {
                    each(writer.typed::<Int32Type>(), column, list, rows, |&x| x)?;
                }
                Values::Floats(list) => {
                    each(writer.typed::<FloatType>(), column, list, rows, |&x| x)?;
                }
                Values::Numbers(list) => {
                    each(writer.typed::<DoubleType>(), column, list, rows, |&x| x)?;
                }
                Values::Pictures(_) => {
                    return Err(ParquetError::General("pictures of no one size".to_owned()));
                }
            }
            writer.close()?;
        }
        group.close().map(drop)
    }

    /// Ends the file.
    pub(in crate::prepare) fn finish(mut self, room: &mut Room) -> Result<PathBuf, WorkFailed> {
        self.flush(room)?;
        let path = self.path.clone();
        let output = self
            .to
            .into_inner()
            .map_err(|error| at(&path)(unwrapped(error)))?;
        output.finish()
    }

    fn failed(&self, error: ParquetError) -> WorkFailed {
        at(&self.path)(unwrapped(error))
    }
}

/// What the file itself said, where it was that: a ceiling, a full disk.
fn unwrapped(error: ParquetError) -> std::io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(source) => std::io::Error::other(source),
        },
        other => std::io::Error::other(other),
    }
}

/// Writes the numbers of rows; what is missing of one number a row is null.
fn each<T: DataType, S>(
    writer: &mut ColumnWriterImpl<'_, T>,
    column: &Column,
    list: &[S],
    rows: &[u32],
    make: impl Fn(&S) -> T::T,
) -> Result<(), ParquetError> {
    let volume = column.volume();
    if !column.shape.is_empty() {
        let values: Vec<T::T> = rows
            .iter()
            .flat_map(|&row| &list[row as usize * volume..][..volume])
            .map(make)
            .collect();
        let def = vec![1; values.len()];
        let rep: Vec<i16> = (0..values.len())
            .map(|at| i16::from(at % volume != 0))
            .collect();
        return writer
            .write_batch(&values, Some(&def), Some(&rep))
            .map(drop);
    }
    let present: Vec<bool> = rows
        .iter()
        .map(|&row| !column.number(row as usize).is_nan())
        .collect();
    let values: Vec<T::T> = rows
        .iter()
        .zip(&present)
        .filter(|(_, is_there)| **is_there)
        .map(|(&row, _)| make(&list[row as usize]))
        .collect();
    let def: Vec<i16> = present.into_iter().map(i16::from).collect();
    writer.write_batch(&values, Some(&def), None).map(drop)
}

/// How many of the rows go into one group, and the bytes of their values.
fn group(table: &Table, rows: &[u32]) -> (usize, usize) {
    let mut bytes = 0;
    for (count, &row) in rows.iter().enumerate().take(GROUP_ROWS) {
        let more: usize = table
            .columns
            .iter()
            .map(|column| match &column.values {
                Values::Texts(texts) => 32 + texts.get(row as usize).map_or(0, str::len),
                _ => column.volume() * 8,
            })
            .sum();
        if count > 0 && bytes + more > GROUP_BYTES {
            return (count, bytes);
        }
        bytes += more;
    }
    (rows.len().min(GROUP_ROWS), bytes)
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    let (kind, logical) = match &column.values {
        Values::Texts(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Values::Bytes(_) | Values::Integers(_) => (Physical::INT32, None),
        Values::Floats(_) => (Physical::FLOAT, None),
        Values::Numbers(_) | Values::Pictures(_) => (Physical::DOUBLE, None),
    };
    let leaf = |name: &str, repetition| {
        Type::primitive_type_builder(name, kind)
            .with_repetition(repetition)
            .with_logical_type(logical.clone())
            .build()
            .map(Arc::new)
    };
    if column.shape.is_empty() {
        return leaf(&column.name, Repetition::OPTIONAL);
    }
    let list = Type::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![leaf("element", Repetition::REQUIRED)?])
        .build()?;
    Type::group_type_builder(&column.name)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(list)])
        .build()
        .map(Arc::new)
}
