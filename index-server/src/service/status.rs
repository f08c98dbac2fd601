//! Each refusal as a gRPC status: one table, used by every method.

use tonic::{Code, Status};

use crate::{actor::CallFailed, state::Refused, store::StoreError};

/// What a stranger reads when the store failed; the log says more.
fn store_failed(error: &StoreError) -> (Code, String) {
    match error {
        StoreError::DiskFull { .. } => (
            Code::ResourceExhausted,
            "nothing was changed: the index's disk is full; tell its operator, and try again later"
                .to_owned(),
        ),
        _ => (
            Code::Unavailable,
            "nothing was changed: the index could not write it down; try again".to_owned(),
        ),
    }
}

/// The status of a call that came to nothing.
pub(super) fn status(failed: &CallFailed) -> Status {
    let (code, message) = match failed {
        CallFailed::Refused(refused) => (code_of(refused), refused.to_string()),
        CallFailed::Store(error) => store_failed(error),
        CallFailed::Busy => (Code::ResourceExhausted, failed.to_string()),
        CallFailed::Stopped => (Code::Unavailable, failed.to_string()),
    };
    Status::new(code, message)
}

/// The status of a read of the store that failed.
pub(super) fn read_failed(error: &StoreError) -> Status {
    tracing::error!(%error, "the store could not be read");
    Status::unavailable("the index could not read its store; try again")
}

/// A malformed request, in words that name the field.
pub(super) fn invalid(field: &str, error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {error}"))
}

fn code_of(refused: &Refused) -> Code {
    match refused {
        Refused::UnknownJob(_) => Code::NotFound,
        Refused::NotOwner { .. } | Refused::NotItsNode { .. } | Refused::NotAdministrator => {
            Code::PermissionDenied
        }
        Refused::QueueFull { .. }
        | Refused::ClientQueueFull { .. }
        | Refused::SpecsFull { .. }
        | Refused::TooManyNodes { .. }
        | Refused::TooManyIssuerKeys { .. }
        | Refused::TooManyRevocations { .. } => Code::ResourceExhausted,
        Refused::KeyReused { .. } => Code::AlreadyExists,
        Refused::NotAssigned { .. }
        | Refused::StaleEpoch { .. }
        | Refused::Lifecycle { .. }
        | Refused::NotRegistered(_) => Code::FailedPrecondition,
        Refused::Advert { .. }
        | Refused::Receipt { .. }
        | Refused::Statement(_)
        | Refused::TooMany { .. }
        | Refused::Claims(_) => Code::InvalidArgument,
        Refused::NodeUnknown(_) => Code::Unavailable,
        Refused::NoIssuerKey => Code::Internal,
    }
}
