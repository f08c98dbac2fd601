//! May this key do this here, now? Every call that a token pays for passes here.

use embermesh_crypto::{
    digest::Digest,
    ids::PeerId,
    time::UnixMillis,
    token::{self, Assignment, Bearer, Expectation, IssuerTrust as _, Method, Refusal, TaskRef},
};
use embermesh_job::turns::Rank;

use crate::trust::Trust;

/// Verifies tokens for this node.
#[derive(Clone)]
pub(crate) struct Gate {
    me: PeerId,
    trust: Trust,
}

/// A token that holds, and the index that wants to hear of what it pays for.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) assignment: Assignment,
    pub(crate) reports_to: Option<PeerId>,
    /// How near the client is to the owner.
    pub(crate) rank: Rank,
}

impl Gate {
    pub(crate) const fn new(me: PeerId, trust: Trust) -> Self {
        Self { me, trust }
    }

    pub(crate) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Verifies a token for one call.
    ///
    /// A key that is not an index's issues for itself only: the owner has allowed
    /// that client, not whomever it may name. The owner's own key names whom it likes.
    pub(crate) fn pass(
        &self,
        token: &str,
        bearer: Bearer,
        method: Method,
        task: Option<TaskRef>,
        spec: Option<Digest>,
        now: UnixMillis,
    ) -> Result<Passed, Refusal> {
        let assignment = token::verify(
            token,
            &Expectation {
                node: self.me,
                bearer,
                method,
                task,
                spec,
                now,
                trust: &self.trust,
            },
        )?;
        let claims = assignment.claims();
        let authority = self
            .trust
            .authority(&claims.issuer, now)
            .ok_or(Refusal::UnknownIssuer(claims.issuer))?
            .identity;
        let is_index = self.trust.is_index(&authority);
        let for_itself = claims.issuer == claims.client || claims.issuer == self.me;
        let by_owner = self.trust.owns(&claims.issuer);
        if !is_index && !for_itself && !by_owner {
            return Err(Refusal::UnknownIssuer(claims.issuer));
        }
        // Whom an index has sent without being known here is a guest.
        let named = if by_owner { Rank::Allowed } else { Rank::Guest };
        let rank = self.trust.rank(&claims.client).unwrap_or(named).min(named);
        Ok(Passed {
            assignment,
            reports_to: is_index.then_some(authority),
            rank,
        })
    }

    /// Whether a client may do without a token what the owner allows.
    pub(crate) fn allows(&self, client: &PeerId) -> bool {
        self.trust.allows(client)
    }
}
