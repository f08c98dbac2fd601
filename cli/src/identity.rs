//! Whose key is used: the user's for client commands, the data folder's for an
//! index or a node, unless `--key` names one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use embermesh_client::make_private;
use embermesh_crypto::{Keypair, keys::KeyError};
use embermesh_mesh::road::Identity;

use crate::config::{Settings, default_folder};

/// The name of a key file.
const KEY_FILE: &str = "key.pem";

/// Where the user's key is.
pub(crate) fn user_key_path(settings: &Settings) -> anyhow::Result<PathBuf> {
    match &settings.key {
        Some(path) => Ok(path.clone()),
        None => Ok(default_folder()?.join(KEY_FILE)),
    }
}

/// The user's key.
pub(crate) fn user_key(settings: &Settings) -> anyhow::Result<Arc<Keypair>> {
    Ok(Arc::new(Keypair::load(&user_key_path(settings)?)?))
}

/// The user's key, ready for connections.
pub(crate) fn of_user(settings: &Settings) -> anyhow::Result<Identity> {
    let membership = settings.private.membership()?;
    Ok(Identity::member(user_key(settings)?, membership)?)
}

/// Where the key of a node is: the one named on the command line, else the one in its data
/// folder.
pub(crate) fn node_key_path(named: Option<&Path>, data_dir: &Path) -> PathBuf {
    named.map_or_else(|| data_dir.join(KEY_FILE), Path::to_owned)
}

/// The key of an index or a node: the one named on the command line, else the one
/// in its data folder, made there on the first start.
pub(crate) fn daemon_key(named: Option<&Path>, data_dir: &Path) -> anyhow::Result<Arc<Keypair>> {
    let key = match named {
        Some(path) => Keypair::load(path)?,
        None => {
            make_private(data_dir)
                .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
            Keypair::load_or_create(&data_dir.join(KEY_FILE))?
        }
    };
    Ok(Arc::new(key))
}

/// Makes a new key and its folder.
pub(crate) fn create(path: &Path) -> anyhow::Result<Keypair> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        make_private(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let keypair = Keypair::generate()?;
    keypair.save_new(path).map_err(|error| match error {
        KeyError::Exists(path) => {
            anyhow::Error::new(KeyError::Exists(path)).context("no key was made")
        }
        error => error.into(),
    })?;
    Ok(keypair)
}
