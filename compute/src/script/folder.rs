//! The working folder of a script, walked within bounds.
//!
//! It may hold anything: links that lead elsewhere, folders in folders without end,
//! more files than anybody counts. A walk follows no link, stops at its bounds, and
//! gives files in an order that depends on their names alone.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::ScriptFailed;

/// The most files and folders.
pub(crate) const MAX_ENTRIES: usize = 20_000;

/// The most folders in each other.
pub(crate) const MAX_DEPTH: usize = 32;

/// Something in the folder.
pub(crate) struct Entry {
    /// Its path below the folder.
    pub(crate) name: PathBuf,
    /// What it is: a plain file or a folder; nothing else is given.
    pub(crate) metadata: Metadata,
}

/// Walks a folder. A folder comes before what is in it. Links, pipes, sockets and
/// devices are counted and left out; what vanishes meanwhile is not there.
pub(crate) fn walk(folder: &Path) -> Result<Vec<Entry>, ScriptFailed> {
    let mut found = Vec::new();
    let mut count = 0;
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((name, depth)) = waiting.pop() {
        let path = folder.join(&name);
        let listed = match fs::read_dir(&path) {
            Ok(listed) => listed,
            Err(error) if vanished(&error) && depth > 0 => continue,
            Err(error) => return Err(unreadable(&name, &error)),
        };
        for entry in listed {
            let entry = entry.map_err(|error| unreadable(&name, &error))?;
            count += 1;
            if count > MAX_ENTRIES {
                return Err(ScriptFailed::Folder(format!(
                    "has more than the {MAX_ENTRIES} files and folders that it may"
                )));
            }
            // Of the link itself, where it is one.
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if vanished(&error) => continue,
                Err(error) => return Err(unreadable(&name, &error)),
            };
            let name = name.join(entry.file_name());
            if metadata.is_dir() {
                if depth + 1 > MAX_DEPTH {
                    return Err(ScriptFailed::Folder(format!(
                        "has more than {MAX_DEPTH} folders in each other"
                    )));
                }
                waiting.push((name.clone(), depth + 1));
            }
            if metadata.is_dir() || metadata.is_file() {
                found.push(Entry { name, metadata });
            }
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Bytes on the disk of all that is in a folder.
pub(crate) fn size_on_disk(folder: &Path) -> Result<u64, ScriptFailed> {
    let entries = walk(folder)?;
    Ok(entries.iter().map(|entry| blocks(&entry.metadata)).sum())
}

#[cfg(unix)]
fn blocks(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
fn blocks(metadata: &Metadata) -> u64 {
    metadata.len()
}

fn vanished(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn unreadable(name: &Path, error: &std::io::Error) -> ScriptFailed {
    ScriptFailed::Folder(format!("cannot be read at {:?}: {error}", name.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_in_order_and_follows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::write(root.join("b/c/file"), [1; 5000]).unwrap();
        fs::write(root.join("a"), "a").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("z")).unwrap();
        std::os::unix::fs::symlink("..", root.join("b/loop")).unwrap();
        let found = walk(root).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|entry| entry.name.display().to_string())
            .collect();
        assert_eq!(names, ["a", "b", "b/c", "b/c/file"]);
        assert!(size_on_disk(root).unwrap() >= 5000);
    }

    #[test]
    fn bounds_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let deep = (0..=MAX_DEPTH).fold(folder.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        let refused = walk(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("in each other"), "{refused}");
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MAX_ENTRIES {
            fs::hard_link(file(folder.path()), folder.path().join(number.to_string())).unwrap();
        }
        let refused = walk(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("files and folders"), "{refused}");
    }

    fn file(folder: &Path) -> PathBuf {
        let path = folder.join("one");
        if !path.exists() {
            fs::write(&path, "").expect("a file");
        }
        path
    }
}
