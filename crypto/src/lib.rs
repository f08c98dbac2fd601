//! Keys, ids, digests, and the signed statements about them.
//!
//! - [`keys`]: an ed25519 keypair and the files it lives in, the only IO here.
//! - [`ids`]: peer ids, job ids, epochs, token ids, network names.
//! - [`digest`]: BLAKE3 digests.
//! - [`time`]: instants as the wire carries them.
//! - [`token`]: the assignment token, a compact JWS.
//! - [`statement`]: adverts, receipts, revocations and key sets, as signed
//!   binary statements.
//!
//! Everything but the key files is pure: `now` is an argument, and randomness
//! is used only to make a key.

pub mod digest;
pub mod ids;
pub mod keys;
pub mod statement;
pub mod time;
pub mod token;

pub use digest::Digest;
pub use ids::{Epoch, JobId, NetworkName, PeerId, TaskIndex, TokenId};
pub use keys::Keypair;
pub use time::{UnixMillis, UnixSeconds};
