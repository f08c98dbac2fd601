//! Keys that the owner of a node gives to programs that may look at it.

use embermesh_crypto::UnixMillis;

use super::super::Call;
use crate::Failure;

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: String,
    /// What the owner calls it.
    pub name: String,
    /// How its secret begins.
    pub prefix: String,
    /// When it was made.
    pub made: UnixMillis,
    /// When it was shown last, since the node started.
    pub used: Option<UnixMillis>,
    /// Calls that it let in, since the node started.
    pub calls: u64,
    /// Calls that it lets in within a minute.
    pub per_minute: u32,
}

/// The verbs over keys. The owner's alone.
#[tonic::async_trait]
pub trait Keys: Send + Sync + 'static {
    /// Every key.
    async fn keys(&self, call: &Call) -> Result<Vec<KeyView>, Failure>;

    /// Makes one. Its secret is said here and never again. `per_minute` of 0 is the
    /// usual.
    async fn make_key(
        &self,
        call: &Call,
        name: &str,
        per_minute: u32,
    ) -> Result<(KeyView, String), Failure>;

    /// Ends one, at once and for good.
    async fn revoke_key(&self, call: &Call, id: &str) -> Result<(), Failure>;
}
