//! Each refusal as a gRPC status: one table. The stable word of a refused token
//! goes with it as the metadata `embermesh-refusal`, that of a node that has no
//! place now as `embermesh-no-slot`, because the first judges the caller and the
//! second only the moment. The message says what to do.

use embermesh_crypto::token::Refusal;
use embermesh_job::{spec::InvalidSpec, turns::NotTaken, wire::InvalidMessage};
use tonic::{Code, Status, metadata::MetadataValue};

use crate::{slots::NoSlot, store::StoreError, task::NotStarted};

/// The metadata key of the stable word.
pub(crate) const REFUSAL: &str = "embermesh-refusal";

/// The metadata key of the word for why there is no place.
pub(crate) const NO_SLOT: &str = "embermesh-no-slot";

/// A status with its stable word.
pub(crate) fn refused(code: Code, word: &'static str, message: impl Into<String>) -> Status {
    with(REFUSAL, code, word, message)
}

/// A status with a word under a key.
pub(super) fn with(
    key: &'static str,
    code: Code,
    word: &'static str,
    message: impl Into<String>,
) -> Status {
    let mut status = Status::new(code, message);
    status
        .metadata_mut()
        .insert(key, MetadataValue::from_static(word));
    status
}

pub(crate) fn token(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Malformed(_) => Code::InvalidArgument,
        Refusal::NotYetValid { .. } | Refusal::Expired { .. } => Code::Unauthenticated,
        Refusal::Replayed => Code::AlreadyExists,
        Refusal::StaleEpoch { .. } => Code::FailedPrecondition,
        Refusal::OverCeiling { .. } => Code::ResourceExhausted,
        _ => Code::PermissionDenied,
    };
    refused(code, refusal.code(), refusal.to_string())
}

pub(crate) fn not_started(not: &NotStarted) -> Status {
    match not {
        NotStarted::Refused(refusal) => token(refusal),
        NotStarted::NoSlot(refused) => no_slot(refused),
        NotStarted::NotTaken(refused) => not_taken(refused),
        NotStarted::Waits { why, .. } => {
            let (code, message) = (Code::ResourceExhausted, not.to_string());
            with(NO_SLOT, code, why.code(), message)
        }
        NotStarted::OverQuota(why) => {
            let (code, message) = (Code::ResourceExhausted, not.to_string());
            with(NO_SLOT, code, why.code(), message)
        }
        NotStarted::Store(error) => store(error),
    }
}

/// There is no place for a task.
pub(super) fn no_slot(no_slot: &NoSlot) -> Status {
    let code = match no_slot {
        NoSlot::Busy
        | NoSlot::TooLittleMemory { .. }
        | NoSlot::MemoryTaken { .. }
        | NoSlot::NoResidence { .. } => Code::ResourceExhausted,
        NoSlot::Draining => Code::Unavailable,
        NoSlot::NoDevice { .. } | NoSlot::RuntimeOff { .. } | NoSlot::RuntimeFault { .. } => {
            Code::FailedPrecondition
        }
    };
    with(NO_SLOT, code, no_slot.code(), no_slot.to_string())
}

/// The owner's rules do not take an ask.
pub(super) fn not_taken(not: &NotTaken) -> Status {
    if not.passes() {
        return with(
            NO_SLOT,
            Code::ResourceExhausted,
            not.code(),
            not.to_string(),
        );
    }
    refused(Code::PermissionDenied, not.code(), not.to_string())
}

/// What a stranger reads when the database failed; the log says more.
pub(crate) fn store(error: &StoreError) -> Status {
    tracing::error!(%error, "the database failed");
    match error {
        StoreError::DiskFull => Status::resource_exhausted(
            "nothing was changed: the node's disk is full; tell its operator, or ask another node",
        ),
        _ => {
            Status::unavailable("nothing was changed: the node could not write it down; try again")
        }
    }
}

pub(super) fn spec(error: &InvalidSpec) -> Status {
    Status::invalid_argument(format!("spec: {error}"))
}

// Taken by value because it stands behind `map_err`.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn message(error: InvalidMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_refusal_travels_beside_its_message() {
        let status = token(&Refusal::Replayed);
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(status.metadata().get(REFUSAL).unwrap(), "replayed");
        assert!(status.message().contains("attach"));
        let status = not_started(&NotStarted::NoSlot(NoSlot::Busy));
        assert!(status.metadata().get(REFUSAL).is_none());
        assert_eq!(status.metadata().get(NO_SLOT).unwrap(), "busy");
    }
}
