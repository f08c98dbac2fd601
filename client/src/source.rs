//! The bytes of a job's inputs, where they lie on this side.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use embermesh_crypto::digest::Digest;
use embermesh_job::spec::Input;

use crate::{ClientError, Staying};

/// Bytes read at once while hashing.
const READ_BYTES: usize = 256 * 1024;

/// Where the bytes of an input are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Memory(Bytes),
}

/// Inputs that this side can give to a node, by digest.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    inputs: BTreeMap<Digest, (Input, Source)>,
    staying: Option<Staying>,
}

impl Sources {
    /// Hashes a file and takes it in. Reads it once; blocks.
    ///
    /// # Errors
    /// When it cannot be read, is no file, or is empty.
    pub fn add_file(&mut self, path: &Path) -> Result<Input, ClientError> {
        let io = |source| ClientError::Io {
            action: "read the input",
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("it is not a regular file")));
        }
        let mut hasher = Digest::hasher();
        let mut buffer = vec![0; READ_BYTES];
        let mut size = 0_u64;
        loop {
            let read = file.read(&mut buffer).map_err(io)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            size += read as u64;
        }
        if size == 0 {
            return Err(io(std::io::Error::other("it is empty")));
        }
        let input = Input {
            digest: hasher.finalize(),
            size,
        };
        self.inputs
            .insert(input.digest, (input, Source::File(path.to_owned())));
        Ok(input)
    }

    /// Takes bytes in.
    pub fn add_bytes(&mut self, bytes: impl Into<Bytes>) -> Input {
        let bytes = bytes.into();
        let input = Input {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        self.inputs
            .insert(input.digest, (input, Source::Memory(bytes)));
        input
    }

    /// Gives the node of the job samples of data that stays here.
    pub fn stay(&mut self, data: Staying) {
        self.staying = Some(data);
    }

    /// The data that stays here, if there is such.
    #[must_use]
    pub const fn staying(&self) -> Option<&Staying> {
        self.staying.as_ref()
    }

    /// Every input that is here.
    pub fn iter(&self) -> impl Iterator<Item = (&Input, &Source)> {
        self.inputs.values().map(|(input, source)| (input, source))
    }

    /// Whether nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_bytes_are_one_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"pixels").unwrap();
        let mut sources = Sources::default();
        let input = sources.add_file(&path).unwrap();
        assert_eq!(input, sources.add_bytes(&b"pixels"[..]));
        assert_eq!(sources.iter().count(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = Sources::default();
        for path in [folder.path().join("missing"), folder.path().to_owned()] {
            let error = sources.add_file(&path).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        let empty = folder.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        assert!(
            sources
                .add_file(&empty)
                .unwrap_err()
                .to_string()
                .contains("empty")
        );
        assert!(sources.is_empty());
    }
}
