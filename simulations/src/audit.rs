//! What was told to somebody, and must stay true: whatever dies, whatever comes twice.

use std::collections::BTreeMap;

use embermesh_crypto::{Digest, Epoch, JobId, PeerId, UnixMillis};
use embermesh_job::{assignment::TaskKey, lifecycle::JobState};

use crate::world::PeerIndex;

/// Everything that was told.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// How each job stood by what the index last let out.
    jobs: BTreeMap<JobId, (Epoch, JobState)>,
    /// Jobs whose end the index has let out.
    ended: BTreeMap<JobId, u32>,
    /// The attempt whose end the index has accepted.
    accepted: BTreeMap<JobId, Epoch>,
    /// The node that began each attempt.
    admitted: BTreeMap<(JobId, Epoch), PeerIndex>,
    /// What each peer has signed of itself, by number.
    signed: BTreeMap<(PeerId, u64), Said>,
    /// The transaction of each payment.
    payments: BTreeMap<u64, u64>,
}

/// What a peer has signed of itself once.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// Of all that it has signed.
    bytes: Digest,
    /// Of what that says, without number and times.
    what: Digest,
}

impl Audit {
    /// Somebody is told how a job stands. What was told may come late; it may not
    /// contradict what was told of the end.
    pub(crate) fn told(&mut self, job: JobId, epoch: Epoch, state: JobState) -> Result<(), String> {
        let before = self.jobs.insert(job, (epoch, state));
        match before {
            Some((known, _)) if epoch < known => Err(format!(
                "job {job} is told of as attempt {epoch} after {known}"
            )),
            Some((_, known)) if known.is_final() && state != known => {
                Err(format!("job {job} is told of as {state} after {known}"))
            }
            _ => Ok(()),
        }
    }

    /// The end of a job is let out: once.
    pub(crate) fn ended(&mut self, job: JobId) -> Result<(), String> {
        let times = self.ended.entry(job).or_default();
        *times += 1;
        if *times > 1 {
            return Err(format!("job {job} has ended twice"));
        }
        Ok(())
    }

    /// The end that a node reports is accepted: of one attempt alone.
    pub(crate) fn accepted(&mut self, job: JobId, epoch: Epoch) -> Result<(), String> {
        match self.accepted.insert(job, epoch) {
            Some(before) if before != epoch => Err(format!(
                "the ends of two attempts of job {job} were accepted, {before} and {epoch}"
            )),
            _ => Ok(()),
        }
    }

    /// A node begins an attempt: once, and no other does.
    pub(crate) fn admitted(&mut self, key: TaskKey, peer: PeerIndex) -> Result<(), String> {
        match self.admitted.insert((key.job, key.epoch), peer) {
            Some(before) => Err(format!(
                "attempt {} of job {} was begun twice, on nodes {before} and {peer}",
                key.epoch, key.job
            )),
            None => Ok(()),
        }
    }

    /// A payment is answered: always with the same transaction.
    pub(crate) fn entered(&mut self, payment: u64, transaction: u64) -> Result<(), String> {
        match self.payments.insert(payment, transaction) {
            Some(before) if before != transaction => Err(format!(
                "payment {payment} was made twice, as {before} and {transaction}"
            )),
            _ => Ok(()),
        }
    }

    /// The transaction of a payment, once somebody was told.
    pub(crate) fn payment(&self, number: u64) -> Option<u64> {
        self.payments.get(&number).copied()
    }

    /// The payments that somebody was told of.
    pub(crate) fn payments(&self) -> impl Iterator<Item = u64> + '_ {
        self.payments.keys().copied()
    }

    /// A peer has signed something of itself; `what` says the same for whatever number and
    /// times.
    pub(crate) fn signed(&mut self, peer: PeerId, sequence: u64, bytes: &[u8], what: &[u8]) {
        let said = Said {
            bytes: Digest::of(bytes),
            what: Digest::of(what),
        };
        self.signed.insert((peer, sequence), said);
    }

    /// Whether a peer has signed this of itself.
    pub(crate) fn has_signed(&self, peer: PeerId, sequence: u64, bytes: &[u8]) -> bool {
        let said = self.signed.get(&(peer, sequence));
        said.is_some_and(|said| said.bytes == Digest::of(bytes))
    }

    /// The number of the last that a peer had signed by a moment: numbers come from the
    /// clock.
    pub(crate) fn last_signed(&self, peer: PeerId, by: UnixMillis) -> Option<u64> {
        let until = self.signed.range((peer, 0)..=(peer, by.0));
        until.last().map(|((_, sequence), _)| *sequence)
    }

    /// Whether what a peer has signed under a number is what it says under another, or has
    /// said since.
    pub(crate) fn holds_since(&self, peer: PeerId, number: u64, since: u64) -> bool {
        let held = self.signed.get(&(peer, number));
        let mut later = self.signed.range((peer, since)..=(peer, u64::MAX));
        held.is_some_and(|held| later.any(|(_, said)| said.what == held.what))
    }

    /// How each job stood by what was let out.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = (JobId, Epoch, JobState)> + '_ {
        self.jobs
            .iter()
            .map(|(job, (epoch, state))| (*job, *epoch, *state))
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Keypair;

    use super::*;

    #[test]
    fn what_was_signed_is_told_by_its_bytes_and_by_what_it_says() {
        let peer = Keypair::from_seed(&[1; 32]).peer_id();
        let mut audit = Audit::default();
        for (sequence, what) in [(10, "a"), (20, "b"), (30, "b"), (40, "a")] {
            audit.signed(peer, sequence, &[sequence as u8], what.as_bytes());
        }
        let last = |by| audit.last_signed(peer, UnixMillis(by));
        assert_eq!([last(9), last(15), last(99)], [None, Some(10), Some(40)]);
        assert!(audit.holds_since(peer, 20, 30) && audit.holds_since(peer, 10, 20));
        assert!(!audit.holds_since(peer, 20, 40) && !audit.holds_since(peer, 10, 41));
        assert!(!audit.holds_since(peer, 15, 10), "nobody signed it");
        assert!(audit.has_signed(peer, 20, &[20]) && !audit.has_signed(peer, 20, &[30]));
    }
}
