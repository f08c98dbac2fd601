//! Rows as safetensors: a tensor a column, whose first axis counts rows.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, View};

use crate::dataset::room::Room;
use crate::failure::{WorkFailed, at};
use crate::prepare::column::{Column, Values};
use crate::prepare::table::Table;

/// Bytes of the header that a tensor takes beside its name.
const HEADER: u64 = 160;

/// The rows of a column, on their way to a file.
struct Tensor<'a> {
    column: &'a Column,
    rows: &'a [u32],
    shape: Vec<usize>,
}

impl<'a> Tensor<'a> {
    fn new(column: &'a Column, rows: &'a [u32]) -> Self {
        let shape = std::iter::once(rows.len()).chain(column.shape.iter().copied());
        Self {
            column,
            rows,
            shape: shape.collect(),
        }
    }

    fn bytes<T: Copy, const N: usize>(&self, list: &[T], make: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        let volume = self.column.volume();
        let mut bytes = Vec::with_capacity(self.data_len());
        for &row in self.rows {
            for &x in &list[row as usize * volume..][..volume] {
                bytes.extend_from_slice(&make(x));
            }
        }
        bytes
    }
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.column.values {
            Values::Bytes(_) | Values::Texts(_) | Values::Pictures(_) => Dtype::U8,
            Values::Integers(_) => Dtype::I32,
            Values::Floats(_) => Dtype::F32,
            Values::Numbers(_) => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match &self.column.values {
            Values::Bytes(list) => self.bytes(list, |x| [x]),
            Values::Integers(list) => self.bytes(list, i32::to_le_bytes),
            Values::Floats(list) => self.bytes(list, f32::to_le_bytes),
            Values::Numbers(list) => self.bytes(list, f64::to_le_bytes),
            Values::Texts(_) | Values::Pictures(_) => Vec::new(),
        })
    }

    fn data_len(&self) -> usize {
        let element = match self.column.values {
            Values::Bytes(_) => 1,
            Values::Integers(_) | Values::Floats(_) => 4,
            Values::Numbers(_) => 8,
            Values::Texts(_) | Values::Pictures(_) => 0,
        };
        self.rows.len() * self.column.volume() * element
    }
}

/// Writes rows of a table into a file of at most `ceiling` bytes.
pub(in crate::prepare) fn safetensors(
    path: &Path,
    ceiling: u64,
    table: &Table,
    rows: &[u32],
    room: &mut Room,
) -> Result<PathBuf, WorkFailed> {
    let tensors: Vec<(&str, Tensor<'_>)> = table
        .columns
        .iter()
        .map(|column| (column.name.as_str(), Tensor::new(column, rows)))
        .collect();
    let mut needed = 8;
    let mut largest = 0;
    for (name, tensor) in &tensors {
        needed += name.len() as u64 + HEADER + tensor.data_len() as u64;
        largest = largest.max(tensor.data_len() as u64);
    }
    if needed > ceiling {
        return Err(WorkFailed::Output { needed, ceiling });
    }
    // One tensor at a time is copied.
    room.take(largest, "the rows that are written")?;
    let partial = path.with_extension("partial");
    safetensors::serialize_to_file(tensors, None, &partial)
        .map_err(|error| at(&partial)(std::io::Error::other(error)))?;
    room.give(largest);
    std::fs::rename(&partial, path).map_err(at(path))?;
    Ok(path.to_owned())
}
