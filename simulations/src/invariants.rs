//! What must hold whatever happens.

use std::{collections::BTreeMap, fmt};

use embermesh_crypto::{Epoch, JobId, UnixMillis};
use embermesh_job::lifecycle::JobState;

use crate::{World, client::Seen, tasks::LAST_EVENT};

/// An invariant that does not hold, with the command that shows it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// When, in virtual time.
    pub at: UnixMillis,
    /// What.
    pub what: String,
    /// The seed, where it is known.
    pub seed: Option<u64>,
}

impl Violation {
    /// A violation at a moment.
    pub fn new(at: UnixMillis, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
            seed: None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.at.since(crate::world::EPOCH);
        write!(f, "after {since:?}: {}", self.what)?;
        if let Some(seed) = self.seed {
            write!(
                f,
                "\nto see it again: cargo run --release -p embermesh-simulations -- run --seed {seed}"
            )?;
        }
        Ok(())
    }
}

/// What the index had said of each job when it was last looked at.
pub type Known = BTreeMap<JobId, (Epoch, JobState)>;

impl World {
    pub(crate) fn violation(&self, what: impl Into<String>) -> Violation {
        Violation {
            at: self.now,
            what: what.into(),
            seed: Some(self.seed),
        }
    }

    /// A job is on one live node at most with the epoch that counts.
    pub(crate) fn check_one_runner(&self, job: JobId) -> Result<(), Violation> {
        let Some(current) = self.index.job(&job).map(|job| job.epoch) else {
            return Ok(());
        };
        let runners = self
            .peers
            .iter()
            .filter(|peer| {
                peer.tasks
                    .get(&job)
                    .is_some_and(|task| task.key.epoch == current)
            })
            .count();
        if runners > 1 {
            return Err(self.violation(format!(
                "job {job} runs on {runners} nodes under epoch {current}"
            )));
        }
        Ok(())
    }

    /// What holds for a job that a report has touched.
    pub(crate) fn check_index(&self, job: Option<JobId>) -> Result<(), Violation> {
        let Some(job) = job else {
            return Ok(());
        };
        self.check_one_runner(job)?;
        let Some(job) = self.index.job(&job) else {
            return Ok(());
        };
        if job.epoch.0 != job.attempts.len() as u64 {
            return Err(self.violation(format!("job {} lost an attempt", job.id)));
        }
        let open = job
            .attempts
            .iter()
            .filter(|attempt| attempt.ended.is_none())
            .count();
        if open != usize::from(job.state.is_placed()) {
            return Err(self.violation(format!(
                "job {} has {open} open attempts as {}",
                job.id, job.state
            )));
        }
        if job
            .journal
            .windows(2)
            .any(|pair| pair[1].number != pair[0].number + 1)
        {
            return Err(self.violation(format!("job {}: its journal has a gap", job.id)));
        }
        Ok(())
    }

    /// Epochs never fall and ended jobs stay as they are, since `before`.
    ///
    /// # Errors
    /// The first job of which that is not so.
    pub fn check_jobs_since(&self, before: &mut Known) -> Result<(), Violation> {
        for job in self.index.jobs() {
            let now = (job.epoch, job.state);
            if let Some((epoch, state)) = before.insert(job.id, now)
                && (job.epoch < epoch || (state.is_final() && state != job.state))
            {
                return Err(
                    self.violation(format!("job {} went back from {state} {epoch}", job.id))
                );
            }
        }
        Ok(())
    }

    /// Every live node knows exactly the live nodes.
    ///
    /// # Errors
    /// The first node whose table is not that.
    pub fn check_tables(&self) -> Result<(), Violation> {
        let live: Vec<_> = self.peers.iter().filter(|peer| peer.alive).collect();
        for peer in &live {
            let mut known: Vec<_> = peer
                .table
                .roster()
                .adverts()
                .filter(|advert| advert.expires_at > self.now)
                .map(|advert| advert.peer)
                .collect();
            known.push(peer.id());
            known.sort_unstable();
            known.dedup();
            let mut expected: Vec<_> = live.iter().map(|peer| peer.id()).collect();
            expected.sort_unstable();
            if known != expected {
                return Err(self.violation(format!(
                    "node {} knows {} nodes, and {} are alive",
                    peer.id(),
                    known.len(),
                    expected.len()
                )));
            }
        }
        Ok(())
    }

    /// Every job has ended well, and the client saw all of its events.
    ///
    /// # Errors
    /// The first job of which that is not so.
    pub fn check_all_done(&self, jobs: usize) -> Result<(), Violation> {
        let known = self.index.jobs().count();
        if known != jobs {
            return Err(self.violation(format!("{known} jobs are known of {jobs}")));
        }
        for job in self.index.jobs() {
            if job.state != JobState::Succeeded {
                return Err(self.violation(format!("job {} is {} in the end", job.id, job.state)));
            }
            let seen = self.client.seen.get(&job.id).map_or(0, Seen::last);
            if seen != LAST_EVENT {
                return Err(self.violation(format!(
                    "job {} has {LAST_EVENT} events, and the client saw {seen}",
                    job.id
                )));
            }
        }
        Ok(())
    }
}
