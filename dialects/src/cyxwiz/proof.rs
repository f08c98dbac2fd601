//! The proof of a computation, as `proof_of_compute` has it: its text, which `embermesh
//! proof verify` takes; of one that is too large for a message, where it is; and of a job
//! without one, the signed receipt in hexadecimal.

use embermesh_job::{event::Artifact, spec::PROOF};

/// The largest proof that a message carries, in bytes: as text it is a third larger, and
/// many clients take messages of 4 MiB.
const MAX_CARRIED: u64 = 2 << 20;

/// The proof among what a job has made.
pub(super) fn made(artifacts: &[Artifact]) -> Option<&Artifact> {
    artifacts.iter().find(|made| made.name == PROOF)
}

/// Whether a proof is small enough for a message.
pub(super) const fn is_carried(made: &Artifact) -> bool {
    made.size <= MAX_CARRIED
}

/// Where an artifact is, as a `dataset_uri` or `weights` can name it.
pub(super) fn place(made: &Artifact) -> String {
    format!("blake3:{}?size={}", made.digest, made.size)
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
