//! What is where in the node's data folder.

use std::path::{Path, PathBuf};

use embermesh_storage::folder::{self, FolderUnusable, make_private};

use crate::remove::remove_tree;

/// Who holds the folder; names its lock and its database.
const DAEMON: &str = "node";

/// The folder of the blobs.
const BLOBS: &str = "blobs";

/// The folder in which each attempt has a folder while it runs.
const WORK: &str = "work";

/// What whoever can read it is the owner by.
const OWNER_FILE: &str = "owner.token";

/// What the devices were measured to be.
pub(crate) const DEVICES_FILE: &str = "devices.json";

/// A data folder that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataFolder(folder::DataFolder);

impl DataFolder {
    /// Makes the folder if need be and takes its lock.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another node holds it.
    pub fn hold(path: &Path) -> Result<Self, FolderUnusable> {
        folder::DataFolder::hold(path, DAEMON).map(Self)
    }

    /// Where the database lives.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.database()
    }

    /// Where the blobs live.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.0.path().join(BLOBS)
    }

    /// Where the measured devices are remembered.
    #[must_use]
    pub fn devices(&self) -> PathBuf {
        self.0.path().join(DEVICES_FILE)
    }

    /// Where the owner's word lies while the node runs.
    #[must_use]
    pub fn owner_token(&self) -> PathBuf {
        self.0.path().join(OWNER_FILE)
    }

    /// The folder of running attempts, emptied of what a crash left.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn fresh_work(&self) -> Result<PathBuf, FolderUnusable> {
        let work = self.0.path().join(WORK);
        let unusable = |source| FolderUnusable::io(&work, source);
        remove_tree(&work).map_err(unusable)?;
        make_private(&work).map_err(unusable)?;
        Ok(work)
    }
}
