//! Why a call to the actor was not answered with a reply.

use std::sync::Arc;

use thiserror::Error;

use crate::{state::Refused, store::StoreError};

/// A call that came to nothing.
#[derive(Debug, Error)]
pub(crate) enum CallFailed {
    /// The state machine would not.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What the call would have changed could not be made durable, so it was
    /// not changed.
    #[error("nothing was changed: {0}")]
    Store(Arc<StoreError>),
    /// The queue stayed full for as long as a caller waits.
    #[error("the index has more to do than it can queue; try again in a moment")]
    Busy,
    /// The index is stopping or has stopped.
    #[error("the index is stopping")]
    Stopped,
}
