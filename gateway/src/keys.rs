//! The keys of clients that have none: each is derived from a secret of the gateway and
//! from the client's name, so that nothing has to be kept for them and a name has the
//! same key after a restart.

use std::{io, path::Path};

use embermesh_crypto::keys::Keypair;
use embermesh_dialects::port::Principal;
use embermesh_storage::folder::private_options;
use zeroize::Zeroizing;

/// Sets these derivations apart from all others (BLAKE3, section 2.3: the context is a
/// constant of the application).
const CONTEXT: &str = "embermesh 2026-11 gateway: the key of a foreign principal";

/// The same for the keys of servers.
const SERVER_CONTEXT: &str = "embermesh 2026-11 gateway: the key of a foreign server";

/// Bytes of the secret.
const SECRET: usize = 32;

/// Derives keys.
pub(crate) struct Keyring {
    secret: Zeroizing<[u8; SECRET]>,
}

impl Keyring {
    /// Reads the secret from a file, or makes it.
    ///
    /// # Errors
    /// When the file cannot be read or made, or has another length.
    pub(crate) fn load_or_create(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let secret = <[u8; SECRET]>::try_from(bytes.as_slice())
                    .map_err(|_| io::Error::other("it does not hold 32 bytes"))?;
                Ok(Self {
                    secret: Zeroizing::new(secret),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(error),
        }
    }

    fn create(path: &Path) -> io::Result<Self> {
        let mut secret = Zeroizing::new([0; SECRET]);
        getrandom::fill(secret.as_mut()).map_err(io::Error::other)?;
        // Whole or not at all: a half-written secret would be another one.
        let draft = path.with_extension("new");
        let mut file = private_options().create(true).truncate(true).open(&draft)?;
        io::Write::write_all(&mut file, secret.as_ref())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        Ok(Self { secret })
    }

    /// The key of a server, as 64 hexadecimal digits.
    pub(crate) fn of_server(&self, id: &str) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(SERVER_CONTEXT);
        hasher.update(self.secret.as_ref());
        hasher.update(id.as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// The key of a principal.
    pub(crate) fn of(&self, who: &Principal) -> Keypair {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(self.secret.as_ref());
        // Words of fixed length first, so that no two principals give the same bytes.
        let dialect = who.dialect.as_str().as_bytes();
        hasher.update(&[u8::try_from(dialect.len()).unwrap_or(u8::MAX)]);
        hasher.update(dialect);
        hasher.update(who.name.as_bytes());
        Keypair::from_seed(hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use embermesh_dialects::Dialect;

    use super::*;

    fn who(dialect: Dialect, name: &str) -> Principal {
        Principal {
            dialect,
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_name_has_one_key_for_ever_and_no_other_name_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let ring = Keyring::load_or_create(&path).unwrap();
        let alice = ring.of(&who(Dialect::HiveMind, "alice")).peer_id();
        let again = Keyring::load_or_create(&path).unwrap();
        assert_eq!(again.of(&who(Dialect::HiveMind, "alice")).peer_id(), alice);
        for other in [
            who(Dialect::HiveMind, "alicf"),
            who(Dialect::CyxWiz, "alice"),
            who(Dialect::HiveMind, ""),
        ] {
            assert_ne!(ring.of(&other).peer_id(), alice);
        }
        let elsewhere = Keyring::load_or_create(&folder.path().join("other")).unwrap();
        assert_ne!(
            elsewhere.of(&who(Dialect::HiveMind, "alice")).peer_id(),
            alice
        );
    }

    #[test]
    fn a_server_has_one_key_for_ever_and_no_other_server_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let key = Keyring::load_or_create(&path).unwrap().of_server("node-1");
        let again = Keyring::load_or_create(&path).unwrap();
        assert_eq!((again.of_server("node-1"), key.len()), (key.clone(), 64));
        assert_ne!(again.of_server("node-2"), key);
    }

    #[cfg(unix)]
    #[test]
    fn the_secret_is_its_owners_alone_and_a_damaged_one_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        Keyring::load_or_create(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        std::fs::write(&path, b"short").unwrap();
        assert!(Keyring::load_or_create(&path).is_err());
    }
}
