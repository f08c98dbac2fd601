//! Each refusal as a gRPC status: one table, used by every method.

use embermesh_job::ledger;
use tonic::{Code, Status, metadata::MetadataValue};

use crate::{actor::CallFailed, state::Refused, store::StoreError};

/// The metadata key under which the stable word of a ledger's refusal goes.
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
    if let CallFailed::Refused(Refused::Ledger(refused)) = failed {
        let word = MetadataValue::from_static(refused.code());
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
        Refused::NodeUnknown(_) => Code::Unavailable,
        Refused::NoIssuerKey => Code::Internal,
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
