//! Direct computation on a node: asked and answered in one call.

use bytes::Bytes;

use super::{Call, execution::Order};
use crate::Failure;

/// What came out of a computation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// The results by name, as a safetensors file of 32-bit floats.
    pub results: Bytes,
    /// Milliseconds from its start to its end.
    pub took_ms: u64,
}

/// The verb over computations.
#[tonic::async_trait]
pub trait Computing: Send + Sync + 'static {
    /// Whether a call may have something computed, at no cost.
    ///
    /// # Errors
    /// `Unauthenticated` or `Denied` for whoever the owner of the node does not let use
    /// it without an index.
    fn may_compute(&self, call: &Call) -> Result<(), Failure>;

    /// Runs a computation as a task of its own and gives its results. Whoever goes away
    /// ends it.
    ///
    /// # Errors
    /// As above; `Invalid` for a computation that cannot be, with the operation's name,
    /// `Exhausted` where no slot is free.
    async fn compute(&self, call: &Call, order: Order) -> Result<Computed, Failure>;
}
