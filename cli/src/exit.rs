//! Exit codes, and which error has which.

use std::{io, process::ExitCode};

use embermesh_client::{ClientError, receipt::ReceiptError};
use embermesh_compute::proven::offline::Unproven;
use embermesh_crypto::{
    digest::InvalidDigest,
    ids::{InvalidId, InvalidPeerId},
    keys::KeyError,
    token::Refusal,
};
use embermesh_job::file::InvalidJobFile;
use embermesh_mesh::{MeshError, blob::FetchError};

use crate::cmd::proof::OtherProof;

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The job, or the command, failed.
    Failed = 1,
    /// The input was wrong.
    Input = 2,
    /// Nobody could be reached.
    Unreachable = 3,
    /// Somebody said no.
    Refused = 4,
    /// The doctor found troubles.
    Troubles = 5,
    /// A signal ended it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What was typed, or a file that was named, is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongInput(pub String);

/// A signal came before it was done.
#[derive(Debug, thiserror::Error)]
#[error("interrupted{0}")]
pub(crate) struct Interrupted(pub String);

/// Tells people what went wrong, on stderr, and the caller by the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return Exit::Ok.into();
    }
    eprintln!("error: {}", told(error).trim_end());
    exit_of(error).into()
}

/// The chain of causes, without those that repeat what stands before them.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Whoever read the output has stopped, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Which exit code an error has.
pub(crate) fn exit_of(error: &anyhow::Error) -> Exit {
    error
        .chain()
        .find_map(|cause| {
            if let Some(error) = cause.downcast_ref::<ClientError>() {
                return Some(of_client(error));
            }
            if cause.is::<Interrupted>() {
                return Some(Exit::Interrupted);
            }
            if cause.is::<Refusal>() || cause.is::<ReceiptError>() {
                return Some(Exit::Refused);
            }
            if let Some(error) = cause.downcast_ref::<Unproven>() {
                return Some(of_proof(error));
            }
            if cause.is::<OtherProof>() {
                return Some(Exit::Refused);
            }
            if let Some(error) = cause.downcast_ref::<MeshError>() {
                return of_mesh(error);
            }
            if let Some(error) = cause.downcast_ref::<FetchError>() {
                return Some(of_fetch(error));
            }
            let input = cause.is::<WrongInput>()
                || cause.is::<InvalidJobFile>()
                || cause.is::<KeyError>()
                || cause.is::<InvalidDigest>()
                || cause.is::<InvalidId>()
                || cause.is::<InvalidPeerId>();
            input.then_some(Exit::Input)
        })
        .unwrap_or(Exit::Failed)
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::InvalidTarget { .. }
        | ClientError::Invalid { .. }
        | ClientError::NotFound { .. }
        | ClientError::Spec(_)
        | ClientError::Ask(_)
        | ClientError::NoModel(_)
        | ClientError::SeveralModels { .. }
        | ClientError::InputChanged(_)
        | ClientError::Io { .. } => Exit::Input,
        ClientError::NotAnIndex { .. }
        | ClientError::NoIndex { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Timeout { .. } => Exit::Unreachable,
        ClientError::AnotherIndex { .. }
        | ClientError::Refused { .. }
        | ClientError::Exhausted { .. }
        | ClientError::NotPlaced { .. }
        | ClientError::Receipt(_) => Exit::Refused,
        ClientError::Fetch(error) => of_fetch(error),
        _ => Exit::Failed,
    }
}

fn of_proof(error: &Unproven) -> Exit {
    match error {
        // What is missing is the caller's to give.
        Unproven::InputAbsent(_) => Exit::Input,
        _ => Exit::Refused,
    }
}

fn of_mesh(error: &MeshError) -> Option<Exit> {
    match error {
        MeshError::OtherNetwork { .. } => Some(Exit::Refused),
        MeshError::InvalidAddress { .. } | MeshError::BootstrapWithoutPeer(_) => Some(Exit::Input),
        MeshError::Unreachable { .. } | MeshError::NoAddress(_) | MeshError::Timeout { .. } => {
            Some(Exit::Unreachable)
        }
        _ => None,
    }
}

fn of_fetch(error: &FetchError) -> Exit {
    match error {
        FetchError::NoHolder(_) | FetchError::NoneCould { .. } => Exit::Unreachable,
        FetchError::Cancelled(_) => Exit::Interrupted,
        // A full disk is on this side.
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use embermesh_crypto::Digest;
    use embermesh_mesh::blob::StoreError;

    use super::*;

    #[test]
    fn a_fetch_that_fails_has_one_exit_code_whoever_fetched() {
        let digest = Digest::of(b"blob");
        let full = StoreError::DiskFull {
            path: "/full".into(),
        };
        let nobody = FetchError::NoneCould {
            digest,
            trials: Vec::new(),
        };
        for (error, exit) in [
            (FetchError::NoHolder(digest), Exit::Unreachable),
            (nobody, Exit::Unreachable),
            (FetchError::Store(full), Exit::Failed),
            (FetchError::Cancelled(digest), Exit::Interrupted),
        ] {
            let bare = Err::<(), _>(error.clone()).context("the blob was not fetched");
            assert_eq!(exit_of(&bare.unwrap_err()), exit, "{error}");
            let of_client = ClientError::Fetch(error.clone());
            assert_eq!(exit_of(&of_client.into()), exit, "{error}");
        }
    }
}
