//! What an attempt is started with.

use embermesh_crypto::{ids::PeerId, token::Assignment};
use embermesh_job::{
    address::{BlobRef, Checkpoint},
    assignment::TaskKey,
    place::Takes,
    spec::JobSpec,
    turns::{Ask, Rank},
};

/// A verified assignment with all that belongs to it.
pub(crate) struct TaskOrder {
    pub(crate) assignment: Assignment,
    /// The index that hears of the attempt.
    pub(crate) reports_to: Option<PeerId>,
    /// How near the client is to the node's owner.
    pub(crate) rank: Rank,
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

    /// What it takes of the node. Where no index has given it, it waits for its turn.
    pub(crate) fn ask(&self) -> Ask {
        let claims = self.assignment.claims();
        Ask {
            client: claims.client,
            rank: self.rank,
            job: claims.job,
            takes: Takes::of(&self.spec.work),
            device: self.spec.requires.device,
            memory: self.spec.limits.memory,
            wall: self.spec.limits.wall,
        }
    }

    /// The number after which it goes on.
    pub(crate) fn resume_after(&self) -> u64 {
        self.resume.as_ref().map_or(0, |checkpoint| checkpoint.seq)
    }
}
