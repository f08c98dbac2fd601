//! The header of an `.npy` file.

use crate::failure::malformed::quoted;
use crate::failure::{InvalidData, Place};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header, in bytes; NumPy itself refuses longer ones than this.
const MAX_HEADER: usize = 10_000;
/// The most axes of an array.
const MAX_AXES: usize = 8;

/// Makes a number of an element.
pub(crate) type Read = fn(&[u8]) -> f64;

/// What a header says.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// The axes, of which the first counts samples.
    pub(crate) shape: Vec<usize>,
    /// Bytes of an element.
    pub(crate) size: usize,
    /// Makes a number of an element.
    pub(crate) read: Read,
    /// Whether the first axis runs fastest.
    pub(crate) fortran: bool,
    /// Whether elements are unsigned bytes.
    pub(crate) is_bytes: bool,
    /// Whether they are floats of 32 bits.
    pub(crate) is_single: bool,
}

/// The header, and the elements behind it.
pub(crate) fn parse<'a>(bytes: &'a [u8], file: &str) -> Result<(Header, &'a [u8]), InvalidData> {
    let wrong = |found: String, expected: &str| Place::file(file).has(found, expected);
    let Some([major, minor, rest @ ..]) = bytes.strip_prefix(MAGIC) else {
        return Err(wrong(
            "another beginning".to_owned(),
            "the magic of a NumPy array (\\x93NUMPY)",
        ));
    };
    let cut = || {
        wrong(
            "a file that ends within its header".to_owned(),
            "a whole file",
        )
    };
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => {
            return Err(wrong(
                format!("version {major}.{minor}"),
                "version 1, 2 or 3",
            ));
        }
    };
    if length > MAX_HEADER {
        return Err(wrong(
            format!("a header of {length} bytes"),
            "at most 10000 bytes",
        ));
    }
    let (text, elements) = rest.split_at_checked(length).ok_or_else(cut)?;
    let text = std::str::from_utf8(text)
        .map_err(|_| wrong("a header that is no text".to_owned(), "a Python dictionary"))?;
    let entry = |key: &str| {
        let (_, after) = text.split_once(&format!("'{key}':"))?;
        Some(after.trim_start())
    };
    let missing = |key: &str| {
        wrong(
            format!("the header {}", quoted(text)),
            &format!("'{key}' in it"),
        )
    };

    let order = entry("fortran_order").ok_or_else(|| missing("fortran_order"))?;
    let fortran = if order.starts_with("True") {
        true
    } else if order.starts_with("False") {
        false
    } else {
        return Err(missing("fortran_order"));
    };
    let descr = entry("descr")
        .and_then(|after| after.strip_prefix('\''))
        .and_then(|after| after.split_once('\''))
        .ok_or_else(|| missing("descr"))?
        .0;
    let (size, read) = element(descr).ok_or_else(|| {
        wrong(
            format!("elements of type {}", quoted(descr)),
            "f4, f8, i1 to i8, u1 to u8 or bool",
        )
    })?;
    let shape = entry("shape")
        .and_then(|after| after.strip_prefix('('))
        .and_then(|after| after.split_once(')'))
        .and_then(|(axes, _)| shape(axes))
        .ok_or_else(|| missing("shape"))?;
    if shape.is_empty() || shape.len() > MAX_AXES {
        return Err(wrong(
            format!("{} axes", shape.len()),
            "1 to 8, of which the first counts samples",
        ));
    }
    let is_bytes = descr.ends_with("u1");
    let is_single = descr.ends_with("f4");
    let header = Header {
        shape,
        size,
        read,
        fortran,
        is_bytes,
        is_single,
    };
    Ok((header, elements))
}

/// The axes within the brackets of a tuple.
fn shape(text: &str) -> Option<Vec<usize>> {
    text.split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty())
        .map(|axis| axis.trim_end_matches('L').parse().ok())
        .collect()
}

/// Bytes of an element, and what makes a number of them.
pub(crate) fn element(descr: &str) -> Option<(usize, Read)> {
    macro_rules! number {
        ($type:ty, $from:ident) => {
            (size_of::<$type>(), |bytes| {
                bytes
                    .first_chunk()
                    .map_or(f64::NAN, |bytes| <$type>::$from(*bytes) as f64)
            })
        };
    }
    let (order, kind) = descr.split_at_checked(1)?;
    let big = match order {
        "<" | "|" => false,
        ">" => true,
        "=" => cfg!(target_endian = "big"),
        _ => return None,
    };
    Some(match (kind, big) {
        ("f4", false) => number!(f32, from_le_bytes),
        ("f4", true) => number!(f32, from_be_bytes),
        ("f8", false) => number!(f64, from_le_bytes),
        ("f8", true) => number!(f64, from_be_bytes),
        ("i1", _) => number!(i8, from_le_bytes),
        ("b1" | "u1", _) => number!(u8, from_le_bytes),
        ("i2", false) => number!(i16, from_le_bytes),
        ("i2", true) => number!(i16, from_be_bytes),
        ("u2", false) => number!(u16, from_le_bytes),
        ("u2", true) => number!(u16, from_be_bytes),
        ("i4", false) => number!(i32, from_le_bytes),
        ("i4", true) => number!(i32, from_be_bytes),
        ("u4", false) => number!(u32, from_le_bytes),
        ("u4", true) => number!(u32, from_be_bytes),
        ("i8", false) => number!(i64, from_le_bytes),
        ("i8", true) => number!(i64, from_be_bytes),
        ("u8", false) => number!(u64, from_le_bytes),
        ("u8", true) => number!(u64, from_be_bytes),
        _ => return None,
    })
}
