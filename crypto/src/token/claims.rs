//! What a token says, and the rules that its claims obey by themselves.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{MAX_LIFETIME_S, Refusal};
use crate::{Digest, Epoch, JobId, PeerId, TaskIndex, TokenId, UnixSeconds};

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose key signs it (`iss`).
    pub issuer: PeerId,
    /// The client whose key must be proven (`sub`, `cnf`).
    pub client: PeerId,
    /// The node that it is for (`aud`).
    pub node: PeerId,
    /// The job.
    pub job: JobId,
    /// The task in the job's plan.
    pub task: TaskIndex,
    /// The attempt.
    pub epoch: Epoch,
    /// BLAKE3 of the job's canonical spec.
    pub spec: Digest,
    /// What the bearer may do.
    pub methods: Methods,
    /// What the task may use.
    pub ceilings: Ceilings,
    /// Names this token (`jti`).
    pub token_id: TokenId,
    /// When it was signed (`iat`).
    pub issued_at: UnixSeconds,
    /// From when it is valid (`nbf`).
    pub not_before: UnixSeconds,
    /// Until when (`exp`), at most [`MAX_LIFETIME_S`] after `not_before`.
    pub expires_at: UnixSeconds,
    /// The issuer's revocation epoch when it was signed.
    pub revocation_epoch: u64,
}

/// Claims that cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaims {
    /// The key at hand is not the issuer's.
    #[error("the claims name another issuer than the signing key")]
    WrongIssuer,
    /// The times are out of order or too far apart.
    #[error(
        "a token is issued, becomes valid and expires in this order, ten minutes apart at most"
    )]
    Times,
    /// The first attempt is number 1.
    #[error("attempts are numbered from 1")]
    Epoch,
    /// A token allows something.
    #[error("a token allows at least one method")]
    NoMethods,
}

impl Claims {
    pub(super) fn check(&self) -> Result<(), InvalidClaims> {
        let ordered = self.issued_at <= self.not_before && self.not_before < self.expires_at;
        let life = self.expires_at.0.saturating_sub(self.issued_at.0);
        if !ordered || life > MAX_LIFETIME_S {
            return Err(InvalidClaims::Times);
        }
        if self.epoch < Epoch::FIRST {
            return Err(InvalidClaims::Epoch);
        }
        if self.methods.is_empty() {
            return Err(InvalidClaims::NoMethods);
        }
        Ok(())
    }
}

/// What a task may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceilings {
    /// Memory, in bytes.
    #[serde(rename = "mem")]
    pub memory_bytes: u64,
    /// Time on the device, in milliseconds.
    #[serde(rename = "wall_ms")]
    pub wall_ms: u64,
    /// All artifacts and checkpoints together, in bytes.
    #[serde(rename = "out")]
    pub output_bytes: u64,
}

impl Ceilings {
    /// Whether `asked` fits under these ceilings.
    ///
    /// # Errors
    /// [`Refusal::OverCeiling`] for the first that does not.
    pub fn allow(&self, asked: Ceilings) -> Result<(), Refusal> {
        let checks = [
            ("memory", "bytes", asked.memory_bytes, self.memory_bytes),
            ("wall time", "ms", asked.wall_ms, self.wall_ms),
            ("output", "bytes", asked.output_bytes, self.output_bytes),
        ];
        for (what, unit, asked, allowed) in checks {
            if asked > allowed {
                return Err(Refusal::OverCeiling {
                    what,
                    unit,
                    asked,
                    allowed,
                });
            }
        }
        Ok(())
    }
}

/// What a token can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Method {
    /// Ask the model that the task keeps resident.
    Ask,
    /// Join the task's stream.
    Attach,
    /// Stop the task.
    Cancel,
    /// Read blobs of the task.
    FetchBlob,
    /// Hold the task.
    Pause,
    /// Bring the task's inputs.
    PutBlob,
    /// Let a held task go on.
    Resume,
    /// Start the task.
    Run,
}

impl Method {
    /// Every method, in the order of their words.
    pub const ALL: [Self; 8] = [
        Self::Ask,
        Self::Attach,
        Self::Cancel,
        Self::FetchBlob,
        Self::Pause,
        Self::PutBlob,
        Self::Resume,
        Self::Run,
    ];

    /// The word for it in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Attach => "attach",
            Self::Cancel => "cancel",
            Self::FetchBlob => "fetch_blob",
            Self::Pause => "pause",
            Self::PutBlob => "put_blob",
            Self::Resume => "resume",
            Self::Run => "run",
        }
    }
}

/// A set of methods; in a token a list of words, ascending, without repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods(u8);

impl Methods {
    /// Every method.
    #[must_use]
    pub fn all() -> Self {
        Method::ALL.into_iter().collect()
    }

    /// Whether `method` is in the set.
    #[must_use]
    pub const fn contains(self, method: Method) -> bool {
        self.0 & (1 << method as u8) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The methods of the set, in the order of their words.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        Method::ALL
            .into_iter()
            .filter(move |method| self.contains(*method))
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        Self(
            methods
                .into_iter()
                .fold(0, |set, method| set | 1 << method as u8),
        )
    }
}

impl Serialize for Methods {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter().map(Method::as_str))
    }
}

impl<'de> Deserialize<'de> for Methods {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(d)?;
        let methods = words
            .iter()
            .map(|word| Method::ALL.into_iter().find(|m| m.as_str() == word))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| serde::de::Error::custom("unknown method"))?;
        if !methods.is_sorted_by(|a, b| a < b) {
            return Err(serde::de::Error::custom("methods repeat or are unordered"));
        }
        Ok(methods.into_iter().collect())
    }
}
