//! One column of a row group, some rows at a time.

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::RowGroupReader;
use ::parquet::schema::types::ColumnDescriptor;

use crate::dataset::table::Cell;
use crate::failure::{InvalidData, Place};

/// A column that is being read.
pub(crate) struct Column {
    reader: ColumnReader,
    label: String,
    place: Place,
    max_def: i16,
    /// Whether a row has a list of values.
    lists: bool,
    /// Whether a value of a list may be null.
    gaps: bool,
    /// What the rows of this turn have, one after another.
    values: Vec<Value>,
    /// Where each row's values begin, and the end.
    starts: Vec<usize>,
}

enum Value {
    Gap,
    Number(f64),
    Text(ByteArray),
}

/// A leaf's name: its path, or for a list what the list is called.
pub(super) fn name(leaf: &ColumnDescriptor) -> String {
    let parts = leaf.path().parts();
    match (leaf.max_rep_level(), parts) {
        (1, [name, ..]) if parts.len() <= 3 => name.clone(),
        _ => parts.join("."),
    }
}

/// Whether a column is of a type that is read.
pub(super) fn check(leaf: &ColumnDescriptor, place: &Place) -> Result<(), InvalidData> {
    let expected = "numbers, booleans or texts, or lists of numbers";
    let wrong = |found: String| place.clone().has(found, expected);
    if leaf.max_rep_level() > 1 {
        return Err(wrong("lists of lists".to_owned()));
    }
    let decimal = leaf.converted_type() == ConvertedType::DECIMAL
        || matches!(leaf.logical_type_ref(), Some(LogicalType::Decimal { .. }));
    match leaf.physical_type() {
        _ if decimal => Err(wrong("decimals".to_owned())),
        kind @ (Type::INT96 | Type::FIXED_LEN_BYTE_ARRAY) => {
            Err(wrong(format!("values of type {kind}")))
        }
        _ => Ok(()),
    }
}

impl Column {
    pub(super) fn open(
        group: &dyn RowGroupReader,
        at: usize,
        label: &str,
        file: &str,
    ) -> Result<Self, InvalidData> {
        let place = Place::file(file).column(label);
        let leaf = group.metadata().column(at).column_descr_ptr();
        let reader = group
            .get_column_reader(at)
            .map_err(|error| broken(&place, &error))?;
        Ok(Self {
            reader,
            label: label.to_owned(),
            place,
            max_def: leaf.max_def_level(),
            lists: leaf.max_rep_level() > 0,
            gaps: leaf.self_type().is_optional(),
            values: Vec::new(),
            starts: Vec::new(),
        })
    }

    /// Reads the next rows. `row` is the number of the first, for messages.
    pub(super) fn read(&mut self, count: usize, row: u64) -> Result<(), InvalidData> {
        self.values.clear();
        self.starts.clear();
        let (mut def, mut rep) = (Vec::new(), Vec::new());
        let levels = (&mut def, &mut rep);
        let number = |value: f64| Value::Number(value);
        let read = match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => fetch(reader, count, levels, |&value| {
                number(f64::from(u8::from(value)))
            }),
            ColumnReader::Int32ColumnReader(reader) => {
                fetch(reader, count, levels, |&value| number(f64::from(value)))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                fetch(reader, count, levels, |&value| number(value as f64))
            }
            ColumnReader::FloatColumnReader(reader) => {
                fetch(reader, count, levels, |&value| number(f64::from(value)))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                fetch(reader, count, levels, |&value| number(value))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                fetch(reader, count, levels, |value| Value::Text(value.clone()))
            }
            _ => Err(ParquetError::General("a type that is not read".to_owned())),
        };
        let (records, present) = read.map_err(|error| {
            let place = self.place.clone().row(row);
            broken(&place, &error)
        })?;
        if records != count {
            return Err(self.place.clone().row(row + records as u64).has(
                "the end of the column",
                "as many rows as the row group claims",
            ));
        }
        self.lay_out(count, &def, &rep, present);
        Ok(())
    }

    /// Puts values and gaps in their places.
    fn lay_out(&mut self, count: usize, def: &[i16], rep: &[i16], present: Vec<Value>) {
        if self.max_def == 0 {
            self.values = present;
            self.starts = (0..=count).collect();
            return;
        }
        let mut present = present.into_iter();
        for (at, &level) in def.iter().enumerate() {
            if !self.lists || rep.get(at) == Some(&0) {
                self.starts.push(self.values.len());
            }
            if level == self.max_def {
                self.values.extend(present.next());
            } else if !self.lists || (self.gaps && level == self.max_def - 1) {
                self.values.push(Value::Gap);
            }
        }
        self.starts.push(self.values.len());
    }

    /// Shows what a row of this turn has; a list of nothing is a gap.
    pub(crate) fn each(
        &self,
        row: usize,
        mut take: impl FnMut(&str, Cell<'_>) -> Result<(), InvalidData>,
    ) -> Result<(), InvalidData> {
        let start = self.starts.get(row).copied().unwrap_or(0);
        let end = self.starts.get(row + 1).copied().unwrap_or(start);
        if start == end {
            return take(&self.label, Cell::Gap);
        }
        self.values[start..end]
            .iter()
            .try_for_each(|value| match value {
                Value::Gap => take(&self.label, Cell::Gap),
                Value::Number(number) => take(&self.label, Cell::Number(*number)),
                Value::Text(bytes) => match bytes.as_utf8() {
                    Ok(text) => take(&self.label, Cell::Text(text)),
                    Err(_) => Err(self.place.clone().has("bytes that are no UTF-8", "text")),
                },
            })
    }
}

/// Reads rows: how many there were, and the values that are not null.
fn fetch<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    count: usize,
    (def, rep): (&mut Vec<i16>, &mut Vec<i16>),
    value: impl Fn(&T::T) -> Value,
) -> Result<(usize, Vec<Value>), ParquetError> {
    let mut values = Vec::new();
    let (records, _, _) = reader.read_records(count, Some(def), Some(rep), &mut values)?;
    Ok((records, values.iter().map(value).collect()))
}

fn broken(place: &Place, error: &ParquetError) -> InvalidData {
    place.clone().has(
        format!("what cannot be read ({error})"),
        "pages of a Parquet file, plain or snappy-compressed",
    )
}
