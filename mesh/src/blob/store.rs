//! The store: a folder of blobs under a quota, safe against crashes.
//!
//! What touches much of the disk is async and runs on tokio's blocking threads; the
//! rest is short. The ledger's lock is held while files are renamed and removed, so
//! that a name on disk and its entry never part.

mod arriving;
mod import;
mod recover;
mod room;

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};

use embermesh_crypto::digest::Digest;

pub use room::Held;
pub(crate) use room::Room;

use super::{
    StoreError,
    layout::{self, Layout},
    ledger::Ledger,
};

/// A store of blobs. Clones are the same store.
#[derive(Clone)]
pub struct BlobStore {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    layout: Layout,
    ledger: Mutex<Ledger>,
    /// One fetch of a blob at a time; the others wait for what it brings.
    flights: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    /// Keeps other processes out while it is open.
    _lock: File,
}

/// A blob that has been put into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// False when it was there already.
    pub new: bool,
}

/// A blob in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Whether it is never evicted.
    pub pinned: bool,
}

/// A blob on its way into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialInfo {
    /// Its name.
    pub digest: Digest,
    /// Bytes of the whole blob.
    pub size: u64,
    /// Whether a fetch is at it now.
    pub active: bool,
}

/// How full a store is. Blobs count with their hash trees, in blocks of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of blobs and partials.
    pub used: u64,
    /// Bytes promised to what is coming in.
    pub reserved: u64,
    /// Bytes that may be used in all.
    pub quota: u64,
    /// Number of whole blobs.
    pub blobs: usize,
}

impl BlobStore {
    /// Opens the store in `root`, or makes one, for this user alone. Removes what a
    /// crash left, and blobs beyond the quota if it has shrunk. Blocks.
    ///
    /// # Errors
    /// When another process uses the folder, it is open to others, or the disk
    /// refuses.
    pub fn open(root: impl AsRef<Path>, quota_bytes: u64) -> Result<Self, StoreError> {
        let (layout, lock) = Layout::prepare(root.as_ref())?;
        let mut ledger = Ledger::new(quota_bytes);
        recover::blobs(&layout, &mut ledger)?;
        recover::partials(&layout, &mut ledger)?;
        let store = Self {
            inner: Arc::new(Inner {
                layout,
                ledger: Mutex::new(ledger),
                flights: Mutex::default(),
                _lock: lock,
            }),
        };
        if store.inner.ledger().used() > quota_bytes {
            // A full store of pinned blobs is full, and no reason not to start.
            if let Err(error) = store.reserve(0) {
                tracing::warn!(%error, "the blob store is beyond its quota");
            }
        }
        Ok(store)
    }

    /// Whether a blob is here, whole.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.inner.ledger().blob(digest).is_some()
    }

    /// Bytes of a blob that is here.
    #[must_use]
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.inner.ledger().blob(digest).map(|entry| entry.size)
    }

    /// Keeps a blob from being evicted or removed until the guard is dropped, and
    /// says where it is. Counts as a use.
    ///
    /// # Errors
    /// When it is not here.
    pub fn hold(&self, digest: &Digest) -> Result<Held, StoreError> {
        let size = self.inner.ledger().hold(digest);
        let size = size.ok_or(StoreError::NotFound(*digest))?;
        let paths = self.inner.layout.blob(digest);
        // The next start orders blobs by this time. That it fails costs nothing else.
        if let Ok(file) = File::open(&paths.data) {
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Held {
            store: self.clone(),
            digest: *digest,
            size,
            paths,
        })
    }

    /// Where a blob is. It may be evicted at any time: whoever reads it later takes
    /// [`BlobStore::hold`]. Counts as a use.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let mut ledger = self.inner.ledger();
        ledger.blob(digest)?;
        ledger.touch(digest);
        Some(self.inner.layout.blob(digest).data)
    }

    /// Every whole blob, in the order of digests.
    #[must_use]
    pub fn list(&self) -> Vec<BlobInfo> {
        let ledger = self.inner.ledger();
        let mut blobs: Vec<_> = ledger
            .blobs()
            .map(|(digest, entry)| BlobInfo {
                digest: *digest,
                size: entry.size,
                pinned: entry.pinned,
            })
            .collect();
        blobs.sort_unstable_by_key(|blob| blob.digest);
        blobs
    }

    /// Blobs on their way, in the order of digests.
    #[must_use]
    pub fn partials(&self) -> Vec<PartialInfo> {
        let ledger = self.inner.ledger();
        let mut partials: Vec<_> = ledger
            .partials()
            .map(|(digest, size, active)| PartialInfo {
                digest,
                size,
                active,
            })
            .collect();
        partials.sort_unstable_by_key(|partial| partial.digest);
        partials
    }

    /// How full the store is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let ledger = self.inner.ledger();
        Usage {
            used: ledger.used(),
            reserved: ledger.reserved(),
            quota: ledger.quota(),
            blobs: ledger.blobs().count(),
        }
    }

    /// Keeps a blob from being evicted, across restarts too, until it is unpinned.
    ///
    /// # Errors
    /// When it is not here, or the disk refuses.
    pub fn pin(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut ledger = self.inner.ledger();
        if !ledger.set_pinned(digest, true) {
            return Err(StoreError::NotFound(*digest));
        }
        let path = self.inner.layout.pin(digest);
        fs::write(&path, []).map_err(|error| StoreError::io("write", &path, &error))?;
        layout::sync_folder(&self.inner.layout.pins())
    }

    /// Lets a blob be evicted again. One that is not here, or not pinned, is fine.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn unpin(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut ledger = self.inner.ledger();
        ledger.set_pinned(digest, false);
        layout::remove(&self.inner.layout.pin(digest))
    }

    /// Removes a blob, pinned or not, and what has come of it. False when there was
    /// none.
    ///
    /// # Errors
    /// When it is held, or the disk refuses.
    pub fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut ledger = self.inner.ledger();
        let partial = ledger.partials().find(|(known, ..)| known == digest);
        if let Some((_, size, active)) = partial {
            if active {
                return Err(StoreError::Held(*digest));
            }
            self.inner.layout.partial(digest, size).remove()?;
            ledger.remove_partial(digest);
        }
        let Some(entry) = ledger.blob(digest) else {
            return Ok(false);
        };
        if entry.holds > 0 {
            return Err(StoreError::Held(*digest));
        }
        layout::remove(&self.inner.layout.pin(digest))?;
        self.inner.layout.blob(digest).remove()?;
        ledger.remove(digest);
        Ok(true)
    }
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStore")
            .field("layout", &self.inner.layout)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

/// A thread that panicked left what it guarded as whole as any error would have.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(StoreError::Io {
                action: "work on",
                path: PathBuf::new(),
                reason: error.to_string(),
            })
        })
}
