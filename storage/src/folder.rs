//! The data folder: made private to its owner, and held by one daemon at a time.
//!
//! The lock is the operating system's, on an open file, so it goes when the
//! process goes, however it goes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderUnusable {
    /// The folder could not be made or opened.
    #[error("cannot use the data folder {}: {source}; choose another with data_dir", path.display())]
    Io {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error(
        "another {daemon} runs on the data folder {}; stop it, or give this one its own data_dir",
        path.display()
    )]
    InUse {
        /// What runs there: "index" or "node".
        daemon: &'static str,
        /// The folder.
        path: PathBuf,
    },
}

impl FolderUnusable {
    /// What the operating system said about a path.
    #[must_use]
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// A data folder that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    daemon: &'static str,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if need be and takes its lock. `daemon` says who runs there
    /// and names the files: "index" or "node".
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another process holds it.
    pub fn hold(path: &Path, daemon: &'static str) -> Result<Self, FolderUnusable> {
        make_private(path).map_err(|source| FolderUnusable::io(path, source))?;
        // Absolute, because workers are told paths in it.
        let path = path
            .canonicalize()
            .map_err(|source| FolderUnusable::io(path, source))?;
        let lock_path = path.join(format!("{daemon}.lock"));
        let unusable = |source| FolderUnusable::io(&lock_path, source);
        let lock = private_options()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path,
                daemon,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(FolderUnusable::InUse { daemon, path }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the daemon's database lives.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join(format!("{}.db", self.daemon))
    }
}

/// Options that open for reading and writing and create as `0600`.
#[must_use]
pub fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// Makes a folder, and those above it, that only its owner may enter. One that is
/// there stays as it is.
///
/// # Errors
/// What the operating system says.
pub fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_free_again_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/node");
        let held = DataFolder::hold(&path, "node").unwrap();
        assert!(held.path().is_absolute());
        let refused = DataFolder::hold(&path, "node").unwrap_err();
        assert!(matches!(refused, FolderUnusable::InUse { .. }));
        assert!(refused.to_string().contains("another node"), "{refused}");
        assert!(refused.to_string().contains("data_dir"), "{refused}");
        drop(held);
        DataFolder::hold(&path, "node").unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_new_folder_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let _held = DataFolder::hold(&path, "index").unwrap();
        for path in [path.clone(), path.join("index.lock")] {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::write(&path, b"x").unwrap();
        let refused = DataFolder::hold(&path, "index").unwrap_err();
        assert!(refused.to_string().contains("taken"), "{refused}");
    }
}
