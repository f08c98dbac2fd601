//! What a client says that some bytes hash to: a SHA-256 or a BLAKE3, in hex.

use aws_lc_rs::digest::{Context, SHA256};
use embermesh_crypto::{Digest, digest::Hasher};
use embermesh_dialects::Failure;

/// Hex digits of either.
const DIGITS: usize = 64;

/// Hashes bytes both ways as they come.
pub(super) struct Hashers {
    blake3: Hasher,
    sha256: Context,
}

/// What bytes hash to, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashes {
    pub(super) blake3: Digest,
    pub(super) sha256: String,
}

impl Hashers {
    pub(super) fn new() -> Self {
        Self {
            blake3: Digest::hasher(),
            sha256: Context::new(&SHA256),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.sha256.update(bytes);
    }

    /// Of the bytes so far.
    pub(super) fn hashes(&self) -> Hashes {
        Hashes {
            blake3: self.blake3.finalize(),
            sha256: hex(self.sha256.clone().finish().as_ref()),
        }
    }
}

impl Hashes {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hashers = Hashers::new();
        hashers.update(bytes);
        hashers.hashes()
    }

    /// Whether this is what was said.
    pub(super) fn are(&self, said: &str) -> bool {
        let (kind, digits) = split(said);
        let is = |name: &str, hash: &str| {
            (kind.is_empty() || kind.eq_ignore_ascii_case(name))
                && digits.eq_ignore_ascii_case(hash)
        };
        is("sha256", &self.sha256) || is("blake3", &self.blake3.to_string())
    }
}

/// Refuses a checksum that nobody here can check.
pub(super) fn check(said: &str) -> Result<(), Failure> {
    let (kind, digits) = split(said);
    let is_known = ["", "sha256", "blake3"].contains(&kind.to_ascii_lowercase().as_str());
    if is_known && digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(Failure::invalid(
        "checksum: give a SHA-256 or a BLAKE3 in hex, or nothing",
    ))
}

fn split(said: &str) -> (&str, &str) {
    said.split_once([':', '-']).unwrap_or(("", said))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_hash_is_taken_and_nothing_else() {
        let of = Hashes::of(b"abc");
        // FIPS 180-4 and the test vectors of BLAKE3.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of.sha256, sha256);
        let blake3 = Digest::of(b"abc").to_string();
        for said in [
            sha256.to_owned(),
            sha256.to_uppercase(),
            format!("sha256:{sha256}"),
            format!("SHA256-{sha256}"),
            blake3.clone(),
            format!("blake3:{blake3}"),
        ] {
            check(&said).unwrap();
            assert!(of.are(&said), "{said}");
        }
        for said in [format!("blake3:{sha256}"), format!("sha256:{blake3}")] {
            check(&said).unwrap();
            assert!(!of.are(&said), "{said}");
        }
        for said in [
            "",
            "chunk_checksum_0",
            "md5:900150983cd24fb0d6963f7d28e17f72",
        ] {
            assert!(check(said).is_err(), "{said}");
        }
    }
}
