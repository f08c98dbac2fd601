//! Passwords, as what they hash to by argon2id: 19 MiB, two passes, one lane (the least
//! that OWASP's password storage sheet recommends).
//!
//! Hashing takes tens of milliseconds and its memory, so it runs on blocking threads, a
//! few at once; of those that wait there is a bound too.

use argon2::{Algorithm, Argon2, Params, Version};
use embermesh_dialects::{ErrorCode, Failure};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Memory, in KiB.
const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Bytes of a salt.
pub(super) const SALT: usize = 16;
/// Bytes of a hash.
pub(super) const HASH: usize = 32;
/// How many are hashed at once.
const AT_ONCE: usize = 2;
/// How many may be hashed or wait for it.
const MAX_WAITING: usize = 64;

/// What hashes passwords.
#[derive(Debug)]
pub(super) struct Hasher {
    running: Semaphore,
    waiting: Semaphore,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self {
            running: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// What a password hashes to.
    pub(super) async fn hash(
        &self,
        password: &str,
        salt: [u8; SALT],
    ) -> Result<[u8; HASH], Failure> {
        let internal = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a password could not be hashed");
            Failure::new(ErrorCode::Internal, "the password could not be checked")
        };
        let _place = self.waiting.try_acquire().map_err(|_| {
            let message = "too many log in at this moment: try again in some seconds";
            Failure::new(ErrorCode::Unavailable, message)
        })?;
        let _turn = self.running.acquire().await.map_err(|e| internal(&e))?;
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let hashed = tokio::task::spawn_blocking(move || {
            let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH))?;
            let mut hash = [0; HASH];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(&password, &salt, &mut hash)?;
            Ok::<_, argon2::Error>(hash)
        });
        let hashed = hashed.await.map_err(|error| internal(&error))?;
        hashed.map_err(|error| internal(&error))
    }
}

/// Whether two hashes are the same, in a time that does not say where they differ.
pub(super) fn same(ours: &[u8; HASH], theirs: &[u8; HASH]) -> bool {
    blake3::Hash::from_bytes(*ours) == blake3::Hash::from_bytes(*theirs)
}
