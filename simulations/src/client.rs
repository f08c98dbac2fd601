//! Who submits, and what it sees of its jobs: numbered events, from whichever
//! node has the job, without a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use embermesh_crypto::{Digest, JobId, Keypair, UnixMillis};
use embermesh_index_server::state::{Assigned, Command, Submit};
use embermesh_job::{
    model::{Layer, Model, Op},
    spec::{Dataset, Input, JobSpec, Limits, Optimizer, Requirements, Train, Work},
};

use crate::{Violation, World, world::Happening};

/// Attempts that each job may have.
const ATTEMPTS: u32 = 8;
/// Events that can overtake the one before them. Messages of one stream keep their
/// order in production; here each has a delay of its own, and only the last step and
/// the end are told at one moment.
const MAX_OVERTAKING: u64 = 1;

/// A client and its jobs.
pub struct Client {
    /// Its key.
    pub keypair: Keypair,
    /// What it saw of each job.
    pub seen: BTreeMap<JobId, Seen>,
    submits: u64,
}

/// The events of one job that a client saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last event before which none is missing.
    last: u64,
    /// Events that came before their turn.
    early: BTreeSet<u64>,
}

impl Seen {
    /// The last event before which none is missing.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes an event, or says that too many are missing before it.
    pub(crate) fn take(&mut self, seq: u64) -> bool {
        if seq <= self.last {
            return true;
        }
        if seq > self.last + 1 + MAX_OVERTAKING {
            return false;
        }
        self.early.insert(seq);
        while self.early.remove(&(self.last + 1)) {
            self.last += 1;
        }
        true
    }
}

impl Client {
    pub(crate) fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            seen: BTreeMap::new(),
            submits: 0,
        }
    }

    /// Events of one stream arrive, in order. Those that were seen are passed over; a
    /// gap before one breaks the promise of the stream.
    ///
    /// # Errors
    /// [`Violation`] on a gap.
    pub fn saw(
        &mut self,
        now: UnixMillis,
        job: JobId,
        events: RangeInclusive<u64>,
    ) -> Result<(), Violation> {
        let seen = self.seen.entry(job).or_default();
        for seq in events {
            if !seen.take(seq) {
                let text = format!("job {job}: event {seq} after {}", seen.last);
                return Err(Violation::new(now, text));
            }
        }
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
            budget: None,
            tentative: false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_overtake_one_and_a_hole_stays_a_hole() {
        let mut seen = Seen::default();
        assert!(seen.take(1) && seen.take(3));
        assert_eq!(seen.last(), 1, "2 is missing");
        assert!(!seen.take(4), "and may be missing no longer");
        assert!(seen.take(2));
        assert_eq!(seen.last(), 3);
        assert!(seen.take(1) && seen.take(4));
        assert_eq!(seen.last(), 4, "what was seen is passed over");
    }
}
