//! The headers of a column's pages, judged before the pages are decoded: what
//! they claim is what the decoder would allocate.
//!
//! Only what is needed of Thrift's compact protocol is read here.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use ::parquet::file::metadata::ColumnChunkMetaData;

use crate::failure::{InvalidData, Place};

/// The largest page, unpacked, in bytes; writers aim at one MiB.
const MAX_PAGE: u64 = 256 << 20;
/// Bytes that an entry of a dictionary takes once it is decoded.
const ENTRY: u64 = 40;
/// Bytes that a value of a list takes with its levels.
const LISTED: u64 = 32;
/// The encodings of texts by the differences of their lengths, and of their beginnings.
const DELTAS: [i64; 2] = [6, 7];
/// How deep a header may nest.
const MAX_DEPTH: u32 = 8;

/// What the headers of a column's pages say, once they are judged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pages {
    /// Memory that decoding the largest takes, in bytes.
    pub(super) needed: u64,
    /// Whether there are pages of texts as differences, which say inside how much
    /// they hold.
    pub(super) deltas: bool,
}

/// Checks the pages of a column.
pub(super) fn check(
    file: &[u8],
    chunk: &ColumnChunkMetaData,
    lists: bool,
    place: &Place,
) -> Result<Pages, InvalidData> {
    let first = match chunk.dictionary_page_offset() {
        Some(offset) if offset > 0 && offset < chunk.data_page_offset() => offset,
        _ => chunk.data_page_offset(),
    };
    let mut pages = usize::try_from(first)
        .ok()
        .zip(usize::try_from(chunk.compressed_size()).ok())
        .and_then(|(start, size)| file.get(start..start.checked_add(size)?))
        .ok_or_else(|| {
            place.clone().has(
                format!("pages at {first} of {} bytes", chunk.compressed_size()),
                "pages within the file",
            )
        })?;
    let (mut dictionary, mut largest, mut deltas) = (0, 0, false);
    while !pages.is_empty() {
        let mut thrift = Thrift { rest: pages };
        let page = thrift.page().ok_or_else(|| {
            place
                .clone()
                .has("a page without a whole header", "a page header")
        })?;
        let unpacked = u64::try_from(page.unpacked).unwrap_or(u64::MAX);
        let packed = usize::try_from(page.packed).unwrap_or(usize::MAX);
        let values = u64::try_from(page.values).unwrap_or(u64::MAX);
        if unpacked > MAX_PAGE || packed > thrift.rest.len() {
            return Err(place.clone().has(
                format!(
                    "a page of {} bytes, {} unpacked",
                    page.packed, page.unpacked
                ),
                format!("at most {}, and {MAX_PAGE} unpacked", thrift.rest.len()),
            ));
        }
        if page.is_dictionary {
            dictionary = unpacked.saturating_add(values.saturating_mul(ENTRY));
        } else {
            let values = if lists {
                values.saturating_mul(LISTED)
            } else {
                0
            };
            largest = largest.max(unpacked.saturating_add(values));
            deltas |= DELTAS.contains(&page.encoding);
        }
        pages = &thrift.rest[packed..];
    }
    Ok(Pages {
        needed: dictionary.saturating_add(largest),
        deltas,
    })
}

/// What a page header says.
#[derive(Default)]
struct Page {
    is_dictionary: bool,
    unpacked: i64,
    packed: i64,
    values: i64,
    encoding: i64,
}

struct Thrift<'a> {
    rest: &'a [u8],
}

impl Thrift<'_> {
    fn page(&mut self) -> Option<Page> {
        let mut page = Page::default();
        self.fields(0, &mut |thrift, id, kind| match (id, kind) {
            (2, 5) => thrift.signed().map(|size| page.unpacked = size),
            (3, 5) => thrift.signed().map(|size| page.packed = size),
            (5 | 7 | 8, 12) => {
                page.is_dictionary |= id == 7;
                let at = if id == 8 { 4 } else { 2 };
                thrift.fields(1, &mut |thrift, id, kind| match (id, kind) {
                    (1, 5) => thrift.signed().map(|count| page.values = count),
                    (id, 5) if id == at => thrift.signed().map(|code| page.encoding = code),
                    _ => thrift.skip(kind, 2),
                })
            }
            _ => thrift.skip(kind, 1),
        })?;
        Some(page)
    }

    /// Shows each field of a struct, which `see` must read.
    fn fields(
        &mut self,
        depth: u32,
        see: &mut dyn FnMut(&mut Self, i64, u8) -> Option<()>,
    ) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => self.signed()?,
                step => id.checked_add(i64::from(step))?,
            };
            see(self, id, kind)?;
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.bytes(8),
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.bytes(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                // Booleans take a byte in a list.
                let kind = if matches!(head & 0x0f, 1 | 2) {
                    3
                } else {
                    head & 0x0f
                };
                (depth < MAX_DEPTH && kind != 0).then_some(())?;
                (0..count).try_for_each(|_| self.skip(kind, depth + 1))
            }
            12 => self.fields(depth, &mut |thrift, _, kind| thrift.skip(kind, depth + 1)),
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn bytes(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
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
