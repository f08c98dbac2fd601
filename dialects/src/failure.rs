//! The one closed list of errors. A dialect with errors of its own renders it in its
//! style; for the others it is a gRPC status.

use thiserror::Error;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request cannot be right.
    Invalid,
    /// Who asks is not known.
    Unauthenticated,
    /// Who asks may not.
    Denied,
    /// There is none such.
    NotFound,
    /// There is one already.
    Exists,
    /// Not in this state.
    Precondition,
    /// More than there may be: of money, of room, of calls.
    Exhausted,
    /// Later, perhaps.
    Unavailable,
    /// Not served, on purpose.
    Unimplemented,
    /// A fault here.
    Internal,
}

impl ErrorCode {
    /// The gRPC code.
    #[must_use]
    pub const fn grpc(self) -> tonic::Code {
        use tonic::Code;
        match self {
            Self::Invalid => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Denied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Exists => Code::AlreadyExists,
            Self::Precondition => Code::FailedPrecondition,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Failure {
    /// Of which kind.
    pub code: ErrorCode,
    /// What happened and what to do, for people.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The request cannot be right.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// There is none such.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code.grpc(), failure.message)
    }
}
