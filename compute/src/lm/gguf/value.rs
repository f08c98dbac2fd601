//! Values of the metadata.

use super::reader::Reader;
use super::{InvalidGguf, key};

/// A value. Numbers are widened, since files differ in the width they use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Count(u64),
    Integer(i64),
    Number(f64),
    Flag(bool),
    Text(&'a str),
    List(Array<'a>),
}

/// A list, still in the file's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Array<'a> {
    of: Scalar,
    count: usize,
    bytes: &'a [u8],
}

/// What lists and entries hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    U64,
    I64,
    F64,
}

/// The number of a list in the format.
const LIST: u32 = 9;

impl Scalar {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Text,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one; of a text, those of its length.
    fn size(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Text | Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Reads one that is not a text.
    fn widened(self, bytes: &[u8]) -> Value<'static> {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 | Self::Text => Value::Count(bits),
            Self::I8 => Value::Integer(i64::from(bits as u8 as i8)),
            Self::I16 => Value::Integer(i64::from(bits as u16 as i16)),
            Self::I32 => Value::Integer(i64::from(bits as u32 as i32)),
            Self::I64 => Value::Integer(bits as i64),
            Self::F32 => Value::Number(f64::from(f32::from_bits(bits as u32))),
            Self::F64 => Value::Number(f64::from_bits(bits)),
            Self::Bool => Value::Flag(bits != 0),
        }
    }
}

/// Reads the type of a value and the value.
pub(super) fn read<'a>(from: &mut Reader<'a>, name: &str) -> Result<Value<'a>, InvalidGguf> {
    let kind = from.u32("type of a value")?;
    if kind == LIST {
        return list(from, name).map(Value::List);
    }
    match scalar(kind, name)? {
        Scalar::Text => from.text("text of a value").map(Value::Text),
        scalar => {
            let bytes = from.bytes(scalar.size(), "value")?;
            Ok(scalar.widened(bytes))
        }
    }
}

fn scalar(kind: u32, name: &str) -> Result<Scalar, InvalidGguf> {
    Scalar::of(kind).ok_or_else(|| key(name, format!("values of type {kind} are not read")))
}

fn list<'a>(from: &mut Reader<'a>, name: &str) -> Result<Array<'a>, InvalidGguf> {
    let of = scalar(from.u32("type of a list")?, name)?;
    let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    let count = from.count("items of a list", most, of.size() as usize)?;
    let bytes = match of {
        Scalar::Text => texts(from, count)?,
        _ => from.bytes(of.size() * count as u64, "list")?,
    };
    Ok(Array { of, count, bytes })
}

/// Passes over texts, so that reading them again cannot fail.
fn texts<'a>(from: &mut Reader<'a>, count: usize) -> Result<&'a [u8], InvalidGguf> {
    let begin = from.position();
    let rest = from.rest();
    for _ in 0..count {
        from.text("text of a list")?;
    }
    Ok(&rest[..from.position() - begin])
}

impl<'a> Array<'a> {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The texts, if it is a list of them.
    pub(crate) fn texts(self) -> Option<impl Iterator<Item = &'a str>> {
        let mut from = Reader::new(self.bytes);
        (self.of == Scalar::Text)
            .then(|| (0..self.count).map_while(move |_| from.text("text of a list").ok()))
    }

    /// The numbers, if it is a list of them.
    pub(crate) fn numbers(self) -> Option<impl Iterator<Item = f64>> {
        (!matches!(self.of, Scalar::Text | Scalar::Bool)).then(|| {
            let size = self.of.size() as usize;
            self.bytes
                .chunks_exact(size)
                .map(move |bytes| match self.of.widened(bytes) {
                    Value::Count(value) => value as f64,
                    Value::Integer(value) => value as f64,
                    Value::Number(value) => value,
                    _ => f64::NAN,
                })
        })
    }
}

impl<'a> Value<'a> {
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn count(self) -> Option<u64> {
        match self {
            Self::Count(count) => Some(count),
            Self::Integer(count) => count.try_into().ok(),
            _ => None,
        }
    }

    pub(super) fn number(self) -> Option<f64> {
        let number = match self {
            Self::Count(count) => count as f64,
            Self::Integer(count) => count as f64,
            Self::Number(number) => number,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    pub(super) fn flag(self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn list(self) -> Option<Array<'a>> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }
}
