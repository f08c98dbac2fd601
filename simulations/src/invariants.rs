//! What must hold whatever happens.

use std::{collections::BTreeMap, fmt, time::Duration};

use embermesh_crypto::{Epoch, JobId, UnixMillis};
use embermesh_job::lifecycle::JobState;
use embermesh_mesh::protocol::{CLOCK_SKEW, MAX_LIFETIME};

use crate::{
    World, client::Seen, gossip::WHOLE_AFTER, peer::Peer, tasks::LAST_EVENT, world::PeerIndex,
};

/// A table may hold what has expired for so long beyond the skew: until it is woken.
const SLACK: Duration = Duration::from_millis(1);

/// An invariant that does not hold, with the command that shows it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// When, in virtual time.
    pub at: UnixMillis,
    /// What.
    pub what: String,
    /// What to run to see it again, where that is known.
    pub again: Option<String>,
}

impl Violation {
    /// A violation at a moment.
    pub fn new(at: UnixMillis, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
            again: None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.at.since(crate::world::EPOCH);
        write!(f, "after {since:?}: {}", self.what)?;
        if let Some(again) = &self.again {
            write!(
                f,
                "\nto see it again: cargo run --release -p embermesh-simulations -- {again}"
            )?;
        }
        Ok(())
    }
}

/// How each job stood in the index's memory when it was last looked at.
#[derive(Debug, Default)]
pub struct Known {
    /// How many lives the index had had: what it had not committed went with each.
    life: u32,
    jobs: BTreeMap<JobId, (Epoch, JobState)>,
}

impl World {
    pub(crate) fn violation(&self, what: impl Into<String>) -> Violation {
        Violation {
            at: self.now,
            what: what.into(),
            again: Some(self.command.clone()),
        }
    }

    /// What the last step can have broken.
    pub(crate) fn check_step(&mut self) -> Result<(), Violation> {
        let touched = std::mem::take(&mut self.touched);
        for peer in touched.tables {
            self.check_table(peer)?;
        }
        for job in &touched.jobs {
            self.check_job(*job)?;
        }
        if touched.index && self.index_up {
            self.check_money()?;
        }
        Ok(())
    }

