//! Why a file is refused.

/// What is wrong with a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGguf {
    /// Another format.
    #[error("it is not a GGUF file")]
    Magic,
    /// A version that is not read, or big endian.
    #[error("it is of GGUF version {0}, and versions 2 and 3 in little endian are read")]
    Version(u32),
    /// It ends too early, or a length in it lies.
    #[error("at byte {at}: the {what} takes {needed} bytes, and {left} are left")]
    Truncated {
        /// Where in the file.
        at: usize,
        /// What was being read.
        what: &'static str,
        /// How long it says it is.
        needed: u64,
        /// Bytes that follow.
        left: usize,
    },
    /// More of something than is read.
    #[error("it says that it has {count} {what}, of {most} allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: u64,
        /// How many are allowed.
        most: usize,
    },
    /// A text that is none.
    #[error("at byte {at}: the {what} is not UTF-8, is empty or is too long")]
    Text {
        /// Where in the file.
        at: usize,
        /// What was being read.
        what: &'static str,
    },
    /// An entry of the metadata.
    #[error("metadata {key:?}: {reason}")]
    Key {
        /// Which.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor.
    #[error("tensor {name:?}: {reason}")]
    Tensor {
        /// Which.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

pub(crate) fn key(key: &str, reason: impl Into<String>) -> InvalidGguf {
    InvalidGguf::Key {
        key: shown(key),
        reason: reason.into(),
    }
}

pub(crate) fn tensor(name: &str, reason: impl Into<String>) -> InvalidGguf {
    InvalidGguf::Tensor {
        name: shown(name),
        reason: reason.into(),
    }
}

/// So much of a stranger's text as a message may hold.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
