//! Who somebody is.

use std::net::IpAddr;

use embermesh_crypto::UnixMillis;

use super::Principal;
use crate::{Dialect, Failure};

/// What a call says of who makes it. `Debug` leaves the token out.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A token, from the metadata (`authorization: Bearer …`) or from a field.
    pub token: Option<String>,
    /// A name that the caller gives without proof.
    pub claimed: Option<String>,
    /// Where the call comes from; nothing when that is not known.
    pub remote: Option<IpAddr>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("claimed", &self.claimed)
            .field("remote", &self.remote)
            .finish()
    }
}

/// A session of somebody who has logged in.
#[derive(Clone)]
pub struct Session {
    /// What proves it from now on. It is kept as a hash only.
    pub token: String,
    /// Until when.
    pub expires: UnixMillis,
}

/// Names, passwords and sessions.
#[tonic::async_trait]
pub trait Users: Send + Sync + 'static {
    /// Who makes a call. A token that is good is who it was given to, whatever is
    /// claimed. Without one, a claim is believed only where the policy of the dialect is
    /// `legacy`, and only from an address that it allows.
    ///
    /// # Errors
    /// [`Unauthenticated`](crate::ErrorCode::Unauthenticated), with what would be taken.
    async fn authenticate(
        &self,
        dialect: Dialect,
        credentials: Credentials,
    ) -> Result<Principal, Failure>;

    /// Makes a user.
    ///
    /// # Errors
    /// When there is one of that name, or name or password are not fit, or too many were
    /// made from there.
    async fn register(
        &self,
        dialect: Dialect,
        name: &str,
        password: &str,
        remote: Option<IpAddr>,
    ) -> Result<(), Failure>;

    /// Whether there is somebody of that name. Whoever keeps no names knows everybody.
    async fn exists(&self, _dialect: Dialect, _name: &str) -> Result<bool, Failure> {
        Ok(true)
    }

    /// Gives a session to a user.
    ///
    /// # Errors
    /// `NotFound` for a user who is not there, `Unauthenticated` for a wrong password,
    /// `Exhausted` after too many of those.
    async fn login(
        &self,
        dialect: Dialect,
        name: &str,
        password: &str,
        remote: Option<IpAddr>,
    ) -> Result<Session, Failure>;
}
