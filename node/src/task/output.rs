//! Files of a worker made into blobs.
//!
//! A worker is not believed: what it names must be a plain file in its own folder,
//! and no larger than the job may make.

use std::path::{Path, PathBuf};

use embermesh_job::event::Artifact;
use embermesh_mesh::blob::{self, Held, Stored};
use thiserror::Error;

use crate::{remove::remove_tree, site::Site};

/// The longest name of an artifact, in bytes: what a receipt can hold.
const MAX_NAME: usize = 128;

/// The most artifacts of one task: what a receipt can hold.
const MAX_ARTIFACTS: usize = 128;

/// Why a file was not taken.
#[derive(Debug, Error)]
pub(super) enum NotTaken {
    /// It is not a plain file in the worker's folder.
    #[error("the worker named {}, which is not a file of its own", .0.display())]
    Foreign(PathBuf),
    /// Its name cannot be shown.
    #[error("the worker gave an artifact a name that cannot be shown")]
    BadName,
    /// All of it together is more than the job may make.
    #[error("the job made {made} bytes of output and may make {allowed}: raise `limits.output`")]
    OverCeiling { made: u64, allowed: u64 },
    /// More than a receipt can name.
    #[error("the job made more than {MAX_ARTIFACTS} artifacts")]
    TooMany,
    /// The store cannot keep it.
    #[error("the output cannot be kept: {0}")]
    Store(#[from] blob::StoreError),
}

/// Where a worker may make files.
pub(super) struct Workdir {
    path: PathBuf,
}

impl Workdir {
    /// Makes the folder of one attempt, for this user alone.
    pub(super) fn make(path: PathBuf) -> std::io::Result<Self> {
        // What a crash between two attempts of one epoch left is nobody's.
        let _ = remove_tree(&path);
        embermesh_storage::folder::make_private(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that a file is the worker's own, and says how large it is.
    fn own(&self, file: &Path) -> Result<u64, NotTaken> {
        let foreign = || NotTaken::Foreign(file.to_owned());
        let metadata = std::fs::symlink_metadata(file).map_err(|_| foreign())?;
        // Resolved, so that neither `..` nor a link leads out of the folder.
        let parent = file.parent().and_then(|parent| parent.canonicalize().ok());
        let ours = self.path.canonicalize().ok();
        if !metadata.is_file() || parent.is_none() || parent != ours {
            return Err(foreign());
        }
        Ok(metadata.len())
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a work folder was not removed");
        }
    }
}

/// Makes a blob of a checkpoint.
pub(super) async fn checkpoint(
    site: &Site,
    workdir: &Workdir,
    file: &Path,
) -> Result<(Stored, Held), NotTaken> {
    workdir.own(file)?;
    let stored = site.blobs.import_file(file).await?;
    let held = site.blobs.hold(&stored.digest)?;
    let _ = std::fs::remove_file(file);
    Ok((stored, held))
}

/// Makes a blob of an artifact, if the job may make that much. It is held, and to be
/// pinned until the task is forgotten: its owner comes for it.
pub(super) async fn artifact(
    site: &Site,
    workdir: &Workdir,
    made: &[Artifact],
    name: String,
    file: &Path,
    allowed: u64,
) -> Result<(Artifact, Held), NotTaken> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(|c| c.is_control() || c == '/')
    {
        return Err(NotTaken::BadName);
    }
    if made.len() >= MAX_ARTIFACTS {
        return Err(NotTaken::TooMany);
    }
    let before: u64 = made.iter().map(|artifact| artifact.size).sum();
    let made = before.saturating_add(workdir.own(file)?);
    if made > allowed {
        return Err(NotTaken::OverCeiling { made, allowed });
    }
    let stored = site.blobs.import_file(file).await?;
    let held = site.blobs.hold(&stored.digest)?;
    let _ = std::fs::remove_file(file);
    let artifact = Artifact {
        name,
        digest: stored.digest,
        size: stored.size,
    };
    Ok((artifact, held))
}
