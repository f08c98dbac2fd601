//! A pass for somebody of a foreign system, made in the folder of a gateway, whether
//! that runs or not.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use embermesh_crypto::{UnixMillis, ids::PeerId};
use embermesh_dialects::{Dialect, Failure, port::Principal};
use thiserror::Error;

use crate::{GatewayError, gateway, keys::Keyring, users::UserStore};

/// What somebody needs to be known by, and to be paid. `Debug` leaves the token out.
pub struct Pass {
    /// What proves who he is: `authorization: Bearer <token>`.
    pub token: String,
    /// Until when.
    pub expires: UnixMillis,
    /// His account in the index's ledger.
    pub account: PeerId,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("expires", &self.expires)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Why there is no pass.
#[derive(Debug, Error)]
pub enum NoPass {
    /// The folder of the gateway cannot be used.
    #[error(transparent)]
    Folder(#[from] GatewayError),
    /// The users refuse.
    #[error(transparent)]
    Refused(#[from] Failure),
}

impl Pass {
    /// Makes one, with the user where there is none of that name.
    ///
    /// # Errors
    /// When the folder cannot be used, or the name is none, or is in use without a token.
    pub async fn make(folder: &Path, dialect: Dialect, name: &str) -> Result<Self, NoPass> {
        gateway::make_folder(folder)?;
        let keys = gateway::keys(folder)?;
        let users = folder.join(gateway::USERS);
        let users = UserStore::open(&users, BTreeMap::default(), Arc::new(UnixMillis::now));
        let users = users.await.map_err(GatewayError::from)?;
        let session = users.admit(dialect, name).await?;
        Ok(Self {
            token: session.token,
            expires: session.expires,
            account: account(&keys, dialect, name),
        })
    }
}

impl Pass {
    /// The key by which a server node verifies what its clients show: its own, whoever has
    /// it, and what its registration is answered with.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn server_key(folder: &Path, server: &str) -> Result<String, NoPass> {
        gateway::make_folder(folder)?;
        Ok(gateway::keys(folder)?.of_server(server))
    }
}

fn account(keys: &Keyring, dialect: Dialect, name: &str) -> PeerId {
    let name = name.to_owned();
    keys.of(&Principal { dialect, name }).peer_id()
}
