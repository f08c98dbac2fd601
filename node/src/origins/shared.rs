//! Files in folders that the owner of the node shares, read where they lie.
//!
//! A path is walked one name at a time from the folder's own descriptor, and no step
//! follows a link: what a path names lies beneath the folder, whatever is put into it
//! meanwhile. The worker is given the file's path to read, with no right to write, and
//! hashes what it reads again.

use std::{collections::BTreeMap, fs::File, io, path::PathBuf};

use embermesh_crypto::digest::Digest;
use embermesh_job::spec::{Input, Location, origin::share_name};

use super::OriginFault;
use crate::{config::InvalidConfig, joined::joined};

/// The most folders that are shared.
const MAX_SHARES: usize = 64;

/// Folders by the name that jobs know them by.
#[derive(Debug, Default)]
pub(super) struct Shared(BTreeMap<String, PathBuf>);

impl Shared {
    pub(super) fn new(folders: &BTreeMap<String, PathBuf>) -> Result<Self, InvalidConfig> {
        if folders.len() > MAX_SHARES {
            return Err(InvalidConfig::OutOfRange {
                key: "shared",
                value: folders.len() as u64,
                must: format!("at most {MAX_SHARES} folders"),
            });
        }
        let mut found = BTreeMap::new();
        for (name, path) in folders {
            let refuse = |reason: String| InvalidConfig::Origin {
                key: "shared",
                text: format!("{name} = {}", path.display()),
                reason,
            };
            share_name(name).map_err(refuse)?;
            // The owner's own links are followed, here and once.
            let root = path
                .canonicalize()
                .map_err(|error| refuse(error.to_string()))?;
            if !root.is_dir() {
                return Err(refuse("it is no folder".to_owned()));
            }
            found.insert(name.clone(), root);
        }
        Ok(Self(found))
    }

    /// The folders, where they really are.
    pub(super) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.values()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The path of a file that is the input which a job names.
    pub(super) async fn find(
        &self,
        origin: &Location,
        input: Input,
    ) -> Result<PathBuf, OriginFault> {
        let failed = |reason: String| OriginFault::Failed {
            origin: origin.to_string(),
            reason,
        };
        let Location::Shared { name, path } = origin else {
            return Err(failed("it is no shared file".to_owned()));
        };
        let Some(root) = self.0.get(name).cloned() else {
            return Err(failed("no such folder is shared".to_owned()));
        };
        let whole = root.join(path);
        let names: Vec<String> = path.split('/').map(str::to_owned).collect();
        let measured = joined(tokio::task::spawn_blocking(move || {
            let file = beneath(&root, &names)?;
            measure(file, input.size)
        }))
        .await;
        let other = |reason: String| OriginFault::Other {
            origin: origin.to_string(),
            reason,
        };
        match measured {
            Err(error) => Err(failed(error.to_string())),
            Ok((size, _)) if size != input.size => Err(other(format!(
                "it has {size} bytes, and the job says {}",
                input.size
            ))),
            Ok((_, Some(digest))) if digest == input.digest => Ok(whole),
            Ok((_, digest)) => Err(other(format!(
                "its digest is {}",
                digest.map_or_else(|| "not known".to_owned(), |digest| digest.to_string())
            ))),
        }
    }
}

/// Opens what lies beneath a folder, without following a link.
#[cfg(unix)]
pub(super) fn beneath(root: &std::path::Path, names: &[String]) -> io::Result<File> {
    use rustix::fs::OFlags;
    walk(root, names, OFlags::NONBLOCK).map(File::from)
}

/// Removes a regular file that lies beneath a folder, without following a link.
#[cfg(unix)]
pub(super) fn remove_beneath(root: &std::path::Path, names: &[String]) -> io::Result<()> {
    use rustix::fs::{AtFlags, FileType, OFlags, statat, unlinkat};
    let Some((name, folders)) = names.split_last() else {
        return Err(io::Error::other("it is the folder itself"));
    };
    let folder = walk(root, folders, OFlags::DIRECTORY)?;
    let found = statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(unlinkat(&folder, name.as_str(), AtFlags::empty())?)
}

