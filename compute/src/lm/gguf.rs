//! The GGUF container: metadata and tensors, by name.
//!
//! The format is that of ggml's `docs/gguf.md`, versions 2 and 3, little
//! endian. Nothing is copied: values and tensors are parts of the file's bytes.
//! A file is refused unless every length lies within it, every name is there
//! once, and no two tensors share a byte.

use super::quant::Kind;
use reader::Reader;
pub(crate) use value::{Array, Value};

mod invalid;
mod reader;
mod value;

pub use invalid::InvalidGguf;
pub(crate) use invalid::{key, shown, tensor};

/// The most tensors of a file.
const MAX_TENSORS: usize = 1 << 16;
/// The most entries of its metadata.
const MAX_ENTRIES: usize = 1 << 16;
/// The longest name of a tensor or of an entry, in bytes.
const MAX_NAME: usize = 256;
/// The most axes of a tensor.
const MAX_AXES: usize = 4;
/// The largest alignment, in bytes.
const MAX_ALIGNMENT: u64 = 1 << 16;
/// The least bytes that an entry of the metadata takes in the file.
const LEAST_ENTRY: usize = 8 + 1 + 4 + 1;
/// The least bytes that the description of a tensor takes in the file.
const LEAST_TENSOR: usize = 8 + 1 + 4 + 8 + 4 + 8;

/// A file that was read and checked.
#[derive(Debug)]
pub(crate) struct Gguf<'a> {
    /// Sorted by name.
    entries: Vec<(&'a str, Value<'a>)>,
    /// Sorted by name.
    tensors: Vec<Tensor<'a>>,
}

/// A tensor of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: &'a str,
    /// Numbers along each axis, the one that lies together first; 1 where
    /// there is none.
    pub(crate) shape: [u64; MAX_AXES],
    pub(crate) kind: Kind,
    pub(crate) bytes: &'a [u8],
}

/// The description of a tensor, whose place is not yet known.
struct Described<'a> {
    name: &'a str,
    shape: [u64; MAX_AXES],
    kind: Kind,
    offset: u64,
    size: u64,
}

impl<'a> Gguf<'a> {
    /// Reads the header.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, InvalidGguf> {
        let mut from = Reader::new(bytes);
        if from.bytes(4, "magic")? != b"GGUF" {
            return Err(InvalidGguf::Magic);
        }
        let version = from.u32("version")?;
        if !(2..=3).contains(&version) {
            return Err(InvalidGguf::Version(version));
        }
        let tensors = from.count("tensors", MAX_TENSORS, LEAST_TENSOR)?;
        let entries = from.count("metadata entries", MAX_ENTRIES, LEAST_ENTRY)?;
        let entries = read_entries(&mut from, entries)?;
        let mut described = Vec::with_capacity(tensors);
        for _ in 0..tensors {
            described.push(describe(&mut from)?);
        }
        let mut file = Self {
            entries,
            tensors: Vec::new(),
        };
        let alignment = file.count("general.alignment")?.unwrap_or(32);
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            let reason = format!("{alignment} is no power of two up to {MAX_ALIGNMENT}");
            return Err(key("general.alignment", reason));
        }
        let begin = (from.position() as u64).next_multiple_of(alignment);
        let data = usize::try_from(begin).ok().and_then(|at| bytes.get(at..));
        file.tensors = place(described, alignment, data.unwrap_or_default())?;
        Ok(file)
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<Value<'a>> {
        let at = self.entries.binary_search_by(|(name, _)| (*name).cmp(key));
        at.ok().map(|at| self.entries[at].1)
    }

    /// The text of a key.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, InvalidGguf> {
        self.read(name, "a text", Value::text)
    }

    /// The whole number of a key.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u64>, InvalidGguf> {
        self.read(name, "a whole number", Value::count)
    }

    /// The number of a key.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, InvalidGguf> {
        self.read(name, "a finite number", Value::number)
    }

    /// The yes or no of a key.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, InvalidGguf> {
        self.read(name, "true or false", Value::flag)
    }

    /// The list of a key.
    pub(crate) fn list(&self, name: &str) -> Result<Option<Array<'a>>, InvalidGguf> {
        self.read(name, "a list", Value::list)
    }

    fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, InvalidGguf> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(key(name, format!("it is not {what}"))),
            },
        }
    }

    /// The tensor of a name.
    pub(crate) fn tensor(&self, name: &str) -> Option<&Tensor<'a>> {
        let at = self
            .tensors
            .binary_search_by(|tensor| tensor.name.cmp(name));
        at.ok().map(|at| &self.tensors[at])
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> &[Tensor<'a>] {
        &self.tensors
    }
}

