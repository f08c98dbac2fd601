//! The deployments among the open jobs, as those see them who may ask.
//!
//! Who may ask is the node's to decide, each time: a list only leaves out what a
//! caller has no business with. What this index lets somebody ask, a node that trusts
//! it lets him ask too: it signs a permission for that.

use embermesh_crypto::{
    ids::{JobId, PeerId},
    time::UnixMillis,
    token::Method,
};
use embermesh_job::{event::EventKind, wire::Deployment};

use super::{Refused, Reply, State, settings::DEPLOYMENTS_SHOWN};

impl State {
    /// The newest deployments that the caller may ask. Whether a node lets in
    /// everybody is not known here, so what anyone may ask is shown to everyone.
    pub(super) fn deployments(&self, caller: PeerId) -> Reply {
        let found = self.jobs.iter().rev().filter_map(|(id, record)| {
            let deployed = record.open.as_ref()?.deployed.as_ref()?;
            let job = &record.job;
            if !deployed.askers.admit(&caller, &job.owner, true) {
                return None;
            }
            let running = record.running();
            Some(Deployment {
                job: *id,
                name: job.name.clone(),
                owner: job.owner,
                state: job.state,
                model: deployed.model,
                submitted_at: record.submitted_at,
                node: running.and_then(|attempt| self.registry.address(&attempt.node)),
                loaded: running.is_some_and(|attempt| {
                    let latest = job.latest.as_ref();
                    latest.is_some_and(|event| {
                        event.epoch == attempt.epoch && matches!(event.kind, EventKind::Loaded(_))
                    })
                }),
            })
        });
        Reply::Deployments(found.take(DEPLOYMENTS_SHOWN).collect())
    }

    /// A token by which the caller may ask a deployment where it runs now. One that he
    /// may not ask is, to him, not there.
    pub(super) fn permit_ask(
        &self,
        id: JobId,
        caller: PeerId,
        now: UnixMillis,
    ) -> Result<Reply, Refused> {
        let record = self.jobs.get(&id).ok_or(Refused::UnknownJob(id))?;
        let deployed = record.open.as_ref().and_then(|open| open.deployed.as_ref());
        let may = deployed.is_some_and(|deployed| {
            let owner = &record.job.owner;
            deployed.askers.admit(&caller, owner, true)
        });
        if !may {
            return Err(Refused::UnknownJob(id));
        }
        let methods = [Method::Ask].into_iter().collect();
        let permission = self.permission(id, caller, methods, now)?;
        Ok(Reply::Assignment(Box::new(permission)))
    }
}
