//! What a job's owner, and an administrator, may ask.

use bytes::Bytes;
use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    time::UnixMillis,
};
use embermesh_job::{lifecycle::Input, order::Order};

use super::{Assigned, Entropy, Outputs, Refused, Reply, State, record::Record, tokens::token_id};

impl State {
    /// The job, with its assignment for its owner when the attempt is news.
    pub(super) fn watch(
        &self,
        id: JobId,
        caller: PeerId,
        known: Option<Epoch>,
        now: UnixMillis,
    ) -> Result<Reply, Refused> {
        let record = self.record(id)?;
        let news = record
            .running()
            .is_some_and(|attempt| Some(attempt.epoch) != known);
        let assignment = if news && record.job.owner == caller {
            // A node that has not come back yet has no address: the next change
            // will bring the assignment.
            self.assignment(id, now).ok()
        } else {
            None
        };
        Ok(Reply::Assigned(Box::new(Assigned {
            job: self.snapshot(id)?,
            assignment,
        })))
    }

    /// The client of a job has been heard of: he has not gone elsewhere with it.
    pub(super) fn claimed_by(&mut self, id: JobId, caller: PeerId) {
        let his = |record: &Record| record.job.owner == caller;
        if self.jobs.get(&id).is_some_and(his) {
            self.claim(id);
        }
    }

    /// The job is its client's wish, whoever has said so.
    pub(super) fn claim(&mut self, id: JobId) {
        if let Some(record) = self.jobs.get_mut(&id)
            && std::mem::take(&mut record.unclaimed)
        {
            self.dirty.insert(id);
        }
    }

    /// Ends a job for its owner: at once while it waits, else by an order.
    pub(super) fn cancel(
        &mut self,
        id: JobId,
        caller: PeerId,
        now: UnixMillis,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        let record = self.owned(id, caller)?;
        // A cancel sent again, or just too late, is answered with what became
        // of the job.
        if record.outcome().is_none() {
            self.step(id, Input::Cancel { by: caller }, now, out)?;
        }
        Ok(Reply::Job(Box::new(self.snapshot(id)?)))
    }

    /// A fresh token for the attempt that runs now.
    pub(super) fn renew(
        &self,
        id: JobId,
        epoch: Epoch,
        caller: PeerId,
        now: UnixMillis,
    ) -> Result<Reply, Refused> {
        let record = self.owned(id, caller)?;
        let current = record.job.epoch;
        if epoch.0 != 0 && epoch != current {
            return Err(Refused::StaleEpoch {
                job: id,
                asked: epoch,
                current,
            });
        }
        Ok(Reply::Assignment(Box::new(self.assignment(id, now)?)))
    }

    /// Voids every token of a job so far. The attempt gets a new token id, so
    /// that its owner can renew.
    pub(super) fn revoke(
        &mut self,
        id: JobId,
        caller: PeerId,
        now: UnixMillis,
        entropy: &mut Entropy,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        let record = self.owned(id, caller)?;
        // No token is signed for an attempt that is over, so some time after its
        // end there is nothing left to void.
        let tokens: Vec<_> = record
            .job
            .attempts
            .iter()
            .filter(|attempt| {
                let ended = attempt.ended.as_ref();
                ended.is_none_or(|end| self.token_horizon(end.at) > now)
            })
            .map(|attempt| attempt.token_id)
            .collect();
        let running = record.running().is_some();
        let expires_at = self.token_horizon(now);
        let news = self.issuer.revoke(caller, tokens, expires_at, now)?;
        if running && let Some(record) = self.jobs.get_mut(&id) {
            if let Some(attempt) = record.job.attempts.last_mut() {
                attempt.token_id = token_id(entropy);
            }
            self.dirty.insert(id);
        }
        let bytes = self.revocation_bytes().unwrap_or_default();
        if news {
            out.broadcast.push(Order::Revocation(bytes.to_vec()));
        }
        Ok(Reply::Statement(bytes))
    }

    /// Signs with the next key from now on.
    pub(super) fn rotate(
        &mut self,
        caller: PeerId,
        now: UnixMillis,
        entropy: &mut Entropy,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        if !self.administers(caller) {
            return Err(Refused::NotAdministrator);
        }
        self.issuer.rotate(&self.settings, now, entropy)?;
        self.publish_key_set(out);
        Ok(self.key_set())
    }

    /// Whether a key is the index's own or an administrator's.
    pub(super) fn administers(&self, caller: PeerId) -> bool {
        caller == self.issuer.identity() || self.settings.administrators.contains(&caller)
    }

    /// The signed key set.
    pub(super) fn key_set(&self) -> Reply {
        Reply::Statement(self.key_set_bytes())
    }

    pub(super) fn key_set_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.issuer.key_set().bytes())
    }

    pub(super) fn revocation_bytes(&self) -> Option<Bytes> {
        let signed = self.issuer.revocation()?;
        Some(Bytes::copy_from_slice(signed.bytes()))
    }

    /// The jobs that are in memory, of those asked for.
    pub(super) fn show(&mut self, jobs: &[JobId]) -> Reply {
        let found = jobs.iter().filter_map(|id| self.summary(*id));
        Reply::Jobs(found.collect())
    }

    pub(super) fn record(&self, id: JobId) -> Result<&Record, Refused> {
        self.jobs.get(&id).ok_or(Refused::UnknownJob(id))
    }

    fn owned(&self, id: JobId, caller: PeerId) -> Result<&Record, Refused> {
        let record = self.record(id)?;
        if record.job.owner != caller {
            return Err(Refused::NotOwner { job: id });
        }
        Ok(record)
    }
}
