//! Removes a folder, whatever a stranger's program has made of it.
//!
//! Folders can be in each other deeper than any stack or number of descriptors allows
//! to follow, and closed to their owner. So nothing here goes down: what is in a folder
//! is brought up beside it, one level at a time, until it is empty.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Removes a folder and all that is in it. Links are removed, not followed. One that is
/// not there is removed already.
///
/// # Errors
/// When something in it can be neither moved nor removed; the rest is gone then.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // Its children are brought up into it, so that all stays on its file system.
    let mut raised = 0_u64;
    let mut waiting: Vec<PathBuf> = Vec::new();
    empty(path, path, &mut raised, &mut waiting)?;
    while let Some(folder) = waiting.pop() {
        empty(&folder, path, &mut raised, &mut waiting)?;
        fs::remove_dir(&folder)?;
    }
    fs::remove_dir(path)
}

/// Removes the files of a folder and moves its folders to the top.
fn empty(
    folder: &Path,
    top: &Path,
    raised: &mut u64,
    waiting: &mut Vec<PathBuf>,
) -> io::Result<()> {
    open_up(folder);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            fs::remove_file(&path)?;
            continue;
        }
        open_up(&path);
        // In the top itself they lie where they are.
        if folder == top {
            waiting.push(path);
            continue;
        }
        let up = loop {
            *raised += 1;
            let up = top.join(format!(".raised-{raised}"));
            if fs::symlink_metadata(&up).is_err() {
                break up;
            }
        };
        fs::rename(&path, &up)?;
        waiting.push(up);
    }
    Ok(())
}

/// Lets the owner into a folder again. What cannot be changed is told by what follows.
fn open_up(folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn links_closed_folders_and_files_go_and_what_they_point_at_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(tree.join(".raised-1")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&other, tree.join("a/link")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && other.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn folders_in_each_other_without_end_go_too() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        // Built from below, because no path could name the deepest.
        let part = dir.path().join("part");
        fs::create_dir(&part).unwrap();
        for _ in 0..3000 {
            let above = dir.path().join("above");
            fs::create_dir(&above).unwrap();
            fs::rename(&part, above.join("d")).unwrap();
            fs::rename(&above, &part).unwrap();
        }
        fs::rename(&part, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
