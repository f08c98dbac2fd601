//! Permissions to ask deployments, kept as long as they are good.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use embermesh_crypto::{ids::JobId, time::UnixMillis};
use embermesh_job::assignment::NodeAssignment;

use crate::bounds::{MAX_PERMITS, PERMIT_SLACK};

/// The permissions that a client has.
#[derive(Default)]
pub(crate) struct Permits {
    kept: Mutex<BTreeMap<JobId, NodeAssignment>>,
}

impl Permits {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<JobId, NodeAssignment>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token for a deployment, if there is one that is good for a while.
    pub(crate) fn token(&self, job: JobId, now: UnixMillis) -> Option<String> {
        let kept = self.kept();
        let permit = kept.get(&job)?;
        let good = now.saturating_add(PERMIT_SLACK) < permit.expires_at;
        good.then(|| permit.token.clone())
    }

    /// Keeps a permission; of too many, the one that ends first is dropped.
    pub(crate) fn keep(&self, permit: NodeAssignment) {
        let mut kept = self.kept();
        if kept.len() >= MAX_PERMITS && !kept.contains_key(&permit.job) {
            let first = kept.iter().min_by_key(|(_, permit)| permit.expires_at);
            if let Some(job) = first.map(|(job, _)| *job) {
                kept.remove(&job);
            }
        }
        kept.insert(permit.job, permit);
    }

    /// Drops a permission that a node did not take.
    pub(crate) fn forget(&self, job: JobId) {
        self.kept().remove(&job);
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::{Epoch, Keypair, TaskIndex};
    use embermesh_job::address::PeerAddress;

    use super::*;

    fn permit(number: u64, expires_at: u64) -> NodeAssignment {
        let mut tail = [0; 10];
        tail[2..].copy_from_slice(&number.to_be_bytes());
        NodeAssignment {
            job: JobId::v7(UnixMillis(1), tail),
            task: TaskIndex(0),
            epoch: Epoch(1),
            node: PeerAddress {
                peer: Keypair::from_seed(&[1; 32]).peer_id(),
                tls: Vec::new(),
                mesh: Vec::new(),
            },
            token: number.to_string(),
            expires_at: UnixMillis(expires_at),
        }
    }

    #[test]
    fn a_permit_is_used_until_shortly_before_its_end_and_the_first_to_end_makes_room() {
        let permits = Permits::default();
        let end = 1_000_000;
        let first = permit(0, end);
        permits.keep(first.clone());
        let slack = u64::try_from(PERMIT_SLACK.as_millis()).unwrap();
        let at = |now| permits.token(first.job, UnixMillis(now));
        assert_eq!(at(end - slack - 1).as_deref(), Some("0"));
        assert_eq!(at(end - slack), None);
        for number in 1..=MAX_PERMITS as u64 {
            permits.keep(permit(number, end + number));
        }
        assert_eq!(at(0), None);
        let last = permit(MAX_PERMITS as u64, 0).job;
        assert!(permits.token(last, UnixMillis(0)).is_some());
        permits.forget(last);
        assert_eq!(permits.token(last, UnixMillis(0)), None);
    }
}