fn read_entries<'a>(
    from: &mut Reader<'a>,
    count: usize,
) -> Result<Vec<(&'a str, Value<'a>)>, InvalidGguf> {
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let name = from.name(MAX_NAME, "name of a metadata entry")?;
        entries.push((name, value::read(from, name)?));
    }
    entries.sort_unstable_by_key(|(name, _)| *name);
    match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(key(pair[0].0, "it is there twice")),
        None => Ok(entries),
    }
}

fn describe<'a>(from: &mut Reader<'a>) -> Result<Described<'a>, InvalidGguf> {
    let name = from.name(MAX_NAME, "name of a tensor")?;
    let axes = from.u32("number of axes")? as usize;
    if !(1..=MAX_AXES).contains(&axes) {
        return Err(tensor(
            name,
            format!("it has {axes} axes, not 1 to {MAX_AXES}"),
        ));
    }
    let mut shape = [1; MAX_AXES];
    for axis in &mut shape[..axes] {
        *axis = from.u64("shape of a tensor")?;
    }
    let kind = from.u32("type of a tensor")?;
    let kind = Kind::of(kind).ok_or_else(|| {
        let reason = format!("its type {kind} is not one of {}", Kind::names());
        tensor(name, reason)
    })?;
    let offset = from.u64("place of a tensor")?;
    let numbers = shape
        .iter()
        .try_fold(1_u64, |all, axis| all.checked_mul(*axis));
    let size = numbers.and_then(|_| kind.bytes_of(&shape)).ok_or_else(|| {
        let reason = format!("its shape {shape:?} does not go with its type {kind:?}");
        tensor(name, reason)
    })?;
    Ok(Described {
        name,
        shape,
        kind,
        offset,
        size,
    })
}

/// Finds the bytes of each tensor, and that each has its own.
fn place<'a>(
    mut described: Vec<Described<'a>>,
    alignment: u64,
    data: &'a [u8],
) -> Result<Vec<Tensor<'a>>, InvalidGguf> {
    described.sort_unstable_by_key(|tensor| tensor.offset);
    let mut tensors = Vec::with_capacity(described.len());
    let mut taken = 0;
    for at in described {
        let wrong = |reason: String| Err(tensor(at.name, reason));
        if !at.offset.is_multiple_of(alignment) {
            return wrong(format!("it begins at {}, off the alignment", at.offset));
        }
        if at.offset < taken {
            return wrong("it overlaps another".to_owned());
        }
        let Some(end) = at.offset.checked_add(at.size) else {
            return wrong("it ends beyond all numbers".to_owned());
        };
        let range = usize::try_from(at.offset)
            .ok()
            .zip(usize::try_from(end).ok());
        let Some(bytes) = range.and_then(|(from, to)| data.get(from..to)) else {
            let left = (data.len() as u64).saturating_sub(at.offset);
            return wrong(format!(
                "it has {} bytes and the file {left} of them",
                at.size
            ));
        };
        taken = end;
        tensors.push(Tensor {
            name: at.name,
            shape: at.shape,
            kind: at.kind,
            bytes,
        });
    }
    tensors.sort_unstable_by_key(|tensor| tensor.name);
    match tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(tensor(pair[0].name, "it is there twice")),
        None => Ok(tensors),
    }
}
