//! What a receipt says of how the work was done: with which model and software, and
//! what it took of what it might.

use minicbor::{Decode, Encode};
use serde::Serialize;

use super::short;
use crate::Digest;

/// The version of the account that this program writes and reads.
pub const ACCOUNT_VERSION: u8 = 1;

/// The longest text of an account, in bytes.
const MAX_TEXT: usize = 128;

/// How a task was done. A receipt of an older node has none.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Account {
    /// The version of what follows.
    #[n(0)]
    pub version: u8,
    /// The kind of work, as the spec names it, such as "train".
    #[n(1)]
    pub kind: String,
    /// The digest of the model: of its file, or of the canonical JSON of what the
    /// spec declares.
    #[n(2)]
    pub model: Option<Digest>,
    /// The checkpoint that the attempt went on from.
    #[n(3)]
    pub resumed_from: Option<Digest>,
    /// This program and its version.
    #[n(4)]
    pub program: String,
    /// The library that computed, its version and its backend.
    #[n(5)]
    pub backend: String,
    /// The driver of the device, or the system of the processor.
    #[n(6)]
    pub driver: String,
    /// Time on the device in this attempt, without pauses, in milliseconds.
    #[n(7)]
    pub wall_ms: u64,
    /// Processor time of this attempt, all threads together, in milliseconds, where
    /// the node's system tells it.
    #[n(8)]
    pub cpu_ms: Option<u64>,
    /// The most memory that the worker's process had, in bytes, where the node's
    /// system tells it.
    #[n(9)]
    pub peak_memory_bytes: Option<u64>,
    /// Memory that it might use, in bytes.
    #[n(10)]
    pub memory_ceiling_bytes: u64,
    /// Time on the device that it might use, in milliseconds.
    #[n(11)]
    pub wall_ceiling_ms: u64,
    /// Processor time that it might use, in milliseconds, if that was limited.
    #[n(12)]
    pub cpu_ceiling_ms: Option<u64>,
    /// Bytes of output that it might make.
    #[n(13)]
    pub output_ceiling_bytes: u64,
    /// The digest of the receipt that this node signed before this one; none in its
    /// first. So the receipts of a node are a chain, and where one was taken out, put in
    /// or moved, that can be seen.
    #[n(14)]
    pub previous: Option<Digest>,
}

impl Account {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.version != ACCOUNT_VERSION {
            return Err("the account in a receipt is of a version that is not known here");
        }
        let texts = [&self.kind, &self.program, &self.backend, &self.driver];
        if !short(texts, MAX_TEXT) {
            return Err("a text in a receipt is too long");
        }
        Ok(())
    }
}
