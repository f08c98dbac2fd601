//! Refusals, as foreign systems hear of them: the same messages, in their closed list.

use embermesh_crypto::token::Refusal;
use embermesh_dialects::{ErrorCode, Failure};
use tonic::{Code, Status};

use crate::{
    service::refusal,
    store::StoreError,
    task::{NotFed, NotStarted},
};

/// A status that has been rendered for this system.
// Taken by value because it stands behind `map_err`.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn status(status: Status) -> Failure {
    let code = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => ErrorCode::Invalid,
        Code::Unauthenticated => ErrorCode::Unauthenticated,
        Code::PermissionDenied => ErrorCode::Denied,
        Code::NotFound => ErrorCode::NotFound,
        Code::AlreadyExists => ErrorCode::Exists,
        Code::FailedPrecondition | Code::Aborted => ErrorCode::Precondition,
        Code::ResourceExhausted => ErrorCode::Exhausted,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => ErrorCode::Unavailable,
        Code::Unimplemented => ErrorCode::Unimplemented,
        _ => ErrorCode::Internal,
    };
    Failure::new(code, status.message())
}

/// A token that does not hold. Whoever holds it out is not who it is for, so that it is
/// one code for all of them; the message says which rule it was.
pub(super) fn token(refused: &Refusal) -> Failure {
    status(refusal::token(refused))
}

/// An attempt that was not started.
pub(super) fn not_started(not: &NotStarted) -> Failure {
    status(refusal::not_started(not))
}

/// What cannot be read or written.
pub(super) fn store(error: &StoreError) -> Failure {
    status(refusal::store(error))
}

/// A client that feeds no more.
pub(super) fn not_fed(not: &NotFed) -> Failure {
    let code = match not {
        NotFed::Replaced | NotFed::Ended => ErrorCode::Precondition,
        NotFed::Silent => ErrorCode::Unavailable,
        NotFed::OutOfTurn { .. } | NotFed::Unasked | NotFed::Part(_) | NotFed::TooMuch { .. } => {
            ErrorCode::Invalid
        }
    };
    Failure::new(code, not.to_string())
}
