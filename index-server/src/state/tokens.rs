//! Assignments: the token, the node's address, and how long both are good.

use embermesh_crypto::{
    ids::{JobId, PeerId, TokenId},
    time::UnixMillis,
    token::{Claims, Methods},
};
use embermesh_job::assignment::NodeAssignment;

use super::{Refused, State, record::TASK};

impl State {
    /// The permission for a job's current attempt, freshly signed. The token id
    /// is the attempt's, however often it is signed, so that withdrawing it
    /// withdraws every copy.
    pub(super) fn assignment(&self, id: JobId, now: UnixMillis) -> Result<NodeAssignment, Refused> {
        let record = self.jobs.get(&id).ok_or(Refused::UnknownJob(id))?;
        self.permission(id, record.job.owner, Methods::all(), now)
    }

    /// The permission for somebody to do some of what can be done with a job's current
    /// attempt. Who may have it is the caller's to judge.
    pub(super) fn permission(
        &self,
        id: JobId,
        client: PeerId,
        methods: Methods,
        now: UnixMillis,
    ) -> Result<NodeAssignment, Refused> {
        let record = self.jobs.get(&id).ok_or(Refused::UnknownJob(id))?;
        let (attempt, open) = match (record.running(), &record.open) {
            (Some(attempt), Some(open)) => (attempt, open),
            _ => {
                return Err(Refused::NotAssigned {
                    job: id,
                    state: record.job.state.as_str(),
                });
            }
        };
        let node = self
            .registry
            .address(&attempt.node)
            .ok_or(Refused::NodeUnknown(attempt.node))?;
        let issued_at = now.as_secs();
        let expires_at = issued_at.saturating_add(self.settings.token_lifetime.as_secs());
        let claims = Claims {
            issuer: self.issuer.signer().ok_or(Refused::NoIssuerKey)?,
            client,
            node: attempt.node,
            job: id,
            task: TASK,
            epoch: attempt.epoch,
            spec: record.job.spec_digest,
            methods,
            ceilings: open.limits.ceilings(),
            token_id: attempt.token_id,
            issued_at,
            not_before: issued_at,
            expires_at,
            revocation_epoch: self.issuer.revocation_epoch(),
        };
        Ok(NodeAssignment {
            job: id,
            task: TASK,
            epoch: attempt.epoch,
            node,
            token: self.issuer.issue(&claims)?,
            expires_at: expires_at.as_millis(),
        })
    }

    /// When a token signed now expires, with the skew that nodes allow.
    pub(super) fn token_horizon(&self, now: UnixMillis) -> UnixMillis {
        now.saturating_add(self.settings.token_lifetime)
            .saturating_add(super::settings::CLOCK_SKEW)
    }
}

/// A fresh id for an attempt's tokens.
pub(super) fn token_id(entropy: &mut super::Entropy) -> TokenId {
    TokenId(entropy.bytes())
}
