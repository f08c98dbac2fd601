//! The assignment token: permission for one client to run one task on one
//! node, once.
//!
//! A compact JWS (RFC 7515) with EdDSA (RFC 8037) and one constant header that
//! is compared byte for byte, so that there is no algorithm to choose. The
//! signature is verified strictly over the exact bytes received, and only then
//! are the claims parsed; unknown and repeated claims are refused. The client's
//! key is bound by `sub` and, as RFC 7800 has it, by `cnf`.
//!
//! [`verify`] judges everything that can be judged from the token, the
//! caller's proven key and the time. Whether the attempt is new is a question
//! to a durable memory: [`admit`] is the rule, the node keeps the memory.

mod claims;
mod refusal;
mod text;

pub use claims::{Ceilings, Claims, InvalidClaims, Method, Methods};
pub use refusal::Refusal;

use crate::{Digest, Epoch, JobId, Keypair, PeerId, TaskIndex, TokenId, UnixMillis, UnixSeconds};

/// The longest token, in bytes.
pub const MAX_TOKEN_LEN: usize = 4096;
/// The longest life of a token, in seconds.
pub const MAX_LIFETIME_S: u64 = 600;
/// How far two clocks may differ, in seconds.
pub const SKEW_S: u64 = 30;

/// A token that has been verified, with what it says. There is no other way to
/// one than [`verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    claims: Claims,
    text: String,
}

impl Assignment {
    /// What it says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The exact text that was verified.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Who holds the token out, as far as the transport has proven it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// A peer: it must be the client that the token names.
    Peer(PeerId),
    /// The index that issued the token and delivers it itself.
    Issuer(PeerId),
    /// Whoever has the token, with no key proven: where a node's owner lets a token
    /// alone be enough, as clients of other systems hold it out.
    Holder,
}

/// A task of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskRef {
    /// The job.
    pub job: JobId,
    /// The task in its plan.
    pub task: TaskIndex,
}

/// On whose authority an issuer's key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The index whose key set lists the key, or the key itself.
    pub identity: PeerId,
    /// Tokens with a lower revocation epoch are void.
    pub min_revocation_epoch: u64,
}

/// Whom a node believes.
pub trait IssuerTrust {
    /// The authority behind `issuer` now, if it is believed.
    fn authority(&self, issuer: &PeerId, now: UnixMillis) -> Option<Authority>;

    /// Whether this single token has been taken back.
    fn is_revoked(&self, issuer: &PeerId, token: &TokenId) -> bool;
}

/// What a token has to fit.
pub struct Expectation<'a> {
    /// The node that is asked.
    pub node: PeerId,
    /// Who asks.
    pub bearer: Bearer,
    /// What is asked.
    pub method: Method,
    /// The task that is asked for, where the call names one.
    pub task: Option<TaskRef>,
    /// The digest of the spec, where the call carries one.
    pub spec: Option<Digest>,
    /// The node's clock.
    pub now: UnixMillis,
    /// Whom the node believes.
    pub trust: &'a dyn IssuerTrust,
}

/// Signs an assignment.
///
/// # Errors
/// When the claims contradict themselves or the key is not the issuer's.
pub fn issue(claims: &Claims, keypair: &Keypair) -> Result<String, InvalidClaims> {
    if claims.issuer != keypair.peer_id() {
        return Err(InvalidClaims::WrongIssuer);
    }
    claims.check()?;
    Ok(text::write(claims, keypair))
}

/// Judges a token: form, signature and issuer, then each binding, then times,
/// then revocation. The first that fails is the refusal.
///
/// # Errors
/// A [`Refusal`] with its code.
pub fn verify(token: &str, expect: &Expectation<'_>) -> Result<Assignment, Refusal> {
    let claims = text::read(token)?;
    let authority = expect
        .trust
        .authority(&claims.issuer, expect.now)
        .ok_or(Refusal::UnknownIssuer(claims.issuer))?;
    if claims.node != expect.node {
        return Err(Refusal::WrongNode {
            named: claims.node,
            asked: expect.node,
        });
    }
    let bearer_fits = match expect.bearer {
        Bearer::Peer(peer) => peer == claims.client,
        Bearer::Issuer(index) => index == authority.identity,
        Bearer::Holder => true,
    };
    if !bearer_fits {
        return Err(Refusal::WrongClient);
    }
    let task = TaskRef {
        job: claims.job,
        task: claims.task,
    };
    if expect.task.is_some_and(|asked| asked != task)
        || expect.spec.is_some_and(|asked| asked != claims.spec)
    {
        return Err(Refusal::WrongJob);
    }
    if !claims.methods.contains(expect.method) {
        return Err(Refusal::MethodNotAllowed(expect.method));
    }
    check_times(&claims, expect.now.as_secs())?;
    if claims.revocation_epoch < authority.min_revocation_epoch
        || expect.trust.is_revoked(&claims.issuer, &claims.token_id)
    {
        return Err(Refusal::Revoked);
    }
    Ok(Assignment {
        claims,
        text: token.to_owned(),
    })
}

/// Whether an attempt may start: the newest epoch that was ever admitted for
/// its task is `seen`, and the caller asks for `asked` of the node.
///
/// # Errors
/// [`Refusal::Replayed`], [`Refusal::StaleEpoch`] or [`Refusal::OverCeiling`].
pub fn admit(assignment: &Assignment, seen: Option<Epoch>, asked: Ceilings) -> Result<(), Refusal> {
    let claims = assignment.claims();
    match seen {
        Some(epoch) if epoch == claims.epoch => return Err(Refusal::Replayed),
        Some(epoch) if epoch > claims.epoch => {
            return Err(Refusal::StaleEpoch {
                token: claims.epoch,
                newest: epoch,
            });
        }
        _ => {}
    }
    claims.ceilings.allow(asked)
}

/// A token as a person may look at it: what it says, and whether its
/// signature and times hold. Its issuer is named, not judged.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it says, under a signature that verifies.
    pub claims: Claims,
    /// Whether it is within its times.
    pub verdict: Result<(), Refusal>,
}

/// Looks at a token without knowing whom to trust.
///
/// # Errors
/// When its form or its signature is bad, nothing it says can be shown.
pub fn inspect(token: &str, now: UnixMillis) -> Result<Inspection, Refusal> {
    let claims = text::read(token.trim())?;
    let verdict = check_times(&claims, now.as_secs());
    Ok(Inspection { claims, verdict })
}

fn check_times(claims: &Claims, now: UnixSeconds) -> Result<(), Refusal> {
    if now.saturating_add(SKEW_S) < claims.not_before {
        return Err(Refusal::NotYetValid {
            from: claims.not_before,
            now,
        });
    }
    if now >= claims.expires_at.saturating_add(SKEW_S) {
        return Err(Refusal::Expired {
            until: claims.expires_at,
            now,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