    /// A job is on one live node at most with the epoch that counts.
    fn check_one_runner(&self, job: JobId, current: Epoch) -> Result<(), Violation> {
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

    /// What holds for a job that something was done about.
    fn check_job(&self, job: JobId) -> Result<(), Violation> {
        let Some(job) = self.index.job(&job) else {
            return Ok(());
        };
        self.check_one_runner(job.id, job.epoch)?;
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

    /// A table of an honest node whose clock is right shows nothing that was not signed
    /// by whom it names, nothing from the future and nothing that is over.
    fn check_table(&self, peer: PeerIndex) -> Result<(), Violation> {
        let node = &self.peers[peer];
        if !node.alive || !node.is_sound() {
            return Ok(());
        }
        let clock = node.clock(self.now);
        for advert in node.table.roster().adverts() {
            let author = self
                .by_id
                .get(&advert.peer)
                .map(|author| &self.peers[*author]);
            let honest = author.is_none_or(|author| !author.lies);
            let signed = || {
                self.audit
                    .has_signed(advert.peer, advert.sequence, advert.bytes())
            };
            let wrong = if honest && !signed() {
                "was never signed"
            } else if advert.issued_at > clock.saturating_add(CLOCK_SKEW) {
                "comes from the future"
            } else if advert.expires_at.saturating_add(CLOCK_SKEW + SLACK) < clock {
                "is over"
            } else if advert.expires_at > advert.issued_at.saturating_add(MAX_LIFETIME) {
                "lives too long"
            } else {
                continue;
            };
            return Err(self.violation(format!(
                "node {peer} shows an advert of {} that {wrong}",
                advert.peer
            )));
        }
        Ok(())
    }

    /// Everything at once, step or not: what is checked now and then.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check_all(&self) -> Result<(), Violation> {
        for peer in 0..self.peers.len() {
            self.check_table(peer)?;
        }
        for job in self.index.jobs() {
            self.check_job(job.id)?;
        }
        self.check_money()
    }

    /// An index that has started again knows all that it had told somebody.
    pub(crate) fn check_nothing_forgotten(&self) -> Result<(), Violation> {
        for (job, epoch, state) in self.audit.jobs() {
            let Some(known) = self.index.job(&job) else {
                return Err(self.violation(format!("the index has forgotten job {job}")));
            };
            let back = known.epoch < epoch || (state.is_final() && known.state != state);
            if back {
                return Err(self.violation(format!(
                    "the index has forgotten that job {job} was {state} as attempt {epoch}: it is {} as {}",
                    known.state, known.epoch
                )));
            }
        }
        let told = self
            .audit
            .payments()
            .filter_map(|number| self.audit.payment(number));
        let last = self.index.ledger().last();
        if let Some(lost) = told.into_iter().find(|number| *number > last) {
            return Err(self.violation(format!("the index has forgotten transaction {lost}")));
        }
        Ok(())
    }

    /// Epochs never fall and ended jobs stay as they are, since `before`, as far as it is
    /// the same process. What it had told anybody holds beyond that.
    ///
    /// # Errors
    /// The first job of which that is not so.
    pub fn check_jobs_since(&self, before: &mut Known) -> Result<(), Violation> {
        if !self.index_up {
            return Ok(());
        }
        if before.life != self.index_life {
            *before = Known {
                life: self.index_life,
                ..Known::default()
            };
        }
        for job in self.index.jobs() {
            let now = (job.epoch, job.state);
            if let Some((epoch, state)) = before.jobs.insert(job.id, now)
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

    /// Every honest node that has run for a while knows what every other one last said
    /// of itself before a moment, or holds what that one has said since.
    ///
    /// # Errors
    /// The first node that does not.
    pub fn check_whole(&self, before: UnixMillis) -> Result<(), Violation> {
        let sound = |peer: &&Peer| {
            peer.alive
                && peer.is_sound()
                && peer.alive_since.saturating_add(WHOLE_AFTER) <= self.now
        };
        for peer in self.peers.iter().filter(sound) {
            for other in self.peers.iter().filter(sound) {
                let known = peer.table.roster().of(&other.id());
                let said = self.audit.last_signed(other.id(), other.clock(before));
                let whole = known.is_some_and(|known| {
                    said.is_none_or(|said| {
                        known.sequence >= said
                            || self.audit.holds_since(other.id(), known.sequence, said)
                    })
                });
                if !whole {
                    let ago = said.map_or(0, |said| other.clock(before).0.saturating_sub(said));
                    return Err(self.violation(format!(
                        "node {} does not know what node {} said {ago} ms before {}",
                        self.by_id[&peer.id()],
                        self.by_id[&other.id()],
                        before
                    )));
                }
            }
        }
        Ok(())
    }

    /// Every job has ended well, and the client saw all of its events.
    ///
    /// # Errors
    /// The first job of which that is not so.
    pub fn check_all_done(&self, jobs: usize) -> Result<(), Violation> {
        if !self.index_up {
            return Err(self.violation("the index is away"));
        }
        let known = self.index.jobs().count();
        if known != jobs {
            return Err(self.violation(format!("{known} jobs are known of {jobs}")));
        }
        for job in self.index.jobs() {
            if job.state != JobState::Succeeded {
                let ends: Vec<String> = job
                    .attempts
                    .iter()
                    .map(|attempt| {
                        let node = self.by_id.get(&attempt.node);
                        let end = attempt.ended.as_ref().map_or("open", |end| &end.code);
                        format!("{} at {node:?}: {end}", attempt.epoch)
                    })
                    .collect();
                return Err(self.violation(format!(
                    "job {} is {} in the end; its attempts: {}",
                    job.id,
                    job.state,
                    ends.join(", ")
                )));
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
