//! Files of a worker made into blobs.
//!
//! A worker is not believed: what it names must be a plain file in its own folder,
//! and no larger than the job may make.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

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

    /// How many files and folders lie in it, and their bytes, until there are more than
    /// `most`. What goes away meanwhile is not counted.
    pub(super) fn holds(&self, most: usize) -> (usize, u64) {
        let (mut files, mut bytes) = (0_usize, 0_u64);
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                files += 1;
                if files > most {
                    return (files, bytes);
                }
                // Not followed: a link counts for itself.
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes = bytes.saturating_add(metadata.len());
                }
            }
        }
        (files, bytes)
    }

    /// Opens a file that is the worker's own, and says how large it is. What was
    /// looked at is what is open: a link or a pipe that takes the name's place
    /// meanwhile is neither followed nor waited for.
    fn own(&self, file: &Path) -> Result<(File, u64), NotTaken> {
        let foreign = || NotTaken::Foreign(file.to_owned());
        let open = open_plain(file).map_err(|_| foreign())?;
        let metadata = open.metadata().map_err(|_| foreign())?;
        // Resolved, so that neither `..` nor a link leads out of the folder.
        let parent = file.parent().and_then(|parent| parent.canonicalize().ok());
        let ours = self.path.canonicalize().ok();
        if !metadata.is_file() || parent.is_none() || parent != ours {
            return Err(foreign());
        }
        Ok((open, metadata.len()))
    }
}

/// Opens a file to read, unless its name is that of a link.
#[cfg(unix)]
fn open_plain(file: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(std::io::Error::other)?;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(file)
}

/// Opens a file to read, unless its name is that of a link.
#[cfg(not(unix))]
fn open_plain(file: &Path) -> std::io::Result<File> {
    if !std::fs::symlink_metadata(file)?.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    File::open(file)
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
    let (open, _) = workdir.own(file)?;
    let stored = site.blobs.import_open(open, file.to_owned()).await?;
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
    let (open, size) = workdir.own(file)?;
    let made = before.saturating_add(size);
    if made > allowed {
        return Err(NotTaken::OverCeiling { made, allowed });
    }
    let stored = site.blobs.import_open(open, file.to_owned()).await?;
    let held = site.blobs.hold(&stored.digest)?;
    let _ = std::fs::remove_file(file);
    let artifact = Artifact {
        name,
        digest: stored.digest,
        size: stored.size,
    };
    Ok((artifact, held))
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn nothing_but_a_plain_file_of_its_own_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let workdir = Workdir::make(dir.path().join("work")).unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let own = |name: &str| workdir.own(&workdir.path().join(name));
        std::fs::write(workdir.path().join("plain"), "plain").unwrap();
        assert_eq!(own("plain").unwrap().1, 5);
        std::os::unix::fs::symlink(&secret, workdir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(dir.path(), workdir.path().join("out")).unwrap();
        std::fs::create_dir(workdir.path().join("folder")).unwrap();
        // Nobody writes to it: whoever waited for that would wait for ever.
        mkfifoat(CWD, workdir.path().join("pipe"), Mode::RUSR).unwrap();
        for name in [
            "link",
            "out/secret",
            "../secret",
            "folder",
            "pipe",
            "absent",
            "",
        ] {
            assert!(
                matches!(own(name), Err(NotTaken::Foreign(_))),
                "{name} was opened"
            );
        }
    }
}
