//! The folder of a store, and the few moves on disk that keep it whole.
//!
//! ```text
//! lock                    held by the process that uses the folder
//! blobs/ab/abcd...        a blob, whole and synced
//! blobs/ab/abcd....bao    its outboard, if it has more than one group
//! partial/abcd....SIZE    a blob on its way, and .bao beside it
//! scratch/N               bytes whose hash is not known yet; emptied at the start
//! pins/abcd...            empty: the blob is not to be evicted
//! ```
//!
//! **A file under `blobs/` is whole.** Outboard and data are synced before they are
//! renamed into place, the outboard first; the folder is synced before the blob is
//! spoken of. What a crash leaves is a file in `scratch/`, an outboard without data,
//! or a partial, which is checked before it is used.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use embermesh_crypto::digest::Digest;

use super::StoreError;

/// Letters of the digest that name the folder a blob is in.
const SHARD_LETTERS: usize = 2;

/// The paths of a store.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    next_scratch: AtomicU64,
}

/// Where the two files of a blob are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) data: PathBuf,
    pub(crate) outboard: PathBuf,
}

impl Pair {
    fn at(data: PathBuf) -> Self {
        let mut outboard = data.clone().into_os_string();
        outboard.push(".bao");
        Self {
            data,
            outboard: outboard.into(),
        }
    }

    /// The two files beside a file that is being downloaded.
    pub(crate) fn beside(destination: &Path, digest: &Digest) -> Self {
        let mut name = destination.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", digest.short()));
        Self::at(destination.with_file_name(name))
    }

    /// Removes both, the data first: without it the outboard means nothing.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        remove(&self.data)?;
        remove(&self.outboard)
    }
}

impl Layout {
    /// Makes the folder, or takes an existing one over, for this user alone.
    pub(crate) fn prepare(root: &Path) -> Result<(Self, File), StoreError> {
        make_private(root)?;
        let lock_path = root.join("lock");
        let lock = private_file()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| StoreError::io("open", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse(root.to_owned())),
            Err(fs::TryLockError::Error(error)) => {
                return Err(StoreError::io("lock", &lock_path, &error));
            }
        }
        let layout = Self {
            root: root.to_owned(),
            next_scratch: AtomicU64::new(0),
        };
        for folder in [
            layout.blobs(),
            layout.partials(),
            layout.scratch(),
            layout.pins(),
        ] {
            make_folder(&folder)?;
        }
        for left in entries(&layout.scratch())? {
            remove(&left)?;
        }
        Ok((layout, lock))
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    pub(crate) fn pin(&self, digest: &Digest) -> PathBuf {
        self.pins().join(digest.to_string())
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Pair {
        let name = digest.to_string();
        let shard = name.get(..SHARD_LETTERS).unwrap_or_default();
        Pair::at(self.blobs().join(shard).join(&name))
    }

    pub(crate) fn partial(&self, digest: &Digest, size: u64) -> Pair {
        Pair::at(self.partials().join(format!("{digest}.{size}")))
    }

    /// A new file for bytes that have no name yet.
    pub(crate) fn new_scratch(&self) -> Scratch {
        let number = self.next_scratch.fetch_add(1, Ordering::Relaxed);
        Scratch {
            pair: Pair::at(self.scratch().join(number.to_string())),
        }
    }

    /// Puts a blob's synced files in their place, for good.
    pub(crate) fn put(&self, from: &Pair, digest: &Digest) -> Result<Pair, StoreError> {
        let to = self.blob(digest);
        let shard = to.data.parent().unwrap_or(&self.root);
        make_folder(shard)?;
        if from.outboard.exists() {
            rename(&from.outboard, &to.outboard)?;
        }
        rename(&from.data, &to.data)?;
        sync_folder(shard)?;
        Ok(to)
    }
}

/// Files without a name yet; they go when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) pair: Pair,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.pair.remove() {
            tracing::warn!(%error, "a scratch file stays until the next start");
        }
    }
}

/// Options for files that only this user reads.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder
        .create(path)
        .map_err(|error| StoreError::io("make the folder", path, &error))?;
    path.parent().map_or(Ok(()), sync_folder)
}

fn make_private(root: &Path) -> Result<(), StoreError> {
    let new = !root.exists();
    make_folder(root)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let failed = |error| StoreError::io("read", root, &error);
        let mode = fs::metadata(root).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            if !new && !entries(root)?.is_empty() {
                return Err(StoreError::FolderOpen(root.to_owned()));
            }
            fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
    }
    Ok(())
}

/// The paths in a folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error: io::Error| StoreError::io("read", folder, &error);
    fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
        .collect()
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, &error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::io("rename into place", to, &error))
}

/// Bytes that this user may still write on the disk of a folder; `None` where that
/// cannot be told.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(or_current(folder)).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// An empty path is the current folder's.
fn or_current(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// Makes renames and removals in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let folder = or_current(folder);
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(|error| StoreError::io("sync the folder", folder, &error))
}
