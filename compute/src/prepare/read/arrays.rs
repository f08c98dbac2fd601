//! Arrays whose first axis counts rows: NumPy's, those of a safetensors file,
//! and those of IDX and the digits.

use std::io::Cursor;

use bytes::Bytes;
use embermesh_job::spec::prepare::schema::Kind;
use zip::ZipArchive;

use super::{Opened, Pieces, Rows, Visit};
use crate::dataset::npy::column_major;
use crate::dataset::npy::header::{self, Header};
use crate::dataset::room::Room;
use crate::dataset::{digits, idx, npz, tensors};
use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place, WorkFailed};
use crate::prepare::column::{Column, Values};

/// Arrays that are columns of one table.
pub(super) struct Arrays {
    file: &'static str,
    arrays: Vec<Array>,
}

struct Array {
    name: String,
    header: Header,
    elements: Bytes,
}

impl Arrays {
    pub(super) fn new(file: &'static str) -> Self {
        Self {
            file,
            arrays: Vec::new(),
        }
    }

    /// Takes an `.npy` file as a column.
    pub(super) fn npy(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), InvalidData> {
        let label = format!("{}.{name}", self.file);
        let (header, elements) = header::parse(&bytes, &label)?;
        let (start, size) = (bytes.len() - elements.len(), elements.len());
        let elements = Bytes::from(bytes).slice(start..start + size);
        self.take(name, header, elements, &label)
    }

    /// Takes arrays of an `.npz` file.
    pub(super) fn npz(
        &mut self,
        bytes: &[u8],
        names: &[String],
        room: &mut Room,
    ) -> Result<(), InvalidData> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
            Place::file(self.file).has(format!("no zip archive ({error})"), "an .npz file")
        })?;
        for name in names {
            let label = format!("{}, array {}", self.file, quoted(name));
            let bytes = npz::read(&mut archive, name, self.file, &label, room)?;
            self.npy(name, bytes)?;
        }
        Ok(())
    }

    /// Takes tensors of a safetensors file.
    pub(super) fn safetensors(
        &mut self,
        bytes: Vec<u8>,
        names: &[String],
        room: &mut Room,
    ) -> Result<(), InvalidData> {
        let growth = tensors::header_room(&bytes, self.file)?;
        room.take(growth, self.file)?;
        let bytes = Bytes::from(bytes);
        for name in names {
            let label = format!("{}, tensor {}", self.file, quoted(name));
            let (header, elements) = tensors::find(&bytes, name, self.file)?;
            self.take(name, header, bytes.slice_ref(elements), &label)?;
        }
        room.give(growth);
        Ok(())
    }

    /// Takes an IDX file: images, to which one channel is added, or labels.
    pub(super) fn idx(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), InvalidData> {
        let label = format!("{}.{name}s", self.file);
        let bytes = Bytes::from(bytes);
        let (mut shape, elements) = idx::array(&bytes, &label)?;
        let expected = match (name, shape.len()) {
            ("label", 1) | ("image", 4) => true,
            ("image", 3) => {
                shape.insert(1, 1);
                true
            }
            _ => false,
        };
        if !expected {
            return Err(InvalidData::Idx {
                file: label,
                reason: format!("{} dimensions do not belong to {name}s", shape.len()),
            });
        }
        let elements = bytes.slice_ref(elements);
        self.take(name, bytes_header(shape), elements, &label)
    }

    /// Takes the UCI digits.
    pub(super) fn digits(&mut self, text: &[u8], room: &mut Room) -> Result<(), InvalidData> {
        // A grey level has a digit and a comma in the file at least.
        room.take(text.len() as u64 / 2, self.file)?;
        let (pixels, labels) = digits::rows(text)?;
        let count = labels.len();
        let file = self.file;
        self.take(
            "image",
            bytes_header(vec![count, 1, 8, 8]),
            pixels.into(),
            file,
        )?;
        self.take("label", bytes_header(vec![count]), labels.into(), file)
    }

    fn take(
        &mut self,
        name: &str,
        header: Header,
        elements: Bytes,
        label: &str,
    ) -> Result<(), InvalidData> {
        let expected = header
            .shape
            .iter()
            .try_fold(header.size, |product, &axis| product.checked_mul(axis));
        if expected != Some(elements.len()) || header.shape[1..].contains(&0) {
            return Err(Place::file(label).has(
                format!("{} bytes of elements", elements.len()),
                format!("as many as its shape {:?} takes", header.shape),
            ));
        }
        if let Some(first) = self.arrays.first()
            && first.header.shape[0] != header.shape[0]
        {
            return Err(Place::file(label).has(
                format!("{} rows", header.shape[0]),
                format!("{}, as {} has", first.header.shape[0], quoted(&first.name)),
            ));
        }
        self.arrays.push(Array {
            name: name.to_owned(),
            header,
            elements,
        });
        Ok(())
    }

    /// The columns are all there.
    pub(super) fn opened(self) -> Opened {
        let columns = self.arrays.iter().map(|array| {
            let column = array.column();
            (column.name.clone(), column.kind())
        });
        Opened {
            file: self.file,
            columns: columns.collect(),
            count: self
                .arrays
                .first()
                .map(|array| array.header.shape[0] as u64),
            remarks: Vec::new(),
            rows: Box::new(self),
        }
    }
}

fn bytes_header(shape: Vec<usize>) -> Header {
    Header {
        shape,
        size: 1,
        read: |bytes| bytes.first().map_or(f64::NAN, |&byte| f64::from(byte)),
        fortran: false,
        is_bytes: true,
        is_single: false,
    }
}

impl Array {
    fn column(&self) -> Column {
        let values = match (self.header.is_bytes, self.header.is_single) {
            (true, _) => Values::Bytes(Vec::new()),
            (_, true) => Values::Floats(Vec::new()),
            _ => Values::Numbers(Vec::new()),
        };
        Column::new(&self.name, self.header.shape[1..].to_vec(), values)
    }

    fn number(&self, at: usize) -> f64 {
        let Header {
            shape,
            size,
            read,
            fortran,
            ..
        } = &self.header;
        let place = match fortran {
            true => column_major(at, shape),
            false => at,
        };
        read(&self.elements[place * size..(place + 1) * size])
    }
}

impl Rows for Arrays {
    fn each(&self, file: &str, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed> {
        let kinds: Vec<(String, Kind)> = Vec::new();
        let mut pieces = Pieces::new(&kinds);
        let count = self.arrays.first().map_or(0, |array| array.header.shape[0]);
        for row in 0..count {
            if pieces.piece.columns.is_empty() {
                pieces.piece.columns = self.arrays.iter().map(Array::column).collect();
            }
            for (array, column) in self.arrays.iter().zip(&mut pieces.piece.columns) {
                let volume = column.volume();
                for at in row * volume..(row + 1) * volume {
                    let number = array.number(at);
                    if number.is_infinite() {
                        return Err(Place::file(file)
                            .row(row as u64 + 1)
                            .column(&quoted(&array.name))
                            .has(number.to_string(), "a finite number")
                            .into());
                    }
                    column.push(number, room, file)?;
                }
            }
            pieces.end_row(row as u64 + 1, file, room, visit)?;
        }
        pieces.end(room, visit)
    }
}
