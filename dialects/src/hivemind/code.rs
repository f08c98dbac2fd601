//! The system's numbers for errors, at the head of every `message`: the number, its name,
//! a colon, and the text for people, such as `1003 USER_EXISTS: choose another name`.
//!
//! | what | number |
//! |---|---|
//! | it went well | 0 SUCCESS |
//! | no such user; a wrong password, or a name or password that will not do; a name that is taken; no session | 1001 to 1004 |
//! | no such node; a node that is not heard of; more than there is, of room, money or calls | 2001 to 2003 |
//! | no such task; a task, or a call about one, that failed; a task that was stopped | 3001 to 3003 |
//! | a fault here | 9999 |

use crate::{ErrorCode, Failure};

/// A number with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Success,
    UserNotFound,
    InvalidPassword,
    UserExists,
    InvalidSession,
    NodeNotFound,
    NodeOffline,
    InsufficientResources,
    TaskNotFound,
    TaskFailed,
    TaskCancelled,
    InternalError,
}

/// What a call is about, which decides what "not found" means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Login,
    User,
    Node,
    Task,
}

impl Code {
    const fn head(self) -> &'static str {
        match self {
            Self::Success => "0 SUCCESS",
            Self::UserNotFound => "1001 USER_NOT_FOUND",
            Self::InvalidPassword => "1002 INVALID_PASSWORD",
            Self::UserExists => "1003 USER_EXISTS",
            Self::InvalidSession => "1004 INVALID_SESSION",
            Self::NodeNotFound => "2001 NODE_NOT_FOUND",
            Self::NodeOffline => "2002 NODE_OFFLINE",
            Self::InsufficientResources => "2003 INSUFFICIENT_RESOURCES",
            Self::TaskNotFound => "3001 TASK_NOT_FOUND",
            Self::TaskFailed => "3002 TASK_FAILED",
            Self::TaskCancelled => "3003 TASK_CANCELLED",
            Self::InternalError => "9999 INTERNAL_ERROR",
        }
    }

    /// The message that begins with this number.
    pub(super) fn say(self, text: &str) -> String {
        format!("{}: {text}", self.head())
    }

    fn of(code: ErrorCode, about: About) -> Self {
        match (code, about) {
            (ErrorCode::Unauthenticated, About::Login) => Self::InvalidPassword,
            (ErrorCode::Unauthenticated, _) => Self::InvalidSession,
            (ErrorCode::Exhausted, _) => Self::InsufficientResources,
            (ErrorCode::Internal, _) => Self::InternalError,
            (ErrorCode::NotFound, About::Login | About::User) => Self::UserNotFound,
            (ErrorCode::NotFound, About::Node) => Self::NodeNotFound,
            (ErrorCode::NotFound, About::Task) => Self::TaskNotFound,
            (ErrorCode::Exists, About::Login | About::User) => Self::UserExists,
            (ErrorCode::Unavailable, About::Node) => Self::NodeOffline,
            (ErrorCode::Invalid, About::Login) => Self::InvalidPassword,
            (ErrorCode::Denied, About::Login | About::User) => Self::InvalidSession,
            (_, About::Task) => Self::TaskFailed,
            _ => Self::InternalError,
        }
    }
}

/// Whether a call went well, and the message for it: a success says what is good about
/// it, a failure why not.
pub(super) fn answer(result: Result<String, Failure>, about: About) -> (bool, String) {
    match result {
        Ok(text) => (true, Code::Success.say(&text)),
        Err(failure) => (false, refusal(&failure, about)),
    }
}

/// The message of a failure.
pub(super) fn refusal(failure: &Failure, about: About) -> String {
    Code::of(failure.code, about).say(&failure.message)
}

/// A failure where the answer has no room for one: a gRPC status with the same message.
pub(super) fn status(failure: &Failure, about: About) -> tonic::Status {
    tonic::Status::new(failure.code.grpc(), refusal(failure, about))
}
