//! Who may do what. A key that the transport has proven counts as it does on the node's
//! own service; without one, a token alone is enough from this machine and from the
//! networks of the owner's configuration, and from nowhere else.

use std::sync::Arc;

use embermesh_crypto::{
    ids::PeerId,
    time::UnixMillis,
    token::{Bearer, Claims, IssuerTrust as _, Method, Refusal},
};
use embermesh_dialects::{
    ErrorCode, Failure,
    network::Network,
    port::node::{Call, Line},
};
use embermesh_job::wire;

use super::{Foreign, failure};
use crate::{gate::Passed, service::tasks, task::Found};

/// A call that may be made.
pub(super) struct Permit {
    pub(super) passed: Passed,
    /// Held by a stream of it.
    pub(super) stream: Option<Arc<()>>,
}

impl Permit {
    pub(super) fn claims(&self) -> &Claims {
        self.passed.assignment.claims()
    }
}

impl Foreign {
    /// The key at the other end of a line, if one is proven.
    ///
    /// # Errors
    /// `Denied` for a line without a key from where none may come.
    pub(super) fn comer(&self, line: &Line) -> Result<Option<PeerId>, Failure> {
        if line.key.is_some() {
            return Ok(line.key);
        }
        if is_near(line, &self.inner.parts.networks) {
            return Ok(None);
        }
        Err(Failure::new(
            ErrorCode::Denied,
            "a client without a key may come from the node's own machine alone: its owner lets others in by `dialects_from`",
        ))
    }

    /// The permission that a call's line has opened before for a job by that name, or
    /// that the call holds out.
    pub(super) fn permit(&self, call: &Call, method: Method) -> Result<Permit, Failure> {
        self.comer(&call.line)?;
        let named = !call.job.is_empty() || call.token.is_none();
        let session = named.then(|| self.inner.sessions.find(&call.line, &call.job));
        match (session.flatten(), &call.token) {
            (Some((passed, stream)), _) => {
                self.stands(passed.assignment.claims(), method)?;
                Ok(Permit {
                    passed,
                    stream: Some(stream),
                })
            }
            (None, Some(_)) => self.shown(call, method),
            (None, None) => Err(Failure::new(
                ErrorCode::Unauthenticated,
                "connect to the node first, with the token of the job's assignment; one that was unused for ten minutes is forgotten",
            )),
        }
    }

    /// The permission that a call holds out.
    pub(super) fn shown(&self, call: &Call, method: Method) -> Result<Permit, Failure> {
        let bearer = match self.comer(&call.line)? {
            Some(key) => Bearer::Peer(key),
            None => Bearer::Holder,
        };
        let token = call.token.as_deref().unwrap_or_default();
        let passed = self
            .inner
            .parts
            .gate
            .pass(token, bearer, method, None, None, UnixMillis::now())
            .map_err(|refused| failure::token(&refused))?;
        is_meant(&call.job, passed.assignment.claims())?;
        Ok(Permit {
            passed,
            stream: None,
        })
    }

    /// Whether what was opened before allows this, and has not been taken back.
    fn stands(&self, claims: &Claims, method: Method) -> Result<(), Failure> {
        let refuse = |refused: Refusal| Err(failure::token(&refused));
        if !claims.methods.contains(method) {
            return refuse(Refusal::MethodNotAllowed(method));
        }
        let trust = self.inner.parts.gate.trust();
        let Some(authority) = trust.authority(&claims.issuer, UnixMillis::now()) else {
            return refuse(Refusal::UnknownIssuer(claims.issuer));
        };
        let is_old = claims.revocation_epoch < authority.min_revocation_epoch;
        if is_old || trust.is_revoked(&claims.issuer, &claims.token_id) {
            return refuse(Refusal::Revoked);
        }
        Ok(())
    }

    /// The task that a call may speak of.
    pub(super) async fn found(&self, permit: &Permit) -> Result<Found, Failure> {
        let found = tasks::found(&self.inner.parts.tasks, permit.claims()).await;
        found.map_err(failure::status)
    }
}

/// Whether a line without a key comes from where such lines may.
fn is_near(line: &Line, networks: &[Network]) -> bool {
    let remote = line.remote.map(|remote| remote.ip().to_canonical());
    remote.is_some_and(|remote| {
        remote.is_loopback() || networks.iter().any(|network| network.holds(remote))
    })
}

/// Whether a name can be the job's of a token. An id must be its id; any other name is
/// the caller's own.
fn is_meant(job: &str, claims: &Claims) -> Result<(), Failure> {
    match wire::job_id(job) {
        Ok(id) if id != claims.job => Err(failure::token(&Refusal::WrongJob)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_key_comes_from_this_machine_or_where_the_owner_says() {
        let line = |text: &str| Line {
            remote: Some(text.parse().unwrap()),
            key: None,
        };
        let networks = ["10.1.0.0/16".parse().unwrap()];
        for (from, alone, let_in) in [
            ("127.0.0.1:1", true, true),
            ("[::1]:1", true, true),
            ("[::ffff:127.0.0.1]:1", true, true),
            ("10.1.2.3:1", false, true),
            ("10.2.2.3:1", false, false),
            ("192.0.2.1:1", false, false),
        ] {
            assert_eq!(is_near(&line(from), &[]), alone, "{from}");
            assert_eq!(is_near(&line(from), &networks), let_in, "{from}");
        }
        // A road of the mesh has no address.
        assert!(!is_near(&Line::default(), &networks));
    }
}
