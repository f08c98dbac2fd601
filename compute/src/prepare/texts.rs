//! Rows of differing length: texts, and pictures of their own size.

use super::column::{bytes_of, exactly, extend, put};
use crate::dataset::room::Room;
use crate::failure::InvalidData;

/// Texts one after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    bytes: String,
    /// Where each ends, and whether there is one.
    ends: Vec<(usize, bool)>,
}

/// Pictures one after another: the planes of each, row-major.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pictures {
    pub(crate) channels: usize,
    bytes: Vec<u8>,
    /// Height and width of each, and where it ends.
    sizes: Vec<([usize; 2], usize)>,
}

impl Texts {
    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, is_there) = self.ends[row];
        is_there.then(|| &self.bytes[start..end])
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn held(&self) -> u64 {
        self.bytes.capacity() as u64 + bytes_of(&self.ends)
    }

    pub(crate) fn push(
        &mut self,
        text: Option<&str>,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        let said = text.unwrap_or_default();
        let more = said
            .len()
            .saturating_sub(self.bytes.capacity() - self.bytes.len());
        if more > 0 {
            let grown = more.max(self.bytes.capacity() / 2).max(64);
            let before = self.bytes.capacity();
            room.take(grown as u64, of)?;
            self.bytes.reserve_exact(before - self.bytes.len() + grown);
            let given = (self.bytes.capacity() - before).saturating_sub(grown);
            room.take(given as u64, of)?;
        }
        self.bytes.push_str(said);
        put(&mut self.ends, (self.bytes.len(), text.is_some()), room, of)
    }

    pub(crate) fn gather(
        &self,
        rows: &[u32],
        room: &mut Room,
        of: &str,
    ) -> Result<Self, InvalidData> {
        let length = rows
            .iter()
            .filter_map(|&row| self.get(row as usize))
            .map(str::len)
            .sum();
        room.take(length as u64, of)?;
        let mut picked = Self {
            bytes: String::with_capacity(length),
            ends: exactly(rows.len(), room, of)?,
        };
        for &row in rows {
            let text = self.get(row as usize);
            picked.bytes.push_str(text.unwrap_or_default());
            picked.ends.push((picked.bytes.len(), text.is_some()));
        }
        Ok(picked)
    }

    pub(crate) fn append(
        &mut self,
        more: &Self,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        (0..more.len()).try_for_each(|row| self.push(more.get(row), room, of))
    }
}

impl Pictures {
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            channels,
            ..Self::default()
        }
    }

    /// Height, width and the planes of a picture.
    pub(crate) fn get(&self, row: usize) -> ([usize; 2], &[u8]) {
        let start = row.checked_sub(1).map_or(0, |before| self.sizes[before].1);
        let (size, end) = self.sizes[row];
        (size, &self.bytes[start..end])
    }

    pub(crate) fn len(&self) -> usize {
        self.sizes.len()
    }

    pub(crate) fn held(&self) -> u64 {
        bytes_of(&self.bytes) + bytes_of(&self.sizes)
    }

    /// Appends the planes of a picture of a size.
    pub(crate) fn push(
        &mut self,
        size: [usize; 2],
        planes: &[u8],
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        extend(&mut self.bytes, planes, room, of)?;
        put(&mut self.sizes, (size, self.bytes.len()), room, of)
    }

    pub(crate) fn gather(
        &self,
        rows: &[u32],
        room: &mut Room,
        of: &str,
    ) -> Result<Self, InvalidData> {
        let length = rows.iter().map(|&row| self.get(row as usize).1.len()).sum();
        let mut picked = Self {
            channels: self.channels,
            bytes: exactly(length, room, of)?,
            sizes: exactly(rows.len(), room, of)?,
        };
        for &row in rows {
            let (size, planes) = self.get(row as usize);
            picked.bytes.extend_from_slice(planes);
            picked.sizes.push((size, picked.bytes.len()));
        }
        Ok(picked)
    }

    pub(crate) fn append(
        &mut self,
        more: &Self,
        room: &mut Room,
        of: &str,
    ) -> Result<(), InvalidData> {
        for row in 0..more.len() {
            let (size, planes) = more.get(row);
            self.push(size, planes, room, of)?;
        }
        Ok(())
    }
}
