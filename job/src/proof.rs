//! Proofs that a program was executed: a commitment to every step, and some steps opened.
//!
//! Whoever executes a [`Program`](crate::program::Program) writes a trace: for each step the digests of the
//! tensors that it read and gave. The trace is committed to by the root of a Merkle tree;
//! the commitments of all who work together decide which steps each must open (Fiat and
//! Shamir, CRYPTO 1986), so nobody can choose. An opened step comes with its tensors, and
//! with the steps that made what it read, so whoever verifies executes that one step
//! again and knows that it follows from the others. One who changed `c` of `n` steps is
//! caught by `k` opened ones as [`caught`] says.
//!
//! - [`merkle`]: the tree.
//! - [`claim`]: what is claimed: commitments, steps, and what the verifier knows himself.
//! - [`challenge`]: which steps are opened.
//! - [`trace`]: from an execution to a proof.
//! - [`verify()`]: from a proof to the steps that have to be executed again.
//! - [`form`]: the proofs of one computation as a file or a text: all that a verifier
//!   needs beside the job's inputs.
//! - [`bound`]: how large a proof can be.
//!
//! Steps are those of programs without gradients, whose steps stand by themselves.
//! Nothing here executes anything: [`Checked::again`] is what is left to execute.

pub mod bound;
pub mod challenge;
pub mod claim;
pub mod form;
pub mod merkle;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod verify;

pub use bound::most_bytes;
pub use challenge::caught;
pub use claim::{Attempt, Commitment, Opening, Proof, Subject};
pub use form::{NoProof, Proven};
pub use trace::Trace;
pub use verify::{Again, Checked, Refused, verify};

/// The most who make one proof together.
pub const MAX_GANG: usize = 128;
/// The largest proof, in bytes.
pub const MAX_PROOF: usize = 64 << 20;
