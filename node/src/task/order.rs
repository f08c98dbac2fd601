//! What an attempt is started with.

use embermesh_crypto::{ids::PeerId, token::Assignment};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::TaskKey,
    spec::JobSpec,
};

/// A verified assignment with all that belongs to it.
pub(crate) struct TaskOrder {
    pub(crate) assignment: Assignment,
    /// The index that hears of the attempt.
    pub(crate) reports_to: Option<PeerId>,
    pub(crate) spec: JobSpec,
    /// The exact bytes of the spec, which the assignment names by digest.
    pub(crate) canonical: String,
    /// Where to go on from.
    pub(crate) resume: Option<Checkpoint>,
    /// Who holds the inputs.
    pub(crate) inputs: Vec<BlobRef>,
}

impl TaskOrder {
    /// The attempt.
    pub(crate) fn key(&self) -> TaskKey {
        let claims = self.assignment.claims();
        TaskKey {
            job: claims.job,
            task: claims.task,
            epoch: claims.epoch,
        }
    }

    /// The number after which it goes on.
    pub(crate) fn resume_after(&self) -> u64 {
        self.resume.as_ref().map_or(0, |checkpoint| checkpoint.seq)
    }
}
