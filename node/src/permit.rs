//! Permits that this node gives itself: tokens under its own key, for clients whom its
//! owner lets use it without an index.

use embermesh_crypto::{
    digest::Digest,
    ids::{Epoch, JobId, PeerId, TaskIndex, TokenId},
    keys::Keypair,
    time::UnixMillis,
    token::{self, Ceilings, Claims, InvalidClaims, MAX_LIFETIME_S, Methods},
};

/// What a permit is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permitted {
    pub(crate) client: PeerId,
    pub(crate) job: JobId,
    pub(crate) epoch: Epoch,
    pub(crate) spec: Digest,
    pub(crate) ceilings: Ceilings,
}

/// A token for one attempt at the only task of a job, and when it expires.
pub(crate) fn issue(
    keypair: &Keypair,
    permitted: &Permitted,
    now: UnixMillis,
) -> Result<(String, UnixMillis), InvalidClaims> {
    let claims = Claims {
        issuer: keypair.peer_id(),
        client: permitted.client,
        node: keypair.peer_id(),
        job: permitted.job,
        task: TaskIndex(0),
        epoch: permitted.epoch,
        spec: permitted.spec,
        methods: Methods::all(),
        ceilings: permitted.ceilings,
        token_id: TokenId(rand::random()),
        issued_at: now.as_secs(),
        not_before: now.as_secs(),
        expires_at: now.as_secs().saturating_add(MAX_LIFETIME_S),
        revocation_epoch: 0,
    };
    let text = token::issue(&claims, keypair)?;
    Ok((text, claims.expires_at.as_millis()))
}
