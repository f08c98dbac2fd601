//! What can go wrong with a store, with a holder, and with a fetch.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use embermesh_crypto::{digest::Digest, ids::PeerId};

use super::CodecError;
use crate::road::RoadError;

/// A store cannot do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Neither the quota nor the disk has room.
    #[error(
        "the blob store is full: {needed} bytes are needed and {free} can be freed; raise its quota, free the disk, or remove blobs"
    )]
    StorageFull {
        /// Bytes that were asked for.
        needed: u64,
        /// Bytes of the quota that are free or could be made free.
        free: u64,
    },
    /// The disk has no room, whatever the quota says.
    #[error("the disk is full at {path}; free some space on it")]
    DiskFull {
        /// Where the write failed.
        path: PathBuf,
    },
    /// The file system takes no file of that size.
    #[error("a file of {size} bytes cannot be made at {path}: {reason}")]
    TooLarge {
        /// Where it was to be.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// What the system said.
        reason: String,
    },
    /// No such blob here.
    #[error("blob {0} is not in the store")]
    NotFound(Digest),
    /// The blob is being read, sent or kept by this process.
    #[error("blob {0} is in use; try again when its readers are done")]
    Held(Digest),
    /// Bytes on the disk are no longer what their name says.
    #[error("blob {0} is damaged on disk and has been removed; fetch it again")]
    Damaged(Digest),
    /// What came is not what was announced.
    #[error("the bytes are not blob {expected}: they hash to {found}")]
    WrongHash {
        /// The announced hash.
        expected: Digest,
        /// The hash of what came.
        found: Digest,
    },
    /// More or fewer bytes came than announced.
    #[error("blob {digest} was announced with {announced} bytes and {received} came")]
    WrongSize {
        /// Which blob.
        digest: Digest,
        /// As announced.
        announced: u64,
        /// As received, at least.
        received: u64,
    },
    /// Another process has the folder.
    #[error("the blob store at {0} is used by another process; stop it, or use another folder")]
    InUse(PathBuf),
    /// The folder is open to others.
    #[error("the blob store's folder {0} is open to others; run `chmod 700 {0}`")]
    FolderOpen(PathBuf),
    /// The disk refused.
    #[error("cannot {action} {path}: {reason}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl StoreError {
    /// What an error of the disk means, in the words of the store.
    pub(crate) fn io(action: &'static str, path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io {
                action,
                path,
                reason: error.to_string(),
            },
        }
    }

    /// What it means that a file could not be given the length of a blob.
    pub(crate) fn growth(path: &Path, size: u64, error: &io::Error) -> Self {
        match Self::io("extend", path, error) {
            Self::Io { path, reason, .. } => Self::TooLarge { path, size, reason },
            full => full,
        }
    }

    /// Whether the store, its disk or the file system has no room for it.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(
            self,
            Self::StorageFull { .. } | Self::DiskFull { .. } | Self::TooLarge { .. }
        )
    }
}

/// What was wrong with one holder of a blob.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HolderFault {
    /// It could not be reached.
    #[error(transparent)]
    Unreachable(#[from] RoadError),
    /// It does not have the blob.
    #[error("it does not have the blob")]
    NotFound,
    /// It does not let this process read the blob.
    #[error("it does not let this peer read the blob")]
    Refused,
    /// It serves as many as it can.
    #[error("it is busy")]
    Busy,
    /// It could not read the blob, or did not understand.
    #[error("it failed: {0}")]
    Failed(&'static str),
    /// It says that the blob has another size.
    #[error("it says the blob has {claimed} bytes, which has {expected}")]
    WrongSize {
        /// As the holder says.
        claimed: u64,
        /// As is known.
        expected: u64,
    },
    /// It says that the blob is larger than a blob can be, or than there is room for.
    #[error("it claims a size of {0} bytes, more than a blob can have or there is room for")]
    Oversize(u64),
    /// It sent bytes that do not match the hash.
    #[error("it sent corrupt bytes: {0}")]
    Corrupt(CodecError),
    /// It stopped in the middle.
    #[error("the connection was lost after {received} bytes: {reason}")]
    Lost {
        /// Bytes of the encoding that had come.
        received: u64,
        /// What the system said.
        reason: String,
    },
    /// It sent nothing for too long.
    #[error("it sent nothing for {0:?}")]
    Stalled(Duration),
    /// It answered in another language.
    #[error("its answer makes no sense: {0}")]
    Malformed(&'static str),
}

impl HolderFault {
    /// Whether the same holder may be asked again in this fetch.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Stalled(_) | Self::Busy => true,
            Self::Unreachable(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// One holder and what was wrong with it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{holder}: {fault}")]
pub struct Trial {
    /// Who.
    pub holder: String,
    /// What.
    #[source]
    pub fault: HolderFault,
}

/// A blob could not be brought here.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nobody is known to hold it.
    #[error("nobody is known to hold blob {0}")]
    NoHolder(Digest),
    /// Everybody who was asked failed.
    #[error("no holder could give blob {digest}: {}", list(trials))]
    NoneCould {
        /// Which blob.
        digest: Digest,
        /// Who was asked, and what came of it.
        trials: Vec<Trial>,
    },
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller gave it up. What has come stays, to go on from.
    #[error("the fetch of blob {0} was cancelled")]
    Cancelled(Digest),
}

fn list(trials: &[Trial]) -> String {
    let texts: Vec<String> = trials.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// A holder's name for messages.
pub(crate) fn holder_name(peer: Option<PeerId>, address: Option<&String>) -> String {
    match (peer, address) {
        (Some(peer), _) => format!("peer {}", peer.short()),
        (None, Some(address)) => address.clone(),
        (None, None) => "a holder without address".to_owned(),
    }
}
