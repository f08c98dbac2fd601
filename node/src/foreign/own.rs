//! Tasks that the node gives leave for itself, for clients whom its owner lets use it
//! without an index.

use embermesh_crypto::{
    ids::{Epoch, JobId, PeerId},
    time::UnixMillis,
    token::{Bearer, Method},
};
use embermesh_dialects::{ErrorCode, Failure};
use embermesh_job::spec::JobSpec;

use super::{Foreign, failure};
use crate::{
    gate::Passed,
    permit::{self, Permitted},
};

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
        let permitted = Permitted {
            client,
            job: JobId::v7(now, rand::random()),
            epoch: Epoch::FIRST,
            spec: spec.digest(),
            ceilings: spec.limits.ceilings(),
        };
        let (text, _) = permit::issue(keypair, &permitted, now)
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
