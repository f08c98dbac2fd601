//! The rows of a file with texts and lists as they are, for whoever does not
//! want samples of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::basic::Type;
use ::parquet::file::reader::FileReader;
use ::parquet::file::serialized_reader::SerializedFileReader;
use bytes::Bytes;
use embermesh_job::spec::Column as Named;
use embermesh_job::spec::Table;
use embermesh_job::spec::prepare::schema::Kind;

use super::column::{self, Column};
use super::{BATCH, FOOTER_GROWTH, MAX_GROUPS, footer, take_pages, unreadable};
use crate::dataset::columns::Columns;
use crate::dataset::room::Room;
use crate::dataset::table::{Read, read};
use crate::failure::{InvalidData, Place};

/// A file that was opened and judged.
pub(crate) struct Rows {
    reader: SerializedFileReader<Bytes>,
    /// Place, name and label of each column that is read.
    columns: Vec<(usize, String, String)>,
    kinds: Vec<(String, Kind)>,
}

impl Rows {
    /// Opens a file for the columns of these names, or for all.
    pub(crate) fn open(
        bytes: Vec<u8>,
        wanted: &[String],
        file: &str,
        room: &mut Room,
    ) -> Result<Self, InvalidData> {
        let footer = footer(&bytes, file)?;
        room.take(footer as u64 * FOOTER_GROWTH, file)?;
        let bytes = Bytes::from(bytes);
        guarded(file, || Self::judged(&bytes, wanted, file, room))
    }

    fn judged(
        bytes: &Bytes,
        wanted: &[String],
        file: &str,
        room: &mut Room,
    ) -> Result<Self, InvalidData> {
        let reader =
            SerializedFileReader::new(bytes.clone()).map_err(|error| unreadable(file, &error))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let names: Vec<String> = schema
            .columns()
            .iter()
            .map(|leaf| column::name(leaf))
            .collect();
        let all = Columns {
            file,
            names: Some(&names),
            count: names.len(),
        };
        let mut table = Table::new((), None);
        table.features = wanted.iter().cloned().map(Named::Name).collect();
        let chosen = all.choose(&table)?.features;
        if reader.num_row_groups() > MAX_GROUPS {
            return Err(Place::file(file).has(
                format!("{} row groups", reader.num_row_groups()),
                format!("at most {MAX_GROUPS}"),
            ));
        }
        for (at, label) in &chosen {
            column::check(&schema.column(*at), &Place::file(file).column(label))?;
        }
        take_pages(&reader, bytes, chosen.iter(), file, room)?;
        let mut kinds = Vec::new();
        for (at, label) in &chosen {
            let leaf = schema.column(*at);
            let kind = match (leaf.physical_type(), leaf.max_rep_level()) {
                (Type::BYTE_ARRAY, 0) => Kind::Text,
                (Type::BYTE_ARRAY, _) => {
                    return Err(Place::file(file)
                        .column(label)
                        .has("lists of texts", "numbers, texts or lists of numbers"));
                }
                (_, 0) => Kind::Number,
                _ => Kind::Numbers(Some(vec![width(&reader, *at, label, file)?])),
            };
            kinds.push((names[*at].clone(), kind));
        }
        let columns = chosen
            .into_iter()
            .map(|(at, label)| (at, names[at].clone(), label))
            .collect();
        Ok(Self {
            reader,
            columns,
            kinds,
        })
    }

    /// What columns are read.
    pub(crate) fn kinds(&self) -> &[(String, Kind)] {
        &self.kinds
    }

    /// How many rows the file says it has.
    pub(crate) fn count(&self) -> u64 {
        let rows = self.reader.metadata().file_metadata().num_rows();
        u64::try_from(rows).unwrap_or(0)
    }

    /// Shows each row: its number from 1, the columns, and its place in them.
    #[allow(clippy::type_complexity, reason = "one closure, said in place")]
    pub(crate) fn each<E: From<InvalidData>>(
        &self,
        file: &str,
        visit: &mut dyn FnMut(u64, &[Column], usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut row = 0;
        for number in 0..self.reader.num_row_groups() {
            let (mut columns, mut left) = guarded(file, || {
                let group = self
                    .reader
                    .get_row_group(number)
                    .map_err(|error| unreadable(file, &error))?;
                let rows = group.metadata().num_rows();
                let columns = self
                    .columns
                    .iter()
                    .map(|(at, _, label)| Column::open(&*group, *at, label, file))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok((columns, usize::try_from(rows).unwrap_or(0)))
            })?;
            while left > 0 {
                let count = left.min(BATCH);
                for column in &mut columns {
                    guarded(file, || column.read(count, row + 1))?;
                }
                for at in 0..count {
                    row += 1;
                    visit(row, &columns, at)?;
                }
                left -= count;
            }
        }
        Ok(())
    }
}

/// Numbers of the first list that has any.
fn width(
    reader: &SerializedFileReader<Bytes>,
    at: usize,
    label: &str,
    file: &str,
) -> Result<usize, InvalidData> {
    let mut row = 0;
    for number in 0..reader.num_row_groups() {
        let group = reader
            .get_row_group(number)
            .map_err(|error| unreadable(file, &error))?;
        let mut left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let mut column = Column::open(&*group, at, label, file)?;
        while left > 0 {
            let count = left.min(BATCH);
            column.read(count, row + 1)?;
            row += count as u64;
            left -= count;
            for place in 0..count {
                let (mut width, mut gaps) = (0, 0);
                column.each(place, |_, cell| {
                    width += 1;
                    gaps += usize::from(matches!(read(cell), Read::Gap));
                    Ok(())
                })?;
                if width > 1 || gaps == 0 {
                    return Ok(width);
                }
            }
        }
    }
    Ok(1)
}

/// The decoder gives up with a panic on what its authors did not think of.
fn guarded<T>(file: &str, read: impl FnOnce() -> Result<T, InvalidData>) -> Result<T, InvalidData> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Place::file(file).has("pages that cannot be decoded", "a whole Parquet file"))
    })
}
