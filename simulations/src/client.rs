//! Who submits, and what it sees of its jobs: numbered events, from whichever
//! node has the job, without a gap.

use std::collections::BTreeMap;

use embermesh_crypto::{Digest, JobId, Keypair, UnixMillis};
use embermesh_index_server::state::{Assigned, Command, Submit};
use embermesh_job::{
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
};

use crate::{Violation, World, world::Happening};

/// Attempts that each job may have.
const ATTEMPTS: u32 = 8;

/// A client and its jobs.
pub struct Client {
    /// Its key.
    pub keypair: Keypair,
    /// The last event of each job that it saw.
    pub seen: BTreeMap<JobId, u64>,
    submits: u64,
}

impl Client {
    pub(crate) fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            seen: BTreeMap::new(),
            submits: 0,
        }
    }

    /// An event arrives. One that was seen is passed over; one that leaves a
    /// gap breaks the promise of the stream.
    ///
    /// # Errors
    /// [`Violation`] on a gap.
    pub fn saw(&mut self, now: UnixMillis, job: JobId, seq: u64) -> Result<(), Violation> {
        let last = self.seen.entry(job).or_default();
        if seq > *last + 1 {
            // Messages of one stream keep their order in production; here each
            // has a delay of its own, so the window is one message wide.
            if seq > *last + 2 {
                let text = format!("job {job}: event {seq} after {last}");
                return Err(Violation::new(now, text));
            }
            return Ok(());
        }
        *last = seq.max(*last);
        Ok(())
    }
}

fn spec(number: u64) -> JobSpec {
    JobSpec {
        name: format!("simulated-{number}"),
        work: Work::Train(Train {
            optimizer: Optimizer::default(),
            passes: 1,
            batch: 32,
            seed: 0,
            holdout: 0.0,
            report_every: 0,
            checkpoint_every: 0,
            ..Train::new(
                Model {
                    input: vec![64],
                    layers: vec![Layer::new(Op::dense(10))],
                },
                Dataset::DigitsCsv {
                    file: Input {
                        digest: Digest::of(b"digits"),
                        size: 6,
                    },
                    classes: 10,
                },
            )
        }),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: ATTEMPTS,
    }
}

impl World {
    pub(crate) fn submit(&mut self) -> Result<(), Violation> {
        self.client.submits += 1;
        let spec = spec(self.client.submits);
        let canonical = spec.canonical();
        let mut idempotency = [0; 16];
        idempotency[..8].copy_from_slice(&self.client.submits.to_le_bytes());
        let command = Command::Submit(Box::new(Submit {
            client: self.client.keypair.peer_id(),
            digest: Digest::of(&canonical),
            spec,
            canonical: canonical.into(),
            idempotency,
        }));
        self.send(Happening::Command(None, Box::new(command)));
        Ok(())
    }

    /// The index has taken a job on; its first attempt is the client's to start.
    pub(crate) fn submitted(&mut self, assigned: Assigned) {
        self.client.seen.entry(assigned.job.job.id).or_default();
        let Some(assignment) = assigned.assignment else {
            return;
        };
        if let Some(peer) = self.by_id.get(&assignment.node.peer).copied() {
            self.send(Happening::Present(peer, Box::new(assignment)));
        }
    }
}
