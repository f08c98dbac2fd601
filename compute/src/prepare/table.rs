//! Rows in memory: columns of one length, where each row came from, and what
//! split it is in.

use embermesh_job::spec::prepare::schema::Kind;

use super::column::{Column, bytes_of, exactly, extend, put};
use crate::dataset::room::Room;
use crate::failure::{InvalidData, Place};

/// Rows that are read before steps see them.
const PIECE_ROWS: usize = 4096;
/// Bytes of them.
const PIECE_BYTES: u64 = 8 << 20;
/// The most rows of a table: they are numbered by 32 bits.
const MAX_ROWS: usize = u32::MAX as usize;

/// The rows that train.
pub(crate) const TRAIN: u8 = 0;
/// The names of the splits, by their numbers.
pub(crate) const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// Some rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// The row or line of the file that each came from, from 1.
    pub(crate) rows: Vec<u64>,
    /// The split of each row, once they are split.
    pub(crate) splits: Vec<u8>,
}

impl Table {
    /// No rows of these columns.
    pub(crate) fn of(columns: &[(String, Kind)]) -> Self {
        Self {
            columns: columns
                .iter()
                .map(|(name, kind)| Column::of(name, kind))
                .collect(),
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> u64 {
        let columns: u64 = self.columns.iter().map(Column::held).sum();
        columns + bytes_of(&self.rows) + bytes_of(&self.splits)
    }

    /// Whether it is as large as a piece of a file should be.
    pub(crate) fn is_piece(&self) -> bool {
        self.len() >= PIECE_ROWS || self.held() >= PIECE_BYTES
    }

    /// Says that all columns have a further row.
    pub(crate) fn end_row(
        &mut self,
        row: u64,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        put(&mut self.rows, row, room, of)
    }

    /// The place of a column, by its name.
    pub(crate) fn find(&self, name: &str) -> Result<usize, InvalidData> {
        let at = self.columns.iter().position(|column| column.name == name);
        at.ok_or_else(|| InvalidData::Misfit(format!("there is no column {name:?}")))
    }

    /// Where a row of a column stands in the file.
    pub(crate) fn place(&self, file: &str, row: usize, column: &str) -> Place {
        Place::file(file)
            .row(self.rows[row])
            .column(&format!("{column:?}"))
    }

    /// Keeps these rows, in this order.
    pub(crate) fn keep(
        &mut self,
        rows: &[u32],
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        for column in &mut self.columns {
            let picked = column.gather(rows, room, of)?;
            room.give(column.held());
            *column = picked;
        }
        let mut numbers = exactly(rows.len(), room, of)?;
        numbers.extend(rows.iter().map(|&row| self.rows[row as usize]));
        room.give(bytes_of(&self.rows));
        self.rows = numbers;
        if !self.splits.is_empty() {
            let mut splits = exactly(rows.len(), room, of)?;
            splits.extend(rows.iter().map(|&row| self.splits[row as usize]));
            room.give(bytes_of(&self.splits));
            self.splits = splits;
        }
        Ok(())
    }

    /// Appends a piece with the same columns, and gives back what it held.
    pub(crate) fn append(
        &mut self,
        piece: Self,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        if self.columns.is_empty() {
            *self = piece;
            return Ok(());
        }
        if self.len().saturating_add(piece.len()) > MAX_ROWS {
            return Err(Place::file(of).has("more rows", format!("at most {MAX_ROWS}")));
        }
        for (column, more) in self.columns.iter_mut().zip(&piece.columns) {
            column.append(more, room, of)?;
        }
        extend(&mut self.rows, &piece.rows, room, of)?;
        room.give(piece.held());
        Ok(())
    }

    /// Whether a row is one to learn of.
    pub(crate) fn trains(&self, row: usize) -> bool {
        self.splits.get(row).is_none_or(|&split| split == TRAIN)
    }

    /// The numbers of the rows of a split.
    pub(crate) fn split(
        &self,
        split: u8,
        room: &mut Room,
        of: &str,
    ) -> Result<Vec<u32>, InvalidData> {
        let is_in = |&row: &usize| self.splits.get(row).is_none_or(|&its| its == split);
        let count = (0..self.len()).filter(is_in).count();
        let mut rows = exactly(count, room, of)?;
        rows.extend((0..self.len()).filter(is_in).map(|row| row as u32));
        Ok(rows)
    }
}
