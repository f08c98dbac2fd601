//! A model as a folder of files, as the `transformers` library saves them.
//!
//! The files are a stranger's: each is bounded by its size before it is parsed,
//! and what is read of it is paid for out of the job's memory first. What is
//! wrong is said with the file's name.
//!
//! | module | what it is |
//! |---|---|
//! | `weights` | tensors by name, in one safetensors file or several |
//! | `tokenizer` | `tokenizer.json`, through the library of its maker |
//! | `limits` | what of it would explode, refused beforehand |
//! | `decode` | tokens back to bytes |

mod decode;
mod limits;
pub(crate) mod tokenizer;
pub(crate) mod weights;

use std::collections::BTreeMap;

use embermesh_job::spec::Input;
use serde::de::DeserializeOwned;

use crate::dataset::load;
use crate::failure::WorkFailed;
use crate::pipe::WorkOrder;

/// The largest file of settings, in bytes.
const MAX_SETTINGS: usize = 4 << 20;

/// What is wrong with a file of a model's folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct InvalidFolder {
    /// The file, by its name in the folder.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidFolder {
    pub(crate) fn new(file: &str, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(512));
        Self {
            file: file.to_owned(),
            reason,
        }
    }
}

/// The files of a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    files: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    /// Reads files whose bytes are those that their digests name.
    pub(crate) fn read(
        files: &BTreeMap<String, Input>,
        order: &WorkOrder,
    ) -> Result<Self, WorkFailed> {
        let file = |(name, input): (&String, &Input)| {
            load::input(*input, order).map(|bytes| (name.clone(), bytes))
        };
        Ok(Self {
            files: files.iter().map(file).collect::<Result<_, _>>()?,
        })
    }

    /// One that is in memory already.
    #[cfg(test)]
    pub(crate) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { files }
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// The bytes of a file.
    pub(crate) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The bytes of a file that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&[u8], InvalidFolder> {
        self.file(name)
            .ok_or_else(|| InvalidFolder::new(name, "it is missing"))
    }

    /// A file of settings, where it is there.
    pub(crate) fn settings<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, InvalidFolder> {
        let Some(bytes) = self.file(name) else {
            return Ok(None);
        };
        if bytes.len() > MAX_SETTINGS {
            let reason = format!("it has {} bytes, of {MAX_SETTINGS} allowed", bytes.len());
            return Err(InvalidFolder::new(name, reason));
        }
        serde_json::from_slice(bytes)
            .map(Some)
            .map_err(|error| InvalidFolder::new(name, error.to_string()))
    }

    /// The text of a file, where it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, InvalidFolder> {
        let text = |bytes| std::str::from_utf8(bytes);
        self.file(name)
            .map(text)
            .transpose()
            .map_err(|_| InvalidFolder::new(name, "it is not UTF-8"))
    }

    /// The files of weights.
    fn shards(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .filter(|(name, _)| name.ends_with(".safetensors"))
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

/// A whole number of a config, within bounds.
pub(crate) fn bounded(name: &str, value: u64, most: u64) -> Result<usize, InvalidFolder> {
    match usize::try_from(value) {
        Ok(found) if (1..=most).contains(&value) => Ok(found),
        _ => Err(InvalidFolder::new(
            "config.json",
            format!("`{name}` is {value}, which is not from 1 to {most}"),
        )),
    }
}
