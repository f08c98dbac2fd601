//! A mesh that is not for everybody: the section of the settings, and the file of its key.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use embermesh_crypto::PeerId;
use embermesh_mesh::{Membership, NetworkKey};
use serde::{Deserialize, Serialize};

use crate::exit::WrongInput;

/// Bytes of a key file that are read: more than its form has.
const MAX_KEY_FILE: u64 = 1024;

/// Who may take part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PrivateSection {
    /// The file of the key that all members share; none: no key is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    /// The peers that are let in; none: everybody who has the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<BTreeSet<PeerId>>,
}

impl PrivateSection {
    /// Reads the key, if there is one.
    pub(crate) fn membership(&self) -> anyhow::Result<Membership> {
        let key = self.key_file.as_deref().map(load).transpose()?;
        Ok(Membership::new(key, self.members.clone())?)
    }
}

fn load(path: &Path) -> anyhow::Result<NetworkKey> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => anyhow::Error::new(WrongInput(format!(
            "there is no network key at {}: ask a member of the mesh for it, or make one with `embermesh keys network --out {}`",
            path.display(),
            path.display()
        ))),
        _ => anyhow::Error::new(error)
            .context(format!("cannot read the network key {}", path.display())),
    };
    let file = fs::File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(WrongInput(format!(
                "the network key {} can be read by others (mode {mode:04o}): run `chmod 600 {}`",
                path.display(),
                path.display()
            ))
            .into());
        }
    }
    let mut text = String::new();
    file.take(MAX_KEY_FILE)
        .read_to_string(&mut text)
        .map_err(failed)?;
    text.parse()
        .map_err(|error| WrongInput(format!("{}: {error}", path.display())).into())
}

/// Makes a new key, readable by its owner alone; an existing file stays as it is.
pub(crate) fn create(path: &Path) -> anyhow::Result<NetworkKey> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        embermesh_client::make_private(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let key = NetworkKey::generate()?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(path).and_then(|mut file| {
        file.write_all(key.to_file_text().as_bytes())?;
        file.sync_all()
    });
    match made {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(WrongInput(format!(
            "{} exists and is not overwritten: choose another path or move it away",
            path.display()
        ))
        .into()),
        Err(error) => {
            Err(error).with_context(|| format!("cannot write the network key {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(path: &Path) -> PrivateSection {
        PrivateSection {
            key_file: Some(path.to_owned()),
            members: None,
        }
    }

    #[test]
    fn a_key_that_was_made_is_read_and_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/network.key");
        let key = create(&path).unwrap();
        let read = section(&path).membership().unwrap();
        assert_eq!(read, Membership::new(Some(key), None).unwrap());
        let error = create(&path).unwrap_err().to_string();
        assert!(error.contains("not overwritten"), "{error}");
        assert_eq!(section(&path).membership().unwrap(), read);
    }

    #[test]
    fn a_key_that_is_missing_open_or_none_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.key");
        let error = |path: &Path| section(path).membership().unwrap_err().to_string();
        assert!(error(&path).contains("embermesh keys network"));
        fs::write(&path, "hello").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            assert!(error(&path).contains("chmod 600"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(error(&path).contains("64 hexadecimal digits"));
    }
}
