//! What this side remembers in files: each there whole or as it was, for this user alone,
//! and of a bounded size; of jobs, a file for each in a folder of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::ClientError;

/// What failed at a file.
pub(crate) fn at(path: &Path, action: &'static str, source: io::Error) -> ClientError {
    ClientError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The files of jobs in a folder: those that end in `.json`. None where there is no folder.
pub(crate) fn of_jobs(folder: &Path) -> Result<Vec<PathBuf>, ClientError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| at(folder, "read", error))?,
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect())
}

/// Forgets the jobs that were submitted first, with their files of these other endings,
/// until one more has room among so many.
pub(crate) fn make_room(folder: &Path, most: usize, beside: &[&str]) -> Result<(), ClientError> {
    // Ids begin with the time, so that their names are in the order of submitting.
    let mut paths = of_jobs(folder)?;
    paths.sort_unstable();
    let surplus = (paths.len() + 1).saturating_sub(most);
    for path in paths.into_iter().take(surplus) {
        let others = beside.iter().map(|ending| path.with_extension(ending));
        for path in others.chain([path.clone()]) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&path, "remove", error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Reads a file that has no more than so many bytes.
pub(crate) fn bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    if size > most {
        return Err(io::Error::other(format!(
            "it has {size} bytes, and {most} at most make sense"
        )));
    }
    fs::read(path)
}

/// Writes a file that is there whole or as it was, for this user alone.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Makes a folder for this user alone, with those above it; one that is there is left as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_private(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
