//! Each refusal as a gRPC status: one table, used by every method.

use embermesh_job::{ledger, reservation};
use tonic::{Code, Status, metadata::MetadataValue};

use crate::{actor::CallFailed, state::Refused, store::StoreError};

/// The metadata key under which the stable word goes of what the ledger or the
/// reservations refuse.
const REFUSAL: &str = "embermesh-refusal";

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
    let mut status = Status::new(code, message);
    if let CallFailed::Refused(refused) = failed
        && let Some(word) = word_of(refused)
    {
        let word = MetadataValue::from_static(word);
        status.metadata_mut().insert(REFUSAL, word);
    }
    status
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

/// The stable word of a refusal that programs tell from others of its code.
fn word_of(refused: &Refused) -> Option<&'static str> {
    match refused {
        Refused::Ledger(refused) => Some(refused.code()),
        Refused::Reservation(refused) => Some(refused.code()),
        _ => None,
    }
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
        Refused::Ledger(refused) => code_of_ledger(refused),
        Refused::Reservation(refused) => code_of_reservation(refused),
        Refused::NodeUnknown(_) => Code::Unavailable,
        Refused::NoIssuerKey => Code::Internal,
    }
}

fn code_of_reservation(refused: &reservation::Refused) -> Code {
    use reservation::Refused as No;
    match refused {
        No::Unknown(_) => Code::NotFound,
        No::NotOwner(_) => Code::PermissionDenied,
        No::Length | No::Shorter(_) => Code::InvalidArgument,
        No::KeyReused(_) | No::AlreadyReserved(_) => Code::AlreadyExists,
        No::Over(_) | No::NotLive(_) | No::Draining(_) | No::Busy { .. } | No::TooDear { .. } => {
            Code::FailedPrecondition
        }
        No::TooMany { .. } | No::Full { .. } | No::TooManyExtensions { .. } => {
            Code::ResourceExhausted
        }
    }
}

fn code_of_ledger(refused: &ledger::Refused) -> Code {
    use ledger::Refused as No;
    match refused {
        No::ZeroAmount
        | No::AmountTooLarge
        | No::SameAccount
        | No::CaptureTooLarge { .. }
        | No::Lifetime => Code::InvalidArgument,
        No::InsufficientFunds { .. } | No::HoldExpired(_) => Code::FailedPrecondition,
        No::NotOwner(_) | No::NotAdministrator | No::NotItsHolder(_) => Code::PermissionDenied,
        No::NoHold(_) => Code::NotFound,
        No::KeyReused { .. } => Code::AlreadyExists,
        No::LookAgain => Code::Unavailable,
        No::TooManyHolds { .. }
        | No::HoldsFull { .. }
        | No::TooManyAccounts { .. }
        | No::IssuanceFull { .. } => Code::ResourceExhausted,
        No::Overflow => Code::OutOfRange,
    }
}
