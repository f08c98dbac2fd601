//! Plain bytes on their way into a store, under an announced name and size.

use std::io::SeekFrom;

use bytes::Bytes;
use embermesh_crypto::digest::Digest;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::{
    BlobStore, StoreError, Stored,
    layout::{self, Scratch},
    store::{self, Room},
};

/// A blob that is being put into the store. Dropped before [`Upload::finish`], it
/// leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    store: BlobStore,
    digest: Digest,
    announced: u64,
    received: u64,
    file: tokio::fs::File,
    scratch: Scratch,
    room: Room,
}

impl Upload {
    pub(crate) fn begin(
        store: BlobStore,
        digest: Digest,
        announced: u64,
        scratch: Scratch,
        room: Room,
    ) -> Result<Self, StoreError> {
        let path = &scratch.pair.data;
        let file = layout::private_file()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|error| StoreError::io("write", path, &error))?;
        Ok(Self {
            store,
            digest,
            announced,
            received: 0,
            file: tokio::fs::File::from_std(file),
            scratch,
            room,
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When more come than were announced, or the disk refuses.
    pub async fn write(&mut self, bytes: &Bytes) -> Result<(), StoreError> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.received > self.announced {
            return Err(self.wrong_size());
        }
        self.file
            .write_all(bytes)
            .await
            .map_err(|error| StoreError::io("write", &self.scratch.pair.data, &error))
    }

    /// Checks what has come and puts it in its place; durable once this returns.
    ///
    /// # Errors
    /// When it is not what was announced, or the disk refuses.
    pub async fn finish(mut self) -> Result<Stored, StoreError> {
        if self.received != self.announced {
            return Err(self.wrong_size());
        }
        // A seek waits for writes under way and tells of their errors, as a flush of
        // tokio's file does not always.
        let flushed = async {
            self.file.flush().await?;
            self.file.seek(SeekFrom::Start(0)).await
        };
        flushed
            .await
            .map_err(|error| StoreError::io("write", &self.scratch.pair.data, &error))?;
        let Self {
            store,
            digest,
            scratch,
            room,
            ..
        } = self;
        store::blocking(move || store.adopt(scratch, room, Some(digest))).await
    }

    const fn wrong_size(&self) -> StoreError {
        StoreError::WrongSize {
            digest: self.digest,
            announced: self.announced,
            received: self.received,
        }
    }
}
