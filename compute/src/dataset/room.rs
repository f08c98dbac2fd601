//! The memory that data may take: what the job may use, less what its model
//! and its files need. A reader asks here before it allocates, so that neither
//! a header that lies nor a file that explodes gets what the job has not.

use crate::failure::InvalidData;

/// Elements that a list has at least, once it has any.
const LEAST: usize = 64;

/// Bytes that may still be taken.
#[derive(Debug)]
pub(crate) struct Room {
    left: u64,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Takes bytes for what is read of a file.
    pub(crate) fn take(&mut self, bytes: u64, file: &str) -> Result<(), InvalidData> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(InvalidData::NoRoom {
                file: file.to_owned(),
                needed: bytes,
                left: self.left,
            }),
        }
    }

    /// Takes room for so many elements, whose count a file claims.
    pub(crate) fn take_for<T>(&mut self, count: usize, file: &str) -> Result<(), InvalidData> {
        self.take((count as u64).saturating_mul(size_of::<T>() as u64), file)
    }

    /// Gives back what was only needed for a while.
    pub(crate) fn give(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes);
    }

    /// Makes place for `more` elements, and for half as many again while there
    /// is room for that.
    pub(crate) fn reserve<T>(
        &mut self,
        list: &mut Vec<T>,
        more: usize,
        file: &str,
    ) -> Result<(), InvalidData> {
        let held = list.capacity();
        let needed = list.len().saturating_add(more);
        if needed <= held {
            return Ok(());
        }
        let generous = needed.max(held.saturating_add(held / 2)).max(LEAST);
        let mut grown = generous;
        if self.take_for::<T>(generous - held, file).is_err() {
            grown = needed;
            self.take_for::<T>(needed - held, file)?;
        }
        list.try_reserve_exact(grown - list.len())
            .map_err(|_| InvalidData::NoRoom {
                file: file.to_owned(),
                needed: (grown as u64).saturating_mul(size_of::<T>() as u64),
                left: self.left,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted_and_no_more_is_given_than_there_is() {
        let mut room = Room::new(1000);
        let mut list = Vec::<u32>::new();
        for number in 0..250 {
            room.reserve(&mut list, 1, "x").unwrap();
            list.push(number);
        }
        assert_eq!(list.capacity(), 250);
        assert_eq!(room.left(), 0);
        let refused = room.reserve(&mut list, 1, "data.csv.file").unwrap_err();
        assert!(
            refused.to_string().starts_with("data.csv.file"),
            "{refused}"
        );
        assert!(Room::new(1 << 40).take_for::<u64>(usize::MAX, "x").is_err());
    }
}
