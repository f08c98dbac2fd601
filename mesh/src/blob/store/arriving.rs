//! Partials: blobs on their way, from the first byte to their place.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
};

use embermesh_crypto::digest::Digest;

use super::{BlobStore, lock};
use crate::blob::{StoreError, ledger::weight, partial::Partial};

impl BlobStore {
    /// A partial to go on with, the one there is or a new one. Blocks.
    pub(crate) fn open_partial(&self, digest: Digest, size: u64) -> Result<Partial, StoreError> {
        if let Some(known) = self.inner.ledger().partial(&digest)
            && known != size
        {
            self.discard_partial(&digest)?;
        }
        let mut ledger = self.inner.ledger();
        if ledger.partial(&digest).is_some() {
            ledger.set_active(&digest, true);
            drop(ledger);
        } else {
            drop(ledger);
            let room = self.reserve(weight(size))?;
            let mut ledger = self.inner.ledger();
            ledger.insert_partial(digest, size, true);
            ledger.unreserve(room.keep());
        }
        let opened = Partial::open(self.inner.layout.partial(&digest, size), digest, size);
        if opened.is_err() {
            let _ = self.discard_partial(&digest);
        }
        opened
    }

    /// The size under which a partial was begun.
    pub(crate) fn partial_size(&self, digest: &Digest) -> Option<u64> {
        self.inner.ledger().partial(digest)
    }

    /// Leaves a partial for later.
    pub(crate) fn rest_partial(&self, digest: &Digest) {
        self.inner.ledger().set_active(digest, false);
    }

    /// Removes a partial.
    pub(crate) fn discard_partial(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut ledger = self.inner.ledger();
        if let Some(size) = ledger.partial(digest) {
            ledger.remove_partial(digest);
            self.inner.layout.partial(digest, size).remove()?;
        }
        Ok(())
    }

    /// Makes a blob of a partial that lacks nothing. Blocks.
    pub(crate) fn commit_partial(&self, partial: Partial) -> Result<PathBuf, StoreError> {
        let digest = partial.digest;
        let (paths, size) = partial.finish()?;
        let mut ledger = self.inner.ledger();
        let path = if ledger.blob(&digest).is_some() {
            // An import was faster. Its entry may be held, and stays as it is.
            paths.remove()?;
            self.inner.layout.blob(&digest).data
        } else {
            let put = self.inner.layout.put(&paths, &digest)?;
            ledger.insert(digest, size, false);
            put.data
        };
        ledger.remove_partial(&digest);
        Ok(path)
    }

    /// The right to fetch a blob, once nobody else does.
    pub(crate) async fn flight(&self, digest: &Digest) -> tokio::sync::OwnedMutexGuard<()> {
        let flight = {
            let mut flights = lock(&self.inner.flights);
            flights.retain(|_, flight| flight.strong_count() > 0);
            let flight = flights
                .get(digest)
                .and_then(Weak::upgrade)
                .unwrap_or_default();
            flights.insert(*digest, Arc::downgrade(&flight));
            flight
        };
        flight.lock_owned().await
    }
}
