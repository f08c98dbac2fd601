//! Claims on the store: room for what comes, and a hold on what is there.

use std::{fs::File, io, path::Path};

use embermesh_crypto::digest::Digest;

use super::BlobStore;
use crate::blob::{StoreError, geometry, layout::Pair, ledger::Victim};

impl BlobStore {
    /// Sets room aside, removing what may go.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Room, StoreError> {
        let mut ledger = self.inner.ledger();
        let victims = ledger
            .reserve(bytes)
            .map_err(|full| StoreError::StorageFull {
                needed: bytes,
                free: full.free,
            })?;
        let room = Room {
            store: self.clone(),
            bytes,
        };
        for victim in victims {
            tracing::debug!(?victim, "evicted to make room");
            let removed = match victim {
                Victim::Blob(digest) => self.inner.layout.blob(&digest).remove(),
                Victim::Partial(digest, size) => self.inner.layout.partial(&digest, size).remove(),
            };
            if let Err(error) = removed {
                drop(ledger);
                return Err(error);
            }
        }
        drop(ledger);
        Ok(room)
    }
}

/// Room set aside in the quota; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    store: BlobStore,
    bytes: u64,
}

impl Room {
    /// Hands the room over to whoever enters it in the ledger, and says how much.
    pub(super) fn keep(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.store.inner.ledger().unreserve(self.bytes);
        }
    }
}

/// A blob that stays where it is until this is dropped.
#[derive(Debug)]
pub struct Held {
    pub(super) store: BlobStore,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) paths: Pair,
}

impl Held {
    /// Its name.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Where its bytes are. Not to be written to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.paths.data
    }

    pub(crate) fn open(&self) -> io::Result<(File, Option<File>)> {
        let data = File::open(&self.paths.data)?;
        let has_outboard = geometry::tree(self.size).outboard_size() > 0;
        let outboard = has_outboard
            .then(|| File::open(&self.paths.outboard))
            .transpose()?;
        Ok((data, outboard))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.inner.ledger().release(&self.digest);
    }
}
