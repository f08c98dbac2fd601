//! Keypairs and the files they live in: the only IO of this crate.
//!
//! A key file is PKCS#8 (PEM or DER, RFC 8410) or the protobuf form of libp2p
//! (raw or base64). It is made with mode 0600 and never overwritten; one that
//! others can read is refused.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{
    Signer, SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use zeroize::Zeroizing;

use crate::PeerId;

/// The largest key file that is read, in bytes; every known form is smaller.
pub const MAX_KEY_FILE: u64 = 4096;

/// What libp2p writes before the 64 bytes of an ed25519 private key: field 1
/// (type) is 1, field 2 (data) has length 64.
const LIBP2P_PREFIX: [u8; 4] = [0x08, 0x01, 0x12, 0x40];

/// An ed25519 keypair: the identity of a node, an index or a client. The
/// secret is wiped when it is dropped and never printed.
pub struct Keypair {
    signing: SigningKey,
    peer: PeerId,
}

/// Why a key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    NoRandomness(getrandom::Error),
    /// There is no such file.
    #[error("there is no key at {}: make one with `embermesh keys new`", .0.display())]
    Missing(PathBuf),
    /// There is one already.
    #[error("{} exists and is not overwritten: choose another path or move it away", .0.display())]
    Exists(PathBuf),
    /// Others than its owner can read the file.
    #[error(
        "the key {} can be read by others (mode {mode:04o}): run `chmod 600 {}`",
        path.display(),
        path.display()
    )]
    OpenPermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A folder, a device, a dangling link.
    #[error("{} is not a regular file: name a key file", .0.display())]
    NotAFile(PathBuf),
    /// Not one of the forms of a key.
    #[error(
        "{origin} is not an ed25519 key ({reason}): expected PKCS#8 (PEM or DER) or the protobuf form of libp2p"
    )]
    NotAKey {
        /// Where the bytes came from.
        origin: String,
        /// What was wrong with them.
        reason: &'static str,
    },
    /// Reading or writing failed.
    #[error("cannot {action} the key {}: {source}", path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Keypair {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(KeyError::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key with this 32-byte secret (the seed of RFC 8032).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let peer = PeerId::from_public_key(signing.verifying_key().as_bytes())
            .expect("a clamped scalar times the base point: canonical and of large order");
        Self { signing, peer }
    }

    /// The public half.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Signs `message` (RFC 8032, Ed25519).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it is missing, open to others, or not a key; the message names the
    /// cure.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound {
                KeyError::Missing(path.to_owned())
            } else {
                io_error("read", path, source)
            }
        };
        // The open file is asked, not the path, so that nobody can exchange
        // the file between the check and the reading.
        let file = fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(KeyError::NotAFile(path.to_owned()));
        }
        refuse_open_permissions(path, &metadata)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(256));
        file.take(MAX_KEY_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Self::parse(&bytes, &path.display().to_string())
    }

    /// Writes the key as PKCS#8 PEM to a new file with mode 0600.
    ///
    /// # Errors
    /// When the file exists, or cannot be written.
    pub fn save_new(&self, path: &Path) -> Result<(), KeyError> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                KeyError::Exists(path.to_owned())
            } else {
                io_error("write", path, source)
            }
        })?;
        let written = file
            .write_all(self.to_pkcs8_pem().as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(|source| {
            // Half a key is worse than none: the next try would find it.
            let _ = fs::remove_file(path);
            io_error("write", path, source)
        })
    }

    /// Reads the key at `path`, or makes one there if there is none.
    ///
    /// # Errors
    /// As [`Keypair::load`] and [`Keypair::save_new`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::Missing(_)) => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(|source| io_error("write", path, source))?;
                }
                let keypair = Self::generate()?;
                keypair.save_new(path)?;
                Ok(keypair)
            }
            other => other,
        }
    }

    /// The PKCS#8 PEM form (RFC 8410).
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        self.signing
            .to_pkcs8_pem(LineEnding::LF)
            .expect("an ed25519 key always has a PKCS#8 form")
    }

    /// Reads the PKCS#8 PEM form.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`].
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(text)
            .map(|signing| Self::from_seed(signing.as_bytes()))
            .map_err(|_| not_a_key("the text", "malformed PKCS#8"))
    }

    /// The protobuf form of a libp2p private key.
    #[must_use]
    pub fn to_libp2p_protobuf(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(68));
        bytes.extend_from_slice(&LIBP2P_PREFIX);
        bytes.extend_from_slice(self.signing.as_bytes());
        bytes.extend_from_slice(self.peer.as_bytes());
        bytes
    }

    /// Reads the protobuf form of a libp2p private key.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`], also when its two halves do not belong together.
    pub fn from_libp2p_protobuf(bytes: &[u8]) -> Result<Self, KeyError> {
        let key: &[u8; 64] = bytes
            .strip_prefix(&LIBP2P_PREFIX)
            .and_then(|key| key.try_into().ok())
            .ok_or_else(|| not_a_key("the input", "not an ed25519 key of libp2p"))?;
        let (seed, public) = key.split_at(32);
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).unwrap_or_default());
        let keypair = Self::from_seed(&seed);
        if keypair.peer.as_bytes() != public {
            return Err(not_a_key("the input", "its public half is of another key"));
        }
        Ok(keypair)
    }

    fn parse(bytes: &[u8], origin: &str) -> Result<Self, KeyError> {
        let refuse = |reason| Err(not_a_key(origin, reason));
        if bytes.is_empty() {
            return refuse("it is empty");
        }
        if bytes.len() as u64 > MAX_KEY_FILE {
            return refuse("it is too large");
        }
        if bytes.starts_with(&LIBP2P_PREFIX) {
            return Self::from_libp2p_protobuf(bytes).or_else(|_| refuse("damaged"));
        }
        if let Ok(signing) = SigningKey::from_pkcs8_der(bytes) {
            return Ok(Self::from_seed(signing.as_bytes()));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return refuse("unknown binary form");
        };
        if text.contains("-----BEGIN") {
            return Self::from_pkcs8_pem(text).or_else(|_| refuse("malformed PKCS#8"));
        }
        match STANDARD.decode(text.trim()).map(Zeroizing::new) {
            Ok(raw) if raw.starts_with(&LIBP2P_PREFIX) => {
                Self::from_libp2p_protobuf(&raw).or_else(|_| refuse("damaged"))
            }
            _ => refuse("unknown text form"),
        }
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({}, secret hidden)", self.peer)
    }
}

