//! Tasks that the node gives leave for itself, for clients whom its owner lets use it
//! without an index.

use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId, TaskIndex, TokenId},
    time::UnixMillis,
    token::{self, Bearer, Claims, MAX_LIFETIME_S, Method, Methods},
};
use embermesh_dialects::{ErrorCode, Failure};
use embermesh_job::spec::JobSpec;

use super::{Foreign, failure};
use crate::gate::Passed;

impl Foreign {
    /// Leave for a client to run a job here, under this node's own key.
    ///
    /// # Errors
    /// `Denied` for a client who may use this node through an index alone.
    pub(super) fn leave(&self, client: PeerId, spec: &JobSpec) -> Result<Passed, Failure> {
        self.lets(client)?;
        let gate = &self.inner.parts.gate;
        let keypair = &self.inner.parts.site.keypair;
        let now = UnixMillis::now();
        let claims = Claims {
            issuer: keypair.peer_id(),
            client,
            node: keypair.peer_id(),
            job: JobId::v7(now, rand::random()),
            task: TaskIndex(0),
            epoch: Epoch::FIRST,
            spec: spec.digest(),
            methods: Methods::all(),
            ceilings: spec.limits.ceilings(),
            token_id: TokenId(rand::random()),
            issued_at: now.as_secs(),
            not_before: now.as_secs(),
            expires_at: now.as_secs().saturating_add(MAX_LIFETIME_S),
            revocation_epoch: 0,
        };
        let text = token::issue(&claims, keypair)
            .map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?;
        gate.pass(&text, Bearer::Peer(client), Method::Run, None, None, now)
            .map_err(|refused| failure::token(&refused))
    }

    /// Whether a client may use this node without an index.
    pub(super) fn lets(&self, client: PeerId) -> Result<(), Failure> {
        if self.inner.parts.gate.allows(&client) {
            return Ok(());
        }
        Err(Failure::new(
            ErrorCode::Denied,
            "the owner of this node lets this client run what an index has assigned, and nothing else: submit the job there",
        ))
    }
}
