//! Randomness as an argument: the state machine draws ids, key seeds and tie
//! breaks from here and from nowhere else, so that a simulation that passes the
//! same seed sees the same run.

use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// A cryptographically strong stream of bytes. Whoever owns the state decides
/// where its seed came from: the operating system in production, a scenario's
/// number in a simulation.
#[derive(Debug)]
pub struct Entropy {
    rng: ChaCha20Rng,
}

impl Entropy {
    /// A stream that the seed determines.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            rng: ChaCha20Rng::from_seed(seed),
        }
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        self.rng.next_u64()
    }
}
