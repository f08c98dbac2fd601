//! Who this is, and whether it can keep anything: keys, the node's data folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use embermesh_crypto::{Keypair, PeerId, keys::KeyError};

use super::finding::{Finding, Part};

/// With less than this free, a node cannot work for long, in bytes.
const LEAST_FREE: u64 = 256 << 20;

/// A key file that was tried.
pub(crate) struct Key {
    /// Whose it is: "user" or "node".
    pub(crate) whose: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) loaded: Result<Keypair, KeyError>,
}

impl Key {
    pub(crate) fn load(whose: &'static str, path: PathBuf) -> Self {
        let loaded = Keypair::load(&path);
        Self {
            whose,
            path,
            loaded,
        }
    }

    /// Who it is of.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        self.loaded.as_ref().ok().map(Keypair::peer_id)
    }
}

/// What a key file means. One that the node makes at its first start, and that of a user
/// who runs nothing but a node, may be missing.
pub(crate) fn key(key: &Key, may_be_missing: bool) -> Finding {
    let (whose, path) = (key.whose, key.path.display());
    let error = match &key.loaded {
        Ok(keypair) => {
            let text = format!("the {whose}'s key is {} ({path})", keypair.peer_id());
            return Finding::ok(Part::Identity, text);
        }
        Err(error) => error,
    };
    match error {
        error if may_be_missing && is_missing(error) => Finding::note(
            Part::Identity,
            format!("there is no {whose}'s key at {path} yet"),
        ),
        KeyError::Missing(_) => Finding::trouble(
            Part::Identity,
            "no_key",
            format!("there is no {whose}'s key at {path}"),
            "make one: `embermesh keys new`, or name one with --key FILE",
        ),
        KeyError::OpenPermissions { mode, .. } => Finding::trouble(
            Part::Identity,
            "key_open",
            format!("others can read the {whose}'s key {path} (mode {mode:04o}), so it is refused"),
            format!("run `chmod 600 {path}`; if others were on this machine, make a new key"),
        ),
        KeyError::NotAKey { reason, .. } => Finding::trouble(
            Part::Identity,
            "key_damaged",
            format!("{path} holds no key ({reason})"),
            "put the right file there, or move it away and make a new one: `embermesh keys new`",
        ),
        error => Finding::trouble(
            Part::Identity,
            "key_unreadable",
            format!("the {whose}'s key {path} cannot be read: {}", cause(error)),
            format!(
                "let this user read it: `sudo chown \"$USER\" {path} && chmod 600 {path}`, or name another with --key FILE"
            ),
        ),
    }
}

/// What it means that the key of a private mesh cannot be used.
pub(crate) fn network_key(error: &str) -> Finding {
    Finding::trouble(
        Part::Identity,
        "network_key",
        error,
        "correct `key_file` under [private]; a member of the mesh has the right file",
    )
}

/// Whether there is no such file, or no such folder.
fn is_missing(error: &KeyError) -> bool {
    match error {
        KeyError::Missing(_) => true,
        KeyError::Io { source, .. } => source.kind() == io::ErrorKind::NotADirectory,
        _ => false,
    }
}

