//! Where a fetched blob is to be: a store, or a file of the caller's.

use std::path::{Path, PathBuf};

use embermesh_crypto::digest::Digest;

use crate::blob::{
    BlobStore, StoreError,
    geometry::MAX_BLOB_BYTES,
    layout::{self, Pair},
    partial::Partial,
    store::blocking,
};

/// Where a blob is to be.
pub(super) enum Place {
    Store(BlobStore),
    File(PathBuf),
}

impl Place {
    /// The size under which a fetch was begun before.
    pub(super) async fn known_size(&self, digest: &Digest) -> Option<u64> {
        match self {
            Self::Store(store) => store.partial_size(digest),
            Self::File(path) => {
                // A partial has its whole length from its first moment on.
                let data = Pair::beside(path, digest).data;
                let length = tokio::fs::metadata(data).await.ok()?.len();
                (1..=MAX_BLOB_BYTES).contains(&length).then_some(length)
            }
        }
    }

    /// Bytes that the disk has for a new blob, as far as that can be told. A store
    /// has its quota instead, and may make room.
    pub(super) async fn free_bytes(&self) -> Option<u64> {
        match self {
            Self::Store(_) => None,
            Self::File(path) => {
                let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                blocking(move || Ok(layout::free_bytes(&folder)))
                    .await
                    .ok()?
            }
        }
    }

    pub(super) async fn open(&self, digest: Digest, size: u64) -> Result<Partial, StoreError> {
        match self {
            Self::Store(store) => {
                let store = store.clone();
                blocking(move || store.open_partial(digest, size)).await
            }
            Self::File(path) => {
                let paths = Pair::beside(path, &digest);
                blocking(move || Partial::open(paths, digest, size)).await
            }
        }
    }

    pub(super) async fn discard(&self, digest: Digest) -> Result<(), StoreError> {
        match self {
            Self::Store(store) => {
                let store = store.clone();
                blocking(move || store.discard_partial(&digest)).await
            }
            Self::File(path) => {
                let paths = Pair::beside(path, &digest);
                blocking(move || paths.remove()).await
            }
        }
    }

    pub(super) async fn commit(&self, partial: Partial) -> Result<PathBuf, StoreError> {
        match self {
            Self::Store(store) => {
                let store = store.clone();
                blocking(move || store.commit_partial(partial)).await
            }
            Self::File(path) => {
                let path = path.clone();
                blocking(move || {
                    let (paths, _) = partial.finish()?;
                    layout::rename(&paths.data, &path)?;
                    layout::remove(&paths.outboard)?;
                    layout::sync_folder(path.parent().unwrap_or(&path))?;
                    Ok(path)
                })
                .await
            }
        }
    }
}
