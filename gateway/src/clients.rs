//! One client of the mesh for each principal, made when it is needed.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use embermesh_client::{Client, IndexTarget, Options};
use embermesh_crypto::ids::PeerId;
use embermesh_dialects::{Failure, port::Principal};
use tokio::sync::Mutex;

use crate::{failure::failure, keys::Keyring};

/// The most clients that are kept at once. The one that was used longest ago goes; a
/// job that is followed holds its own.
const MOST: usize = 512;

/// The most accounts that are remembered: a key is dear to derive. Beyond, all of them are
/// derived anew.
const MOST_ACCOUNTS: usize = 10_000;

/// The clients.
pub(crate) struct Clients {
    keys: Keyring,
    index: IndexTarget,
    options: Options,
    held: Mutex<Held>,
    accounts: std::sync::Mutex<HashMap<Principal, PeerId>>,
}

#[derive(Default)]
struct Held {
    clients: HashMap<Principal, (u64, Client)>,
    uses: u64,
}

impl Clients {
    pub(crate) fn new(keys: Keyring, index: IndexTarget, options: Options) -> Self {
        Self {
            keys,
            index,
            options,
            held: Mutex::default(),
            accounts: std::sync::Mutex::default(),
        }
    }

    /// The key of a server, by which it verifies what its clients show.
    pub(crate) fn server_key(&self, server: &str) -> String {
        self.keys.of_server(server)
    }

    /// The account of a principal: his key's. A name that is a peer id is that peer's
    /// own, so that nodes and native clients can be paid.
    pub(crate) fn account(&self, who: &Principal) -> PeerId {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(who) {
            return *account;
        }
        let own = || self.keys.of(who).peer_id();
        let account = who.name.parse().unwrap_or_else(|_| own());
        if accounts.len() >= MOST_ACCOUNTS {
            accounts.clear();
        }
        accounts.insert(who.clone(), account);
        account
    }

    /// The client of a principal.
    pub(crate) async fn of(&self, who: &Principal) -> Result<Client, Failure> {
        {
            let mut held = self.held.lock().await;
            held.uses += 1;
            let now = held.uses;
            if let Some((used, client)) = held.clients.get_mut(who) {
                *used = now;
                return Ok(client.clone());
            }
        }
        // Connected outside of the lock: one that is slow keeps nobody else waiting.
        let keypair = Arc::new(self.keys.of(who));
        let client = Client::connect(self.index.clone(), keypair, self.options.clone())
            .await
            .map_err(|error| failure(&error))?;
        let mut held = self.held.lock().await;
        held.uses += 1;
        let now = held.uses;
        if held.clients.len() >= MOST {
            let oldest = held
                .clients
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(who, _)| who.clone());
            if let Some(oldest) = oldest {
                held.clients.remove(&oldest);
            }
        }
        held.clients.insert(who.clone(), (now, client.clone()));
        Ok(client)
    }
}
