//! Permissions to ask one model once, for systems whose clients carry them from one
//! service to another.

use embermesh_crypto::{Digest, UnixMillis};

use super::Principal;
use crate::Failure;

/// What a session allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who may ask.
    pub client: Principal,
    /// Where: the id of a node or of an agent.
    pub agent: String,
    /// Which model.
    pub model: String,
    /// The digest of what may be asked; nothing when that was not said.
    pub prompt: Option<Digest>,
}

/// A session as its client gets it. `Debug` leaves the token out.
#[derive(Clone)]
pub struct Issued {
    /// A compact JWS (RFC 7515), signed with RS256, which is what verifiers of these
    /// systems take.
    pub token: String,
    /// Its id.
    pub id: String,
    /// Until when it can be redeemed.
    pub expires: UnixMillis,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// The verbs over sessions.
#[tonic::async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// Gives a session.
    async fn issue(&self, grant: &Grant) -> Result<Issued, Failure>;

    /// Takes a session for a prompt: once.
    ///
    /// # Errors
    /// `Unauthenticated` for a token that does not verify, has expired, was given for
    /// another prompt, or was taken before.
    async fn redeem(&self, token: &str, prompt: Digest) -> Result<Grant, Failure>;

    /// The key that verifies sessions, as PEM (SubjectPublicKeyInfo, RFC 7468). It stays
    /// the same across restarts.
    fn public_key(&self) -> String;

    /// The time, by the clock of this side.
    fn now(&self) -> UnixMillis;

    /// Since when this side has run.
    fn started_at(&self) -> UnixMillis;

    /// Where others reach the services of this side: `host:port`.
    fn endpoint(&self) -> String;
}
