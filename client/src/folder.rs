//! The files of a folder that a job file names as a model.

use std::path::Path;

use crate::ClientError;

/// The most entries of a folder, those of its own folders included.
const MAX_ENTRIES: usize = 4096;

/// The files of a folder and of the folders in it, by their paths there with
/// `/`, in order. What is not a file, and names that are no UTF-8, are left out.
///
/// # Errors
/// [`ClientError::Io`] when it cannot be read, or has too many entries.
pub fn files_of(folder: &Path) -> Result<Vec<String>, ClientError> {
    let mut names = Vec::new();
    let io = |source| ClientError::Io {
        action: "read the model's folder",
        path: folder.to_owned(),
        source,
    };
    add(folder, "", &mut names).map_err(io)?;
    names.sort_unstable();
    Ok(names)
}

fn add(folder: &Path, prefix: &str, names: &mut Vec<String>) -> std::io::Result<()> {
    for (seen, entry) in std::fs::read_dir(folder)?.enumerate() {
        let entry = entry?;
        if seen + names.len() >= MAX_ENTRIES {
            let reason = format!("it has more than {MAX_ENTRIES} entries");
            return Err(std::io::Error::other(reason));
        }
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // A link counts as what it leads to: caches of models are made of them.
        let metadata = std::fs::metadata(entry.path())?;
        if metadata.is_file() {
            names.push(format!("{prefix}{name}"));
        } else if metadata.is_dir() && prefix.is_empty() && !name.starts_with('.') {
            add(&entry.path(), &format!("{name}/"), names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_two_folders_deep() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("1_Pooling/deeper")).unwrap();
        for name in ["config.json", "1_Pooling/config.json", "1_Pooling/deeper/x"] {
            std::fs::write(at(name), b"{}").unwrap();
        }
        let found = files_of(folder.path()).unwrap();
        assert_eq!(found, ["1_Pooling/config.json", "config.json"]);
        let missing = files_of(&at("missing")).unwrap_err().to_string();
        assert!(missing.contains("missing"), "{missing}");
    }
}
