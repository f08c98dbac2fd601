//! Tensors by name, still in the bytes of their safetensors files.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::{Folder, InvalidFolder};
use crate::lm::half::half_at;

/// The file that says which tensor is in which file.
const INDEX: &str = "model.safetensors.index.json";
/// The largest header of a file, in bytes.
const MAX_HEADER: u64 = 32 << 20;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    BF16,
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) name: String,
    /// The file that it is in.
    pub(crate) file: &'a str,
    /// The axis that lies together last.
    pub(crate) shape: Vec<usize>,
    /// None where it is of a type that no network here has.
    pub(crate) element: Option<Element>,
    pub(crate) bytes: &'a [u8],
}

/// All tensors of a folder.
#[derive(Debug)]
pub(crate) struct Weights<'a> {
    tensors: BTreeMap<String, Stored<'a>>,
    /// Names that were asked for.
    used: std::collections::BTreeSet<String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Bytes of the headers of all files: what is built of them takes a multiple.
pub(crate) fn header_bytes(folder: &Folder) -> u64 {
    folder
        .shards()
        .map(|(_, bytes)| header(bytes).unwrap_or(0))
        .sum()
}

/// What a file says of its header's length.
fn header(bytes: &[u8]) -> Option<u64> {
    let (len, _) = bytes.split_first_chunk::<8>()?;
    Some(u64::from_le_bytes(*len).min(bytes.len() as u64))
}

impl<'a> Weights<'a> {
    /// Reads the headers.
    pub(crate) fn read(folder: &'a Folder) -> Result<Self, InvalidFolder> {
        let mut tensors = BTreeMap::new();
        for (file, bytes) in folder.shards() {
            if header(bytes).is_some_and(|len| len > MAX_HEADER) {
                let reason = format!("its header is longer than {MAX_HEADER} bytes");
                return Err(InvalidFolder::new(file, reason));
            }
            let parsed = SafeTensors::deserialize(bytes).map_err(|error| {
                InvalidFolder::new(file, format!("it is not a whole safetensors file: {error}"))
            })?;
            for (name, view) in parsed.iter() {
                let stored = Stored {
                    name: name.to_owned(),
                    file,
                    shape: view.shape().to_vec(),
                    element: match view.dtype() {
                        Dtype::F32 => Some(Element::F32),
                        Dtype::F16 => Some(Element::F16),
                        Dtype::BF16 => Some(Element::BF16),
                        _ => None,
                    },
                    bytes: view.data(),
                };
                if tensors.insert(name.to_owned(), stored).is_some() {
                    let reason = format!("tensor {} is in another file too", shown(name));
                    return Err(InvalidFolder::new(file, reason));
                }
            }
        }
        let weights = Self {
            tensors,
            used: std::collections::BTreeSet::new(),
        };
        weights.check_index(folder)?;
        Ok(weights)
    }

    /// Whether every tensor that the index names is where it says.
    fn check_index(&self, folder: &Folder) -> Result<(), InvalidFolder> {
        let Some(index) = folder.settings::<Index>(INDEX)? else {
            return Ok(());
        };
        for (name, file) in &index.weight_map {
            let found = self.tensors.get(name).map(|tensor| tensor.file);
            if found != Some(file.as_str()) {
                let reason = format!(
                    "it says that tensor {} is in {}, and it is not",
                    shown(name),
                    shown(file)
                );
                return Err(InvalidFolder::new(INDEX, reason));
            }
        }
        Ok(())
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of a name, which must have this shape.
    pub(crate) fn take(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<(Stored<'a>, Element), InvalidFolder> {
        let found = self.tensors.get(name).cloned().ok_or_else(|| {
            InvalidFolder::new("model.safetensors", format!("tensor {name:?} is missing"))
        })?;
        let wrong = |reason: String| {
            Err(InvalidFolder::new(
                found.file,
                format!("tensor {name:?} {reason}"),
            ))
        };
        if found.shape != shape {
            return wrong(format!(
                "has shape {:?}, and config.json says {shape:?}",
                found.shape
            ));
        }
        let Some(element) = found.element else {
            return wrong("is not of type F32, F16 or BF16".to_owned());
        };
        self.used.insert(name.to_owned());
        Ok((found, element))
    }

    /// The tensor of a name in single precision.
    pub(crate) fn numbers(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, InvalidFolder> {
        let (found, element) = self.take(name, shape)?;
        Ok(element.unpack(found.bytes))
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Bytes of all tensors in single precision.
    pub(crate) fn total_bytes_f32(&self) -> u64 {
        let count = |tensor: &Stored<'_>| {
            let numbers = tensor.shape.iter().map(|axis| *axis as u64);
            numbers.product::<u64>().saturating_mul(4)
        };
        self.tensors
            .values()
            .map(count)
            .fold(0, u64::saturating_add)
    }

    /// Numbers in all tensors that were asked for.
    pub(crate) fn parameters(&self) -> u64 {
        let count = |name: &String| {
            let shape = self.shape(name).unwrap_or_default();
            shape.iter().map(|axis| *axis as u64).product::<u64>()
        };
        self.used.iter().map(count).fold(0, u64::saturating_add)
    }

    /// Refuses a tensor that nothing asked for, unless it is known to be of no
    /// use: the network would silently be another than its maker meant.
    pub(crate) fn no_others(&self, useless: impl Fn(&str) -> bool) -> Result<(), InvalidFolder> {
        let other = self
            .tensors
            .values()
            .find(|tensor| !self.used.contains(&tensor.name) && !useless(&tensor.name));
        match other {
            None => Ok(()),
            Some(other) => Err(InvalidFolder::new(
                other.file,
                format!(
                    "tensor {} is no part of the network that config.json describes",
                    shown(&other.name)
                ),
            )),
        }
    }
}

impl Element {
    /// Whole numbers of bytes in single precision.
    pub(crate) fn unpack(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => {
                let (numbers, _) = bytes.as_chunks::<4>();
                numbers.iter().map(|it| f32::from_le_bytes(*it)).collect()
            }
            Self::F16 => {
                let (numbers, _) = bytes.as_chunks::<2>();
                numbers.iter().map(|it| half_at(*it)).collect()
            }
            Self::BF16 => {
                let (numbers, _) = bytes.as_chunks::<2>();
                let wide = |it: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*it)) << 16);
                numbers.iter().map(wide).collect()
            }
        }
    }
}

/// So much of a stranger's text as a message may hold.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}
