//! How much there is in a file, before any of it is decoded: a few bytes of a
//! protobuf message can ask for a hundred times their size, again and again.

use super::InvalidOnnx;

/// The most parts (nodes, names, attributes, tensors) of a file.
const MAX_PARTS: usize = 1 << 19;
/// How deep graphs may lie within graphs.
const MAX_DEPTH: usize = 64;

/// The messages that have parts of their own.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Info,
    Type,
    Tensor,
    Shape,
}

impl Message {
    /// The message in a field, if it is one that has parts.
    fn within(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 11..=13) => Some(Self::Info),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Info, 2) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::Tensor),
            (Self::Tensor, 2) => Some(Self::Shape),
            _ => None,
        }
    }
}

/// Refuses a file with too many parts, too many levels, or lengths that are not
/// those of its bytes.
pub(super) fn check(bytes: &[u8]) -> Result<(), InvalidOnnx> {
    walk(bytes, Message::Model, 0, &mut 0)
}

fn walk(mut bytes: &[u8], of: Message, depth: usize, parts: &mut usize) -> Result<(), InvalidOnnx> {
    if depth > MAX_DEPTH {
        return Err(InvalidOnnx::TooLarge {
            what: "levels",
            most: MAX_DEPTH,
        });
    }
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let skip = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(varint(&mut bytes)?).map_err(|_| broken())?,
            _ => return Err(broken()),
        };
        let (part, rest) = bytes.split_at_checked(skip).ok_or_else(broken)?;
        bytes = rest;
        if key & 7 != 2 {
            continue;
        }
        *parts += 1;
        if *parts > MAX_PARTS {
            return Err(InvalidOnnx::TooLarge {
                what: "nodes, names, attributes and tensors",
                most: MAX_PARTS,
            });
        }
        if let Some(within) = of.within(key >> 3) {
            walk(part, within, depth + 1, parts)?;
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, InvalidOnnx> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(broken)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(broken())
}

fn broken() -> InvalidOnnx {
    InvalidOnnx::Format("its parts do not fit together".to_owned())
}