/// Walks from a folder by names, the last of which is opened with `last`.
#[cfg(unix)]
fn walk(
    root: &std::path::Path,
    names: &[String],
    last: rustix::fs::OFlags,
) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags, open, openat};
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | last;
    let mut at = open(root, folder, Mode::empty())?;
    for (number, name) in (1..).zip(names) {
        if matches!(name.as_str(), "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(io::Error::other(
                "a path has no empty part, no `.` and no `..`",
            ));
        }
        let flags = if number == names.len() { file } else { folder };
        at = openat(&at, name.as_str(), flags, Mode::empty()).map_err(|error| {
            match error {
                // What a link, or a file in the middle of a path, is answered with.
                rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => io::Error::other(format!(
                    "{name} is a link or no folder, and neither is followed"
                )),
                error => error.into(),
            }
        })?;
    }
    Ok(at)
}

/// Elsewhere no folder is shared.
#[cfg(not(unix))]
pub(super) fn remove_beneath(_: &std::path::Path, _: &[String]) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "folders are shared on Unix alone",
    ))
}

/// Elsewhere no folder is shared.
#[cfg(not(unix))]
pub(super) fn beneath(_: &std::path::Path, _: &[String]) -> io::Result<File> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "folders are shared on Unix alone",
    ))
}

/// The size of a file, and its digest where the size is the one expected.
fn measure(mut file: File, expected: u64) -> io::Result<(u64, Option<Digest>)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() != expected {
        return Ok((metadata.len(), None));
    }
    let mut hasher = Digest::hasher();
    let mut buffer = vec![0; 256 * 1024];
    // It may grow meanwhile.
    let mut left = io::Read::take(&mut file, expected);
    loop {
        let read = io::Read::read(&mut left, &mut buffer)?;
        if read == 0 {
            return Ok((expected, Some(hasher.finalize())));
        }
        hasher.update(&buffer[..read]);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn input(bytes: &[u8]) -> Input {
        Input {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }

    fn shared(root: &std::path::Path) -> Shared {
        Shared::new(&BTreeMap::from([("sets".to_owned(), root.to_owned())])).expect("a folder")
    }

    async fn find(shared: &Shared, path: &str, input: Input) -> Result<PathBuf, String> {
        let origin = Location::Shared {
            name: "sets".to_owned(),
            path: path.to_owned(),
        };
        let found = shared.find(&origin, input).await;
        found.map_err(|fault| fault.to_string())
    }

    #[tokio::test]
    async fn a_shared_file_is_found_where_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b.csv"), b"data").unwrap();
        let shared = shared(folder.path());
        assert!(shared.has("sets") && !shared.has("other"));
        let path = find(&shared, "a/b.csv", input(b"data")).await.unwrap();
        assert_eq!(fs::read(path).unwrap(), b"data");
        // Other bytes of the same size, and another size.
        let error = find(&shared, "a/b.csv", input(b"date")).await.unwrap_err();
        assert!(error.contains("its digest is"), "{error}");
        let error = find(&shared, "a/b.csv", input(b"more")).await.unwrap_err();
        assert!(error.contains("its digest is"), "{error}");
        let error = find(&shared, "a/b.csv", input(b"data and more"))
            .await
            .unwrap_err();
        assert!(error.contains("4 bytes"), "{error}");
    }

    #[tokio::test]
    async fn nothing_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(folder.path().join("secret"), b"secret").unwrap();
        fs::write(root.join("inside"), b"secret").unwrap();
        symlink(folder.path().join("secret"), root.join("link")).unwrap();
        symlink("inside", root.join("inner")).unwrap();
        symlink(folder.path(), root.join("up")).unwrap();
        let shared = shared(&root);
        for path in [
            "link",
            "inner",
            "up/secret",
            "../secret",
            "sub/../../secret",
            ".",
            "",
            "/etc/passwd",
            "sub",
            "missing",
            "inside/x",
        ] {
            let refused = find(&shared, path, input(b"secret")).await;
            assert!(refused.is_err(), "{path}");
        }
        assert!(find(&shared, "inside", input(b"secret")).await.is_ok());
    }

    #[test]
    fn what_is_no_folder_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"x").unwrap();
        for (name, path) in [
            ("sets", file.as_path()),
            ("sets", &folder.path().join("missing")),
            ("se/ts", folder.path()),
            ("", folder.path()),
        ] {
            let folders = BTreeMap::from([(name.to_owned(), path.to_owned())]);
            let error = Shared::new(&folders).unwrap_err().to_string();
            assert!(error.contains("shared"), "{error}");
        }
    }
}
