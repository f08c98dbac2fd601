//! Tokens withdrawn before they expired, and the signed statement that tells
//! nodes which they are.

use std::collections::BTreeMap;

use embermesh_crypto::{
    ids::{PeerId, TokenId},
    keys::Keypair,
    statement::{self, MAX_REVOKED, Revocation, Signed, StatementError},
    time::UnixMillis,
};

use super::{Refused, settings::REVOCATIONS_PER_CLIENT};

/// A token that is void before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Withdrawn {
    /// When it expires by itself and need not be named any more. It does not
    /// move when the clock is set back: a token signed by the old clock is good
    /// until then, and must not come to life again.
    pub expires_at: UnixMillis,
    /// Whose it was; none for one withdrawn before that was written down.
    pub client: Option<PeerId>,
}

/// What changed, for the store: only what is new, not the whole list.
#[derive(Clone, Debug)]
pub struct RevocationWrites {
    /// The newest statement.
    pub statement: Signed<Revocation>,
    /// True when every token of before is void by its epoch and none is named.
    pub all_void: bool,
    /// Tokens that expired by this time are not named any more.
    pub expired_by: UnixMillis,
    /// Tokens that were added.
    pub added: BTreeMap<TokenId, Withdrawn>,
}

/// The withdrawn tokens. Past the most that one revocation names, every token
/// issued so far is voided at once by raising the revocation epoch.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    statement: Option<Signed<Revocation>>,
    sequence: u64,
    min_epoch: u64,
    tokens: BTreeMap<TokenId, Withdrawn>,
    writes: Option<RevocationWrites>,
}

impl Revoked {
    /// Takes up what the store kept.
    pub(super) fn restore(
        statement: Option<Signed<Revocation>>,
        tokens: BTreeMap<TokenId, Withdrawn>,
    ) -> Result<Self, StatementError> {
        let content = statement.as_ref().map(Signed::open).transpose()?;
        Ok(Self {
            sequence: content.as_ref().map_or(0, |content| content.sequence),
            min_epoch: content.as_ref().map_or(0, |content| content.min_epoch),
            statement,
            tokens,
            writes: None,
        })
    }

    pub(super) fn statement(&self) -> Option<&Signed<Revocation>> {
        self.statement.as_ref()
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn min_epoch(&self) -> u64 {
        self.min_epoch
    }

    pub(super) fn tokens(&self) -> &BTreeMap<TokenId, Withdrawn> {
        &self.tokens
    }

    /// Forgets what has expired by itself.
    pub(super) fn expire(&mut self, now: UnixMillis) {
        self.tokens.retain(|_, token| token.expires_at > now);
    }

    /// Withdraws tokens of one client and signs the statement anew. Returns
    /// false, and changes nothing, when all of them were withdrawn before.
    pub(super) fn add(
        &mut self,
        tokens: impl IntoIterator<Item = TokenId>,
        withdrawn: Withdrawn,
        identity: &Keypair,
        now: UnixMillis,
    ) -> Result<bool, Refused> {
        self.expire(now);
        let added: BTreeMap<TokenId, Withdrawn> = tokens
            .into_iter()
            .filter(|token| !self.tokens.contains_key(token))
            .map(|token| (token, withdrawn))
            .collect();
        if added.is_empty() && self.statement.is_some() {
            return Ok(false);
        }
        let theirs = |token: &&Withdrawn| token.client == withdrawn.client;
        let live = self.tokens.values().filter(theirs).count();
        if live + added.len() > REVOCATIONS_PER_CLIENT {
            return Err(Refused::TooManyRevocations {
                live,
                most: REVOCATIONS_PER_CLIENT,
            });
        }
        let all_void = self.tokens.len() + added.len() > MAX_REVOKED;
        if all_void {
            self.min_epoch += 1;
            self.tokens.clear();
        } else {
            self.tokens.extend(&added);
        }
        self.sequence += 1;
        let content = Revocation {
            index: identity.peer_id(),
            sequence: self.sequence,
            issued_at: now,
            min_epoch: self.min_epoch,
            tokens: self.tokens.keys().copied().collect(),
        };
        let statement = statement::sign(&content, identity)?;
        self.statement = Some(statement.clone());
        self.note(statement, all_void, added, now);
        Ok(true)
    }

    /// What the store lacks since this was last asked.
    pub(super) fn take_writes(&mut self) -> Option<RevocationWrites> {
        self.writes.take()
    }

    /// Adds a change to those that the next commit makes durable.
    fn note(
        &mut self,
        statement: Signed<Revocation>,
        all_void: bool,
        added: BTreeMap<TokenId, Withdrawn>,
        now: UnixMillis,
    ) {
        let before = self.writes.take().filter(|_| !all_void);
        let mut writes = RevocationWrites {
            statement,
            all_void: all_void || before.as_ref().is_some_and(|before| before.all_void),
            expired_by: now,
            added: before.map(|before| before.added).unwrap_or_default(),
        };
        if !all_void {
            writes.added.extend(added);
        }
        self.writes = Some(writes);
    }
}
