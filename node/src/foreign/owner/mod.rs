//! The node, for whoever owns it, on the node's own machine.
//!
//! The owner is whoever can read a file that the node writes anew at each start, for the
//! eyes of its own user alone, or who has proven the node's own key. He gives keys to
//! programs that may look at the node and do no more (`keys`). Nobody from elsewhere is
//! heard, whatever he holds out.
//!
//! - `machine`: load, the lines to the indexes, the end. `jobs`: what runs here.
//! - `models`: what is resident, and model files. `records`: configuration, log.
//! - `account`: what the indexes have paid.

mod account;
mod jobs;
mod keys;
mod machine;
mod models;
mod records;

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex},
};

use embermesh_crypto::{digest::Digest, time::UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{Call, Line, owner::records::Settings, status::Load},
};
use embermesh_storage::folder::{FolderUnusable, private_options};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{account::Accounts, keys::Keyring, models::Shelf};
use super::Foreign;
use crate::{Shutdown, config::NodeConfig, logs::Logs, store::KeptKey, uplink::Links};

/// Bytes of the owner's word, and of the secret of a key.
const SECRET: usize = 32;

/// What of the process the owner takes in hand.
pub(crate) struct Reins {
    pub(crate) logs: Logs,
    pub(crate) links: Links,
    pub(crate) shutdown: watch::Sender<Option<Shutdown>>,
}

/// What only the owner has to do with.
pub(crate) struct Owned {
    /// The digest of the owner's word; none where the system is not served that has him
    /// come by it.
    word: Option<Digest>,
    keys: Keyring,
    reins: Reins,
    settings: Settings,
    history: Mutex<VecDeque<Load>>,
    shelf: Shelf,
    accounts: Accounts,
}

impl Owned {
    pub(crate) fn new(
        config: &NodeConfig,
        word: Option<Digest>,
        keys: Vec<KeptKey>,
        reins: Reins,
    ) -> Self {
        Self {
            word,
            keys: Keyring::new(keys),
            reins,
            settings: records::settings(config),
            history: Mutex::default(),
            shelf: Shelf::default(),
            accounts: Accounts::default(),
        }
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// See how things are.
    Look,
    /// Change them, or give rights away.
    Command,
}

/// Writes the owner's word into a file of its own, in the place of an earlier one, and
/// gives its digest.
pub(crate) fn write_word(path: &Path) -> Result<Digest, FolderUnusable> {
    let word = secret();
    let written = || {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private_options().create_new(true).open(path)?;
        writeln!(file, "{word}")
    };
    written().map_err(|error| FolderUnusable::io(path, error))?;
    Ok(Digest::of(word.as_bytes()))
}

/// A word that nobody guesses.
fn secret() -> String {
    let bytes: [u8; SECRET] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Foreign {
    /// Whether a call may do something, and until when: what follows from a key ends with
    /// it.
    fn entitled(&self, call: &Call, right: Right) -> Result<CancellationToken, Failure> {
        let parts = &self.inner.parts;
        let owned = &parts.owner;
        let refuse = |code, message: &str| Err(Failure::new(code, message));
        if !is_here(&call.line) {
            let message = "this is for the owner of the node, on the node's own machine";
            return refuse(ErrorCode::Denied, message);
        }
        if call.line.key == Some(parts.site.me()) {
            return Ok(parts.cancel.clone());
        }
        let Some(token) = &call.token else {
            let message = "hold out the owner's word, as `authorization: Bearer WORD`: it is in owner.token in the node's data folder, anew at each start";
            return refuse(ErrorCode::Unauthenticated, message);
        };
        // Compared by digest: how far a guess is right takes no time to see.
        let shown = Digest::of(token.as_bytes());
        if owned.word == Some(shown) {
            return Ok(parts.cancel.clone());
        }
        let until = owned.keys.show(&shown, Instant::now(), UnixMillis::now())?;
        if right == Right::Command {
            let message = "a key lets its holder look: this needs the owner's word, which is in owner.token in the node's data folder";
            return refuse(ErrorCode::Denied, message);
        }
        Ok(until)
    }

    /// A stream for as long as it may be read.
    fn streamed<T: Send + 'static>(
        &self,
        until: CancellationToken,
        stream: impl Stream<Item = Result<T, Failure>> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<T, Failure>>, Failure> {
        let place = Arc::clone(&self.inner.streams).try_acquire_owned();
        let place = place.map_err(|_| {
            let message = "this node streams to as many foreign clients as it can: try again";
            Failure::new(ErrorCode::Exhausted, message)
        })?;
        let closing = self.inner.parts.cancel.clone();
        let over = async move {
            tokio::select! {
                () = closing.cancelled() => {}
                () = until.cancelled() => {}
            }
        };
        let held = stream.take_until(Box::pin(over)).map(move |item| {
            let _held = &place;
            item
        });
        Ok(held.boxed())
    }
}

/// Whether a line comes from the node's own machine.
fn is_here(line: &Line) -> bool {
    let remote = line.remote.map(|remote| remote.ip().to_canonical());
    remote.is_some_and(|remote| remote.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_heard_from_the_nodes_own_machine_alone() {
        let line = |text: &str| Line {
            remote: Some(text.parse().unwrap()),
            // Not even the node's own key counts elsewhere.
            key: Some(embermesh_crypto::Keypair::from_seed(&[1; 32]).peer_id()),
        };
        for here in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_here(&line(here)), "{here}");
        }
        for elsewhere in [
            "10.0.0.1:1",
            "192.0.2.1:1",
            "[::2]:1",
            "[::ffff:10.0.0.1]:1",
        ] {
            assert!(!is_here(&line(elsewhere)), "{elsewhere}");
        }
        // A road of the mesh has no address.
        assert!(!is_here(&Line::default()));
    }

    #[test]
    fn the_owners_word_is_for_its_own_user_alone_and_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.token");
        let first = write_word(&path).unwrap();
        let word = std::fs::read_to_string(&path).unwrap();
        assert_eq!(Digest::of(word.trim().as_bytes()), first);
        assert_eq!(word.trim().len(), 2 * SECRET);
        assert_ne!(write_word(&path).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt as _, symlink};
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
            // A link that somebody has put there is not written through.
            let other = dir.path().join("other");
            std::fs::write(&other, "mine").unwrap();
            std::fs::remove_file(&path).unwrap();
            symlink(&other, &path).unwrap();
            write_word(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
        }
    }
}
