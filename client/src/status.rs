//! From gRPC statuses to the client's errors: one table.

use std::{error::Error as _, io};

use tonic::{Code, Status};

use crate::{ClientError, bounds::CALL_TIMEOUT};

/// The metadata key under which a node sends the stable word of a refusal.
const REFUSAL_KEY: &str = "embermesh-refusal";

/// The metadata key under which a node says why it has no place.
const NO_SLOT_KEY: &str = "embermesh-no-slot";

/// The stable word of a refusal, if the other side gave one.
pub(crate) fn refusal(status: &Status) -> Option<&str> {
    status.metadata().get(REFUSAL_KEY)?.to_str().ok()
}

/// The stable word for why there is no place, if the other side gave one.
pub(crate) fn no_slot(status: &Status) -> Option<&str> {
    status.metadata().get(NO_SLOT_KEY)?.to_str().ok()
}

/// Whether the connection was lost, rather than an answer given.
pub(crate) fn is_lost(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // Statuses that a server sends have no source; those that tonic makes of a
        // broken transport have one.
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
    }
}

/// What a status means, said of `who`.
pub(crate) fn error(who: &str, status: &Status) -> ClientError {
    let who = who.to_owned();
    let message = status.message().to_owned();
    if let Some(code) = refusal(status) {
        return ClientError::Refused {
            who,
            code: code.to_owned(),
            message,
        };
    }
    if is_lost(status) {
        return ClientError::Unreachable {
            what: who,
            reason: told(status),
        };
    }
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => ClientError::Refused {
            who,
            code: String::new(),
            message,
        },
        Code::InvalidArgument | Code::OutOfRange | Code::AlreadyExists => {
            ClientError::Invalid { who, message }
        }
        Code::NotFound => ClientError::NotFound { who, message },
        Code::ResourceExhausted => ClientError::Exhausted { who, message },
        Code::FailedPrecondition | Code::Aborted => ClientError::NotNow { who, message },
        Code::DeadlineExceeded | Code::Cancelled => ClientError::Timeout {
            what: who,
            after: CALL_TIMEOUT,
        },
        Code::Unimplemented => ClientError::Wire {
            who,
            reason: "it does not offer this call".to_owned(),
        },
        _ => ClientError::Failed {
            who,
            message: told(status),
        },
    }
}

/// However the other end, or the network, put it.
fn is_cut(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// The message, with the innermost cause of a broken transport.
fn told(status: &Status) -> String {
    let mut cause = status.source();
    let mut text = status.message().to_owned();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && is_cut(io.kind())
        {
            return "the connection was cut".to_owned();
        }
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_word() {
        let mut status = Status::permission_denied("this attempt has been started before");
        status
            .metadata_mut()
            .insert(REFUSAL_KEY, "replayed".parse().unwrap());
        let refused = error("the node", &status);
        assert_eq!(refused.refusal(), Some("replayed"));
        assert!(refused.is_transient());
        let plain = error("the node", &Status::permission_denied("no"));
        assert_eq!(plain.refusal(), Some(""));
        assert!(!plain.is_transient());
    }

    #[test]
    fn lost_and_answered_are_told_apart() {
        assert!(is_lost(&Status::unavailable("x")));
        assert!(!is_lost(&Status::internal("a fault")));
        let broken = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert!(is_lost(&broken));
        assert!(error("it", &broken).to_string().contains("reset"));
        assert!(matches!(
            error("it", &Status::invalid_argument("x")),
            ClientError::Invalid { .. }
        ));
    }
}
