//! What an error of the mesh means to a foreign client.

use embermesh_client::ClientError;
use embermesh_dialects::{ErrorCode, Failure};

/// The same failure in the one closed list of the dialects.
pub(crate) fn failure(error: &ClientError) -> Failure {
    let code = match error {
        ClientError::Spec(_)
        | ClientError::Ask(_)
        | ClientError::Invalid { .. }
        | ClientError::SeveralModels { .. } => ErrorCode::Invalid,
        ClientError::NotFound { .. } | ClientError::NoModel(_) => ErrorCode::NotFound,
        ClientError::Refused { .. } => ErrorCode::Denied,
        ClientError::Exhausted { .. } => ErrorCode::Exhausted,
        ClientError::NotNow { .. } | ClientError::NoNode { .. } => ErrorCode::Precondition,
        ClientError::Unreachable { .. }
        | ClientError::NoIndex { .. }
        | ClientError::Timeout { .. }
        | ClientError::NotLoaded { .. } => ErrorCode::Unavailable,
        _ => ErrorCode::Internal,
    };
    Failure::new(code, error.to_string())
}

/// A fault of this gateway's own store, whose details are for its operator alone.
pub(crate) fn store_failed(error: &impl std::fmt::Display) -> Failure {
    tracing::error!(%error, "the gateway's store failed");
    Failure::new(
        ErrorCode::Internal,
        "the gateway's store failed; its operator's log says how",
    )
}