fn cause(error: &KeyError) -> String {
    match error {
        KeyError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// What was found of a data folder.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// The folder, or the nearest above it that there is.
    pub(crate) exists: bool,
    /// Whether something could be written there, and else why not.
    pub(crate) written: io::Result<()>,
    /// Bytes that are free on its disk.
    pub(crate) free: Option<u64>,
    /// Whether a node runs on it.
    pub(crate) in_use: bool,
}

impl Folder {
    /// Looks at a data folder; makes none.
    pub(crate) fn look(path: &Path) -> Self {
        let exists = path.is_dir();
        let nearest = path.ancestors().find(|above| above.exists());
        let nearest = match nearest {
            // A relative path has nothing above it but the folder that this runs in.
            None => Path::new("."),
            Some(above) if above.as_os_str().is_empty() => Path::new("."),
            Some(above) => above,
        };
        Self {
            path: path.to_owned(),
            exists,
            written: write(nearest),
            free: free(nearest),
            in_use: exists && is_held(path),
        }
    }
}

/// Whether a file can be made in a folder.
fn write(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    tempfile::Builder::new()
        .prefix(".embermesh-doctor-")
        .tempfile_in(folder)
        .map(drop)
}

fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Whether a node holds the lock of its folder.
fn is_held(folder: &Path) -> bool {
    let lock = fs::File::open(folder.join("node.lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// What a data folder means.
pub(crate) fn folder(folder: &Folder) -> Finding {
    let path = folder.path.display();
    if let Err(error) = &folder.written {
        let what = if folder.exists {
            format!("the data folder {path} cannot be written to: {error}")
        } else {
            format!("the data folder {path} cannot be made: {error}")
        };
        return Finding::trouble(
            Part::Identity,
            "data_folder",
            what,
            format!(
                "let this user write there (`sudo chown -R \"$USER\" {path}`), or choose another: --data-dir DIR, or `data_dir` under [node]"
            ),
        );
    }
    if let Some(free) = folder.free.filter(|free| *free < LEAST_FREE) {
        return Finding::trouble(
            Part::Identity,
            "disk_full",
            format!(
                "the disk of the data folder {path} has {} left",
                bytesize::ByteSize(free)
            ),
            format!(
                "free at least {} there, lower `blob_quota` under [node], or choose another `data_dir`",
                bytesize::ByteSize(LEAST_FREE)
            ),
        );
    }
    let free = folder
        .free
        .map(|free| format!(", {} free", bytesize::ByteSize(free)))
        .unwrap_or_default();
    let text = match (folder.exists, folder.in_use) {
        (true, true) => format!("a node runs on the data folder {path}{free}"),
        (true, false) => {
            format!("the data folder {path} can be written to{free}; no node runs on it")
        }
        (false, _) => format!("the data folder {path} is not there yet, and can be made{free}"),
    };
    Finding::ok(Part::Identity, text)
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn code(found: &Finding) -> &'static str {
        assert_eq!(found.state == State::Trouble, found.cure.is_some());
        found.code
    }

    #[cfg(unix)]
    #[test]
    fn each_way_in_which_a_key_fails_has_a_cure_of_its_own() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let look = || Key::load("user", path.clone());
        assert_eq!(code(&key(&look(), false)), "no_key");
        assert_eq!(key(&look(), true).state, State::Note);
        Keypair::from_seed(&[1; 32]).save_new(&path).unwrap();
        assert_eq!(key(&look(), false).state, State::Ok);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open = key(&look(), false);
        assert_eq!(code(&open), "key_open");
        assert!(open.cure.unwrap().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no key").unwrap();
        assert_eq!(code(&key(&look(), true)), "key_damaged");
        let folder = key(&Key::load("user", dir.path().to_owned()), false);
        assert_eq!(code(&folder), "key_unreadable");
    }

    #[test]
    fn a_folder_that_can_be_made_is_not_made_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/node");
        let looked = Folder::look(&path);
        assert!(!looked.exists && looked.written.is_ok() && looked.free.is_some());
        assert_eq!(folder(&looked).state, State::Ok);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_used_says_what_to_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let in_the_way = folder(&Folder::look(&file.join("node")));
        assert_eq!(code(&in_the_way), "data_folder");
        assert!(in_the_way.cure.unwrap().contains("--data-dir"));
        let full = Folder {
            free: Some(1 << 20),
            ..Folder::look(dir.path())
        };
        let full = folder(&full);
        assert_eq!(code(&full), "disk_full");
        assert!(full.cure.unwrap().contains("blob_quota"));
    }

    #[test]
    fn a_node_that_runs_is_seen_by_its_lock_and_does_not_lose_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        let held = embermesh_node::folder::DataFolder::hold(&path).unwrap();
        assert!(Folder::look(&path).in_use);
        assert!(embermesh_node::folder::DataFolder::hold(&path).is_err());
        drop(held);
        assert!(!Folder::look(&path).in_use);
    }
}
