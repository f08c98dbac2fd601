//! Putting bytes into the store, and reading them again: what hashes.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use bao_tree::io::{outboard::PreOrderOutboard, sync::CreateOutboard as _};
use blake3::Hash;
use bytes::Bytes;
use embermesh_crypto::digest::Digest;

use super::{BlobStore, Room, Stored, blocking};
use crate::blob::{
    StoreError, Upload, geometry,
    layout::{self, Pair, Scratch},
    ledger::weight,
};

/// Bytes read at once when a blob is hashed.
const READ_BYTES: usize = 256 * 1024;

impl BlobStore {
    /// Puts bytes into the store.
    ///
    /// # Errors
    /// When there is no room, or the disk refuses.
    pub async fn import_bytes(&self, bytes: impl Into<Bytes>) -> Result<Stored, StoreError> {
        let (store, bytes) = (self.clone(), bytes.into());
        blocking(move || {
            let digest = Digest::of(&bytes);
            let size = bytes.len() as u64;
            if store.contains(&digest) {
                return Ok(Stored {
                    digest,
                    size,
                    new: false,
                });
            }
            let room = store.reserve(weight(size))?;
            let scratch = store.inner.layout.new_scratch();
            let path = &scratch.pair.data;
            layout::private_file()
                .write(true)
                .create_new(true)
                .open(path)
                .and_then(|mut file| io::Write::write_all(&mut file, &bytes))
                .map_err(|error| StoreError::io("write", path, &error))?;
            store.adopt(scratch, room, None)
        })
        .await
    }

    /// Copies a file into the store.
    ///
    /// # Errors
    /// When it cannot be read, there is no room, or the disk refuses.
    pub async fn import_file(&self, path: impl AsRef<Path>) -> Result<Stored, StoreError> {
        let source = path.as_ref().to_owned();
        let open = source.clone();
        let from = blocking(move || {
            File::open(&open).map_err(|error| StoreError::io("read", &open, &error))
        })
        .await?;
        self.import_open(from, source).await
    }

    /// Takes in what an open file holds: whoever opened it has looked at it, and what
    /// its path `source` has become since does not matter.
    ///
    /// # Errors
    /// When it cannot be read, there is no room, or the disk refuses.
    pub async fn import_open(&self, mut from: File, source: PathBuf) -> Result<Stored, StoreError> {
        let store = self.clone();
        blocking(move || {
            let failed = |error: io::Error| StoreError::io("read", &source, &error);
            let size = from.metadata().map_err(failed)?.len();
            let room = store.reserve(weight(size))?;
            let scratch = store.inner.layout.new_scratch();
            let path = &scratch.pair.data;
            let copied = layout::private_file()
                .write(true)
                .create_new(true)
                .open(path)
                // The source may grow meanwhile: what was set aside is what is taken.
                .and_then(|mut to| io::copy(&mut io::Read::take(&mut from, size), &mut to));
            copied.map_err(|error| StoreError::io("write", path, &error))?;
            store.adopt(scratch, room, None)
        })
        .await
    }

    /// Takes in a blob of announced name and size, as plain bytes: the other end of a
    /// `PutBlob`.
    ///
    /// # Errors
    /// When there is no room, or the disk refuses.
    pub async fn upload(&self, digest: Digest, size: u64) -> Result<Upload, StoreError> {
        let store = self.clone();
        blocking(move || {
            let room = store.reserve(weight(size.min(geometry::MAX_BLOB_BYTES)))?;
            let scratch = store.inner.layout.new_scratch();
            Upload::begin(store, digest, size, scratch, room)
        })
        .await
    }

    /// Reads a blob again and compares it with its name. A damaged one is removed.
    ///
    /// # Errors
    /// When it is not here, damaged, or the disk refuses.
    pub async fn check(&self, digest: &Digest) -> Result<(), StoreError> {
        let held = self.hold(digest)?;
        let store = self.clone();
        blocking(move || {
            let found = hash(&held.paths, held.size, false)?;
            let digest = held.digest;
            drop(held);
            if found == digest {
                return Ok(());
            }
            store.remove(&digest)?;
            Err(StoreError::Damaged(digest))
        })
        .await
    }

    /// Hashes a scratch file and puts it in its place. With `expected` it must be
    /// that blob. Blocks.
    pub(crate) fn adopt(
        &self,
        scratch: Scratch,
        room: Room,
        expected: Option<Digest>,
    ) -> Result<Stored, StoreError> {
        let path = &scratch.pair.data;
        let failed = |error: io::Error| StoreError::io("read", path, &error);
        let size = fs::metadata(path).map_err(failed)?.len();
        let digest = hash(&scratch.pair, size, true)?;
        if let Some(expected) = expected
            && expected != digest
        {
            return Err(StoreError::WrongHash {
                expected,
                found: digest,
            });
        }
        let new = !self.contains(&digest);
        if new {
            for path in [&scratch.pair.data, &scratch.pair.outboard] {
                if path.exists() {
                    File::open(path)
                        .and_then(|file| file.sync_all())
                        .map_err(|error| StoreError::io("sync", path, &error))?;
                }
            }
            self.settle(&scratch.pair, digest, size)?;
        }
        drop(room);
        Ok(Stored { digest, size, new })
    }

    /// Puts synced files in their place and enters them.
    fn settle(&self, from: &Pair, digest: Digest, size: u64) -> Result<(), StoreError> {
        let mut ledger = self.inner.ledger();
        if ledger.blob(&digest).is_none() {
            self.inner.layout.put(from, &digest)?;
            ledger.insert(digest, size, false);
        }
        Ok(())
    }
}

/// Hashes a blob's data, and writes the outboard if asked to.
fn hash(paths: &Pair, size: u64, write: bool) -> Result<Digest, StoreError> {
    let failed = |error: io::Error| StoreError::io("read", &paths.data, &error);
    let data = File::open(&paths.data).map_err(failed)?;
    let tree = geometry::tree(size);
    let data = io::BufReader::with_capacity(READ_BYTES, data);
    let root = if write && tree.outboard_size() > 0 {
        let file = layout::private_file()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&paths.outboard)
            .map_err(|error| StoreError::io("write", &paths.outboard, &error))?;
        let mut outboard = PreOrderOutboard {
            root: Hash::from_bytes([0; 32]),
            tree,
            data: file,
        };
        outboard
            .init_from(data)
            .map_err(|error| StoreError::io("write", &paths.outboard, &error))?;
        outboard.root
    } else {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(data).map_err(failed)?;
        hasher.finalize()
    };
    Ok(Digest::from_bytes(*root.as_bytes()))
}
