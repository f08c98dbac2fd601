//! Why a token is refused: one code each, stable, for machines and for people.

use super::Method;
use crate::{Epoch, PeerId, UnixSeconds};

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a token of this kind: too long, another header, bad base64, claims
    /// that are unknown, repeated, missing or contradictory.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its signature is not its issuer's.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// Its issuer is not trusted here.
    #[error(
        "this node does not trust the issuer {0}: register the node with that index, or allow the key"
    )]
    UnknownIssuer(PeerId),
    /// It is for another node.
    #[error("the token is for node {named}, this is {asked}")]
    WrongNode {
        /// The node that the token names.
        named: PeerId,
        /// The node that was asked.
        asked: PeerId,
    },
    /// It is for another client.
    #[error("the token belongs to another client key than the one that holds it out")]
    WrongClient,
    /// It is for another job, task or spec.
    #[error("the token is for another job or for another spec of it")]
    WrongJob,
    /// It does not allow what is asked.
    #[error("the token does not allow `{}`", .0.as_str())]
    MethodNotAllowed(Method),
    /// Its time has not come.
    #[error("the token is valid from {from}, it is {now} (seconds since 1970): check the clocks")]
    NotYetValid {
        /// When it becomes valid.
        from: UnixSeconds,
        /// The time at the node.
        now: UnixSeconds,
    },
    /// Its time is over.
    #[error("the token expired at {until}, it is {now} (seconds since 1970): renew the assignment")]
    Expired {
        /// When it expired.
        until: UnixSeconds,
        /// The time at the node.
        now: UnixSeconds,
    },
    /// Its issuer has taken it back.
    #[error("the token has been revoked by its issuer")]
    Revoked,
    /// It has been used.
    #[error("this attempt has been started before: attach to it instead")]
    Replayed,
    /// A later attempt has replaced it.
    #[error("attempt {token} has been replaced by attempt {newest}")]
    StaleEpoch {
        /// The attempt of the token.
        token: Epoch,
        /// The newest attempt that the node has admitted.
        newest: Epoch,
    },
    /// More is asked than it allows.
    #[error("the job asks for {asked} {unit} of {what}, the token allows {allowed}")]
    OverCeiling {
        /// Which ceiling.
        what: &'static str,
        /// Its unit.
        unit: &'static str,
        /// What is asked.
        asked: u64,
        /// What is allowed.
        allowed: u64,
    },
}

impl Refusal {
    /// The stable word for this refusal.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::BadSignature => "bad_signature",
            Self::UnknownIssuer(_) => "unknown_issuer",
            Self::WrongNode { .. } => "wrong_node",
            Self::WrongClient => "wrong_client",
            Self::WrongJob => "wrong_job",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Expired { .. } => "expired",
            Self::Revoked => "revoked",
            Self::Replayed => "replayed",
            Self::StaleEpoch { .. } => "stale_epoch",
            Self::OverCeiling { .. } => "over_ceiling",
        }
    }
}
