//! Pages of texts as differences, judged before they are decoded. How many values such
//! a page has, and how long they become, stands inside the page, and the decoder
//! believes it: some bytes may ask for all the memory there is.
//!
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

use ::parquet::basic::Encoding;
use ::parquet::column::page::{Page, PageReader};
use ::parquet::errors::ParquetError;
use ::parquet::schema::types::ColumnDescriptor;

use crate::failure::{InvalidData, Place};

/// Bytes that the decoder takes for the lengths of a value: of its beginning and of
/// the rest.
const LENGTHS: u64 = 8;

/// Checks the pages of a column, and gives the memory that decoding the largest takes.
/// `left` is the memory that there is, in bytes.
pub(super) fn check(
    mut pages: Box<dyn PageReader>,
    leaf: &ColumnDescriptor,
    left: u64,
    place: &Place,
) -> Result<u64, InvalidData> {
    let wrong = |found: String| {
        place
            .clone()
            .has(found, "texts as differences, as many as the page claims")
    };
    let broken = |error: ParquetError| wrong(format!("a page that cannot be read ({error})"));
    let mut largest = 0_u64;
    while let Some(page) = pages.get_next_page().map_err(broken)? {
        let Some((values, encoding, data)) = values(&page, leaf) else {
            return Err(wrong("a page without its levels".to_owned()));
        };
        if !matches!(
            encoding,
            Encoding::DELTA_BYTE_ARRAY | Encoding::DELTA_LENGTH_BYTE_ARRAY
        ) {
            continue;
        }
        let lengths = values.saturating_mul(LENGTHS);
        if lengths > left {
            return Err(InvalidData::NoRoom {
                file: place.to_string(),
                needed: lengths,
                left,
            });
        }
        let mut first = Deltas::begin(data)
            .filter(|deltas| deltas.count <= values)
            .ok_or_else(|| wrong("another number of values inside a page".to_owned()))?;
        let mut texts = 0_u64;
        if encoding == Encoding::DELTA_BYTE_ARRAY {
            let beginnings = first.sum();
            texts = beginnings.ok_or_else(|| wrong("lengths that are none".to_owned()))?;
            Deltas::begin(first.rest())
                .filter(|deltas| deltas.count <= values)
                .ok_or_else(|| wrong("another number of values inside a page".to_owned()))?;
        }
        largest = largest.max(lengths.saturating_add(texts));
    }
    Ok(largest)
}

/// How many values a data page claims, how they are encoded, and their bytes.
fn values<'a>(page: &'a Page, leaf: &ColumnDescriptor) -> Option<(u64, Encoding, &'a [u8])> {
    match page {
        Page::DataPage {
            buf,
            num_values,
            encoding,
            def_level_encoding,
            rep_level_encoding,
            ..
        } => {
            let mut data = &buf[..];
            let levels = [
                (leaf.max_rep_level(), rep_level_encoding),
                (leaf.max_def_level(), def_level_encoding),
            ];
            for (most, encoding) in levels {
                if most > 0 {
                    // The older way for levels has no length of its own, and no
                    // writer uses it beside differences.
                    let (length, rest) = data.split_first_chunk::<4>()?;
                    let length = u32::from_le_bytes(*length) as usize;
                    let rle = *encoding == Encoding::RLE;
                    data = rest.get(length..).filter(|_| rle)?;
                }
            }
            Some((u64::from(*num_values), *encoding, data))
        }
        Page::DataPageV2 {
            buf,
            num_values,
            encoding,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => {
            let levels = (*def_levels_byte_len as usize).checked_add(*rep_levels_byte_len as usize);
            Some((u64::from(*num_values), *encoding, buf.get(levels?..)?))
        }
        Page::DictionaryPage { encoding, .. } => Some((0, *encoding, &[])),
    }
}

/// Whole numbers as differences, in blocks of a few widths.
struct Deltas<'a> {
    data: &'a [u8],
    at: usize,
    block: usize,
    miniblocks: usize,
    count: u64,
    first: i64,
}

impl<'a> Deltas<'a> {
    /// Reads the head.
    fn begin(data: &'a [u8]) -> Option<Self> {
        let mut deltas = Self {
            data,
            at: 0,
            block: 0,
            miniblocks: 0,
            count: 0,
            first: 0,
        };
        deltas.block = usize::try_from(deltas.varint()?).ok()?;
        deltas.miniblocks = usize::try_from(deltas.varint()?).ok()?;
        deltas.count = deltas.varint()?;
        deltas.first = deltas.signed()?;
        let whole = deltas.miniblocks > 0
            && deltas.block.is_multiple_of(128)
            && deltas.block.is_multiple_of(deltas.miniblocks)
            && (deltas.block / deltas.miniblocks).is_multiple_of(32);
        // A block has at least a byte for each of its widths.
        (whole && deltas.miniblocks <= data.len()).then_some(deltas)
    }

    /// The sum of all values, none of which may be below 0.
    fn sum(&mut self) -> Option<u64> {
        let mut left = self.count;
        if left == 0 {
            return Some(0);
        }
        let mut value = self.first;
        let mut sum = u64::try_from(value).ok()?;
        left -= 1;
        let each = self.block / self.miniblocks;
        while left > 0 {
            let least = self.signed()?;
            let widths = self.data.get(self.at..self.at + self.miniblocks)?;
            self.at += self.miniblocks;
            for &width in widths {
                if left == 0 {
                    break;
                }
                let width = usize::from(width);
                let bytes = each.checked_mul(width)? / 8;
                let end = self.at.checked_add(bytes)?;
                let packed = self.data.get(self.at..end)?;
                self.at = end;
                for number in 0..each.min(usize::try_from(left).ok()?) {
                    let delta = bits(packed, number * width, width)?;
                    value = value.wrapping_add(least).wrapping_add(delta as i64);
                    sum = sum.saturating_add(u64::try_from(value as i32).ok()?);
                    left -= 1;
                }
            }
        }
        Some(sum)
    }

    /// What follows the numbers that were summed.
    fn rest(&self) -> &'a [u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.data.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

/// A number of `width` bits, the lowest first; at most 32 are used for lengths.
fn bits(packed: &[u8], from: usize, width: usize) -> Option<u64> {
    if width > 32 {
        return None;
    }
    let mut value = 0_u64;
    for at in 0..width {
        let bit = from + at;
        let byte = packed.get(bit / 8)?;
        value |= u64::from(byte >> (bit % 8) & 1) << at;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_summed_and_what_follows_is_found() {
        // One block of 128 values in 4 of 32, 5 values: 7, 5, 3, 1, 2.
        let data = [
            128,
            1,
            4,
            5,
            14, // the head; 7 in zigzag
            3,
            2,
            0,
            0,
            0, // the least difference, -2; widths
            0b1100_0000,
            0,
            0,
            0,
            0,
            0,
            0,
            0, // 0, 0, 0, 3
            42,
        ];
        let mut deltas = Deltas::begin(&data).unwrap();
        assert_eq!(deltas.count, 5);
        assert_eq!(deltas.sum(), Some(18));
        assert_eq!(deltas.rest(), [42]);
        for end in 0..data.len() - 1 {
            let cut = Deltas::begin(&data[..end]).and_then(|mut deltas| deltas.sum());
            assert_eq!(cut, None, "cut at {end}");
        }
        // Nothing is below nothing.
        let mut below = data;
        below[4] = 2;
        assert_eq!(Deltas::begin(&below).unwrap().sum(), None);
    }
}
