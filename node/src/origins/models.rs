//! Model files in the folders that the owner shares: for the owner to list, to deploy and
//! to remove. What is opened or removed is reached from the folder's own descriptor, by
//! no link.

use std::{
    fs::File,
    io,
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use embermesh_crypto::time::UnixMillis;

use super::{Origins, shared};
use crate::joined::joined;

/// What the names of model files end with.
const FORMS: [&str; 3] = ["gguf", "safetensors", "onnx"];
/// Folders within one another that are looked into.
const MAX_DEPTH: usize = 8;
/// Entries of folders that one look sees.
const MAX_ENTRIES: usize = 100_000;
/// Model files that one look finds.
const MAX_FOUND: usize = 1024;

/// A model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundModel {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) modified: UnixMillis,
}

impl Origins {
    /// The model files beneath some folders, all of which are shared or lie in one that
    /// is; of all shared folders where none is named. In the order of their paths.
    pub(crate) async fn models(&self, folders: &[PathBuf]) -> io::Result<Vec<FoundModel>> {
        let roots: Vec<PathBuf> = self.shared.folders().cloned().collect();
        let folders = folders.to_vec();
        joined(tokio::task::spawn_blocking(move || {
            let looked = if folders.is_empty() {
                roots
            } else {
                let within = |folder: &PathBuf| within(&roots, folder);
                folders.iter().map(within).collect::<io::Result<_>>()?
            };
            let mut look = Look::default();
            for folder in looked {
                look.search(&folder, 0)?;
            }
            look.found.sort_by(|a, b| a.path.cmp(&b.path));
            look.found.dedup();
            Ok(look.found)
        }))
        .await
    }

    /// Opens a model file in a shared folder.
    pub(crate) async fn open_model(&self, path: &Path) -> io::Result<File> {
        let (root, names) = self.place(path)?;
        joined(tokio::task::spawn_blocking(move || {
            let file = shared::beneath(&root, &names)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            Ok(file)
        }))
        .await
    }

    /// Removes a model file from a shared folder.
    pub(crate) async fn remove_model(&self, path: &Path) -> io::Result<()> {
        let (root, names) = self.place(path)?;
        joined(tokio::task::spawn_blocking(move || {
            shared::remove_beneath(&root, &names)
        }))
        .await
    }

    /// The shared folder that a model file lies in, and the names that lead to it.
    fn place(&self, path: &Path) -> io::Result<(PathBuf, Vec<String>)> {
        if !is_model(path) {
            return Err(io::Error::other(format!(
                "it is no model file: these end in {}",
                FORMS.join(", ")
            )));
        }
        let of = |root: &PathBuf| Some((root.clone(), path.strip_prefix(root).ok()?.to_owned()));
        let place = self.shared.folders().find_map(of);
        let (root, rest) = place.ok_or_else(not_shared)?;
        let name = |part: Component<'_>| match part {
            Component::Normal(name) => name.to_str().map(str::to_owned),
            _ => None,
        };
        let names: Option<Vec<String>> = rest.components().map(name).collect();
        let names = names.filter(|names| !names.is_empty());
        Ok((root, names.ok_or_else(not_shared)?))
    }
}

fn not_shared() -> io::Error {
    io::Error::other("it lies in no folder that is shared: name its folder in `shared`")
}

/// A folder as it is, if it is shared or lies in one that is.
fn within(roots: &[PathBuf], folder: &Path) -> io::Result<PathBuf> {
    // One that is not there is not told apart from one that is not shared.
    let real = folder.canonicalize().map_err(|_| not_shared())?;
    if roots.iter().any(|root| real.starts_with(root)) {
        return Ok(real);
    }
    Err(not_shared())
}

fn is_model(path: &Path) -> bool {
    let form = path.extension().and_then(|form| form.to_str());
    form.is_some_and(|form| FORMS.iter().any(|known| form.eq_ignore_ascii_case(known)))
}

/// A look into folders.
#[derive(Default)]
struct Look {
    found: Vec<FoundModel>,
    entries: usize,
}

impl Look {
    /// Looks into a folder and what lies in it, following no link.
    fn search(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        for entry in folder.read_dir()? {
            let entry = entry?;
            self.entries += 1;
            if self.entries > MAX_ENTRIES || self.found.len() >= MAX_FOUND {
                return Err(io::Error::other(format!(
                    "more than {MAX_ENTRIES} entries or {MAX_FOUND} models: name a smaller folder"
                )));
            }
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < MAX_DEPTH {
                self.search(&entry.path(), depth + 1)?;
            } else if kind.is_file() && is_model(&entry.path()) {
                let metadata = entry.metadata()?;
                let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
                let modified = modified.map_or(0, |since| since.as_millis());
                self.found.push(FoundModel {
                    path: entry.path(),
                    size: metadata.len(),
                    modified: UnixMillis(u64::try_from(modified).unwrap_or(u64::MAX)),
                });
            }
        }
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::symlink};

    use super::*;
    use crate::origins::OriginsConfig;

    #[tokio::test]
    async fn models_are_found_opened_and_removed_in_shared_folders_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let root = dir.join("models");
        fs::create_dir_all(root.join("deep")).unwrap();
        fs::write(root.join("a.gguf"), b"a").unwrap();
        fs::write(root.join("deep/B.ONNX"), b"bb").unwrap();
        fs::write(root.join("notes.txt"), b"x").unwrap();
        fs::write(dir.join("secret.gguf"), b"secret").unwrap();
        symlink(dir.join("secret.gguf"), root.join("link.gguf")).unwrap();
        symlink(&dir, root.join("up")).unwrap();
        let shared = BTreeMap::from([("models".to_owned(), root.clone())]);
        let origins = Origins::new(OriginsConfig::default(), &shared).unwrap();

        let found = origins.models(&[]).await.unwrap();
        let paths: Vec<_> = found
            .iter()
            .map(|found| (&found.path, found.size))
            .collect();
        let (a, b) = (root.join("a.gguf"), root.join("deep/B.ONNX"));
        assert_eq!(paths, [(&a, 1), (&b, 2)]);
        let deep = origins.models(&[root.join("deep")]).await.unwrap();
        assert_eq!(deep.len(), 1);
        for folder in [
            dir.clone(),
            root.join("up"),
            dir.join("missing"),
            "/".into(),
        ] {
            let refused = origins.models(std::slice::from_ref(&folder)).await;
            assert!(refused.is_err(), "{}", folder.display());
        }

        assert!(origins.open_model(&a).await.is_ok());
        for path in [
            dir.join("secret.gguf"),
            root.join("link.gguf"),
            root.join("up/secret.gguf"),
            root.join("../secret.gguf"),
            root.join("notes.txt"),
            root.join("missing.gguf"),
            root.clone(),
        ] {
            assert!(
                origins.open_model(&path).await.is_err(),
                "{}",
                path.display()
            );
            assert!(
                origins.remove_model(&path).await.is_err(),
                "{}",
                path.display()
            );
        }
        origins.remove_model(&b).await.unwrap();
        assert!(!b.exists() && a.exists() && dir.join("secret.gguf").exists());
        assert!(root.join("link.gguf").symlink_metadata().is_ok());
    }
}