fn not_a_key(origin: &str, reason: &'static str) -> KeyError {
    KeyError::NotAKey {
        origin: origin.to_owned(),
        reason,
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(unix)]
fn refuse_open_permissions(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(KeyError::OpenPermissions {
        path: path.to_owned(),
        mode,
    })
}

#[cfg(not(unix))]
fn refuse_open_permissions(_: &Path, _: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keypair() -> Keypair {
        Keypair::from_seed(&[9; 32])
    }

    #[cfg(unix)]
    fn write(path: &Path, bytes: &[u8], mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn every_form_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let raw = keypair().to_libp2p_protobuf().to_vec();
        let forms = [
            keypair().to_pkcs8_pem().as_bytes().to_vec(),
            keypair()
                .signing
                .to_pkcs8_der()
                .unwrap()
                .as_bytes()
                .to_vec(),
            STANDARD.encode(&raw).into_bytes(),
            raw,
        ];
        for form in forms {
            write(&path, &form, 0o600);
            assert_eq!(Keypair::load(&path).unwrap().peer_id(), keypair().peer_id());
        }
    }

    #[test]
    fn a_new_file_is_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/key");
        let made = Keypair::load_or_create(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            Keypair::load_or_create(&path).unwrap().peer_id(),
            made.peer_id()
        );
        assert!(matches!(
            keypair().save_new(&path),
            Err(KeyError::Exists(_))
        ));
        assert_eq!(Keypair::load(&path).unwrap().peer_id(), made.peer_id());
    }

    #[test]
    fn open_permissions_are_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for mode in [0o644, 0o640, 0o604, 0o620] {
            write(&path, keypair().to_pkcs8_pem().as_bytes(), mode);
            let text = Keypair::load(&path).unwrap_err().to_string();
            assert!(text.contains("chmod 600"), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let mut swapped = keypair().to_libp2p_protobuf().to_vec();
        swapped[67] ^= 1;
        let cases: [(&[u8], &str); 6] = [
            (b"", "empty"),
            (&[b'x'; 5000], "too large"),
            (b"hello", "unknown text form"),
            (&[0xff, 0xfe, 0x00], "unknown binary form"),
            (
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                "PKCS#8",
            ),
            (&swapped, "damaged"),
        ];
        for (bytes, expected) in cases {
            write(&path, bytes, 0o600);
            let text = Keypair::load(&path).unwrap_err().to_string();
            assert!(text.contains(expected), "{text} should say {expected}");
        }
        assert!(matches!(
            Keypair::load(folder.path()),
            Err(KeyError::NotAFile(_) | KeyError::OpenPermissions { .. })
        ));
        assert!(matches!(
            Keypair::load(&folder.path().join("none")),
            Err(KeyError::Missing(_))
        ));
    }

    #[test]
    fn debug_hides_the_secret() {
        let text = format!("{:?}", keypair());
        assert!(text.contains("hidden") && !text.contains("0909"));
    }
}
