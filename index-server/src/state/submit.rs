//! Taking a job on.

use embermesh_crypto::{ids::JobId, time::UnixMillis};
use embermesh_job::{lifecycle::Job, units::MicroUnits};

use super::{
    Assigned, Entropy, Outputs, Refused, RememberedSubmit, Reply, State, Submit,
    record::{OpenSpec, Record},
};

impl State {
    /// Takes a job on, places it if a node is free, and answers with the job and
    /// its assignment. A submit that was heard before is answered with the job
    /// that it made.
    pub(super) fn submit(
        &mut self,
        submit: Submit,
        now: UnixMillis,
        entropy: &mut Entropy,
        out: &mut Outputs,
    ) -> Result<Reply, Refused> {
        if let Some((job, spec)) = self.idempotency.find(submit.client, submit.idempotency) {
            let same = spec == submit.digest && self.has_budget(job, submit.budget);
            return self.submitted_before(job, same, now);
        }
        self.check_room(&submit)?;
        let id = self.ids.next(now, entropy);
        // The first of what is changed, and the last that can be refused.
        let bill = self.open_bill(id, &submit, now)?;
        let job = Job::new(
            id,
            submit.spec.name.clone(),
            submit.client,
            submit.digest,
            submit.spec.attempts,
            now,
        );
        self.idempotency.remember(RememberedSubmit {
            client: submit.client,
            key: submit.idempotency,
            job: id,
            spec: submit.digest,
        });
        self.spec_bytes += submit.canonical.len();
        *self.open.entry(submit.client).or_default() += 1;
        self.writes.specs.push((id, submit.canonical.clone()));
        self.jobs.insert(
            id,
            Record {
                job,
                open: Some(OpenSpec::new(&submit.spec, submit.canonical)),
                idempotency: submit.idempotency,
                submitted_at: now,
                updated_at: now,
                journal_written: 0,
                bill,
                terms: None,
                unclaimed: submit.tentative,
            },
        );
        self.dirty.insert(id);
        self.enqueue(id);
        out.changed.insert(id);
        // While the queue is being walked, those who waited come first.
        if self.walk.is_none() {
            self.place(id, now, entropy, out);
        }
        self.assigned_reply(id, now)
    }

    /// Whether a job was given this budget, as far as that is in memory.
    fn has_budget(&self, job: JobId, budget: Option<MicroUnits>) -> bool {
        let had = |record: &Record| record.bill.as_ref().map(|bill| bill.budget);
        self.jobs
            .get(&job)
            .is_none_or(|record| had(record) == budget)
    }

    fn submitted_before(&self, job: JobId, same: bool, now: UnixMillis) -> Result<Reply, Refused> {
        if !same {
            return Err(Refused::KeyReused { job });
        }
        if !self.jobs.contains_key(&job) {
            return Ok(Reply::Earlier(job));
        }
        self.assigned_reply(job, now)
    }

    /// A job with its assignment, if it has one.
    fn assigned_reply(&self, id: JobId, now: UnixMillis) -> Result<Reply, Refused> {
        let assignment = match self.assignment(id, now) {
            Ok(assignment) => Some(assignment),
            Err(Refused::NotAssigned { .. } | Refused::NodeUnknown(_)) => None,
            Err(refused) => return Err(refused),
        };
        Ok(Reply::Assigned(Box::new(Assigned {
            job: self.snapshot(id)?,
            assignment,
        })))
    }

    fn check_room(&self, submit: &Submit) -> Result<(), Refused> {
        let settings = &self.settings;
        if self.jobs.len() - self.ended.len() >= settings.open_jobs {
            return Err(Refused::QueueFull {
                most: settings.open_jobs,
            });
        }
        let of_client = self.open.get(&submit.client).copied().unwrap_or(0);
        if of_client >= settings.open_jobs_per_client {
            return Err(Refused::ClientQueueFull {
                most: settings.open_jobs_per_client,
            });
        }
        if self.spec_bytes + submit.canonical.len() > settings.open_spec_bytes {
            return Err(Refused::SpecsFull {
                most: settings.open_spec_bytes,
            });
        }
        Ok(())
    }
}
