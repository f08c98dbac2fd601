//! The keys that sign assignments, the signed set that tells nodes which they
//! are, and the revocation that voids tokens before their time.
//!
//! There is always a *next* key, published before it signs anything, so that a
//! rotation never makes a token that a node cannot know yet. An old key's secret
//! is dropped at once; its public half stays in the set until the last token
//! that it signed has expired.

use std::{collections::BTreeMap, sync::Arc};

use embermesh_crypto::{
    ids::{PeerId, TokenId},
    keys::Keypair,
    statement::{self, KeySet, Revocation, Signed, StatementError},
    time::UnixMillis,
    token::{self, Claims},
};

use super::{
    Entropy, Refused, Settings,
    settings::{CLOCK_SKEW, ISSUER_KEYS_KEPT},
};

/// The most token ids that one revocation names. Past it, every token issued so
/// far is voided at once by raising the revocation epoch.
const TOKENS_NAMED: usize = 1_024;

/// What a key of the set does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyRole {
    /// Published, to sign after the next rotation.
    Next,
    /// Signs.
    Current,
    /// Signs no more; its tokens may still be good.
    Old,
}

/// One issuer key. `keypair` is gone once the key signs no more.
#[derive(Clone, Debug)]
pub struct IssuerKey {
    /// The public key, as the token names it.
    pub peer: PeerId,
    /// The secret, while it is needed.
    pub keypair: Option<Arc<Keypair>>,
    /// What it does.
    pub role: KeyRole,
    /// When it begins to be good.
    pub not_before: UnixMillis,
    /// When its last token has expired.
    pub not_after: UnixMillis,
}

/// What the store keeps of the issuer.
#[derive(Clone, Debug, Default)]
pub struct IssuerSnapshot {
    /// Every key of the set.
    pub keys: Vec<IssuerKey>,
    /// The newest key set, as signed.
    pub key_set: Option<Signed<KeySet>>,
    /// The newest revocation, as signed.
    pub revocation: Option<Signed<Revocation>>,
    /// Withdrawn tokens, with when they expire by themselves.
    pub revoked: BTreeMap<TokenId, UnixMillis>,
}

/// The issuer: keys, set and revocation, all of them signed and current.
#[derive(Debug)]
pub struct Issuer {
    identity: Arc<Keypair>,
    keys: Vec<IssuerKey>,
    key_set: Signed<KeySet>,
    key_set_sequence: u64,
    key_set_renewal: UnixMillis,
    revocation: Option<Signed<Revocation>>,
    revocation_sequence: u64,
    min_epoch: u64,
    revoked: BTreeMap<TokenId, UnixMillis>,
}

impl Issuer {
    /// Takes up what the store kept, and makes what is missing. Says whether it
    /// made anything that the store must be given.
    pub(super) fn restore(
        identity: Arc<Keypair>,
        snapshot: IssuerSnapshot,
        settings: &Settings,
        now: UnixMillis,
        entropy: &mut Entropy,
    ) -> Result<(Self, bool), StatementError> {
        let revocation = snapshot.revocation.as_ref().map(Signed::open).transpose()?;
        let revocation_sequence = revocation.as_ref().map_or(0, |r| r.sequence);
        let min_epoch = revocation.as_ref().map_or(0, |r| r.min_epoch);
        let mut keys = snapshot.keys;
        let mut made = false;
        for role in [KeyRole::Current, KeyRole::Next] {
            if !keys.iter().any(|key| key.role == role) {
                keys.push(IssuerKey::new(role, settings, now, entropy));
                made = true;
            }
        }
        let kept = snapshot
            .key_set
            .map(|signed| Ok((signed.open()?, signed)))
            .transpose()?;
        let (key_set, key_set_sequence, signed_at) = match kept {
            Some((content, signed)) if !made => (signed, content.sequence, content.issued_at),
            kept => {
                let sequence = kept.map_or(0, |(content, _)| content.sequence) + 1;
                made = true;
                let signed = sign_set(&identity, &mut keys, sequence, settings, now)?;
                (signed, sequence, now)
            }
        };
        let issuer = Self {
            key_set,
            key_set_sequence,
            key_set_renewal: signed_at.saturating_add(settings.key_set_lifetime / 2),
            keys,
            revocation_sequence,
            min_epoch,
            revocation: snapshot.revocation,
            revoked: snapshot.revoked,
            identity,
        };
        Ok((issuer, made))
    }

    /// The identity that signs the statements.
    pub(super) fn identity(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// The key set, exactly as signed.
    #[must_use]
    pub fn key_set(&self) -> &Signed<KeySet> {
        &self.key_set
    }

    /// The number of the key set.
    #[must_use]
    pub fn key_set_sequence(&self) -> u64 {
        self.key_set_sequence
    }

    /// The newest revocation, if anything was ever withdrawn.
    #[must_use]
    pub fn revocation(&self) -> Option<&Signed<Revocation>> {
        self.revocation.as_ref()
    }

    /// The number of the newest revocation, 0 when there is none.
    #[must_use]
    pub fn revocation_sequence(&self) -> u64 {
        self.revocation_sequence
    }

    /// The revocation epoch that new tokens carry.
    #[must_use]
    pub fn revocation_epoch(&self) -> u64 {
        self.min_epoch
    }

    /// The key that signs, as tokens name it.
    #[must_use]
    pub fn signer(&self) -> Option<PeerId> {
        self.with_role(KeyRole::Current).map(|key| key.peer)
    }

    /// Signs a token with the current key.
    pub(super) fn issue(&self, claims: &Claims) -> Result<String, Refused> {
        let key = self
            .with_role(KeyRole::Current)
            .and_then(|key| key.keypair.as_ref())
            .ok_or(Refused::NoIssuerKey)?;
        token::issue(claims, key).map_err(Refused::Claims)
    }

    /// When something here next becomes due.
    pub(super) fn next_due(&self, settings: &Settings) -> UnixMillis {
        self.rotation_due(settings).min(self.key_set_renewal)
    }

    /// When the current key is old enough, and there is room for another: a full
    /// set means rotations by hand in quick succession, and age can wait for them.
    fn rotation_due(&self, settings: &Settings) -> UnixMillis {
        let aged = self
            .with_role(KeyRole::Current)
            .map_or(self.key_set_renewal, |key| {
                key.not_before.saturating_add(settings.rotate_after)
            });
        let old = self.keys.iter().filter(|key| key.role == KeyRole::Old);
        match old.map(|key| key.not_after).min() {
            Some(room_at) if self.keys.len() >= ISSUER_KEYS_KEPT => aged.max(room_at),
            _ => aged,
        }
    }

    /// Rotates by age, forgets what has expired, signs the set again at half of
    /// its life. Returns whether the set is a new one.
    pub(super) fn tick(
        &mut self,
        settings: &Settings,
        now: UnixMillis,
        entropy: &mut Entropy,
    ) -> bool {
        self.revoked.retain(|_, expires_at| *expires_at > now);
        if now < self.next_due(settings) {
            return false;
        }
        if self.rotation_due(settings) <= now {
            self.rotate(settings, now, entropy).is_ok()
        } else {
            self.renew_set(settings, now).is_ok()
        }
    }

    /// The next key begins to sign, the current one stops, and a new next one is
    /// made.
    pub(super) fn rotate(
        &mut self,
        settings: &Settings,
        now: UnixMillis,
        entropy: &mut Entropy,
    ) -> Result<(), Refused> {
        self.keys
            .retain(|key| key.role != KeyRole::Old || key.not_after > now);
        if self.keys.len() >= ISSUER_KEYS_KEPT {
            return Err(Refused::TooManyIssuerKeys {
                most: ISSUER_KEYS_KEPT,
            });
        }
        let last_token = now
            .saturating_add(settings.token_lifetime)
            .saturating_add(CLOCK_SKEW);
        for key in &mut self.keys {
            match key.role {
                KeyRole::Current => {
                    key.role = KeyRole::Old;
                    key.keypair = None;
                    key.not_after = last_token;
                }
                KeyRole::Next => {
                    key.role = KeyRole::Current;
                    key.not_before = now;
                }
                KeyRole::Old => {}
            }
        }
        self.keys
            .push(IssuerKey::new(KeyRole::Next, settings, now, entropy));
        Ok(self.renew_set(settings, now)?)
    }

    /// Withdraws tokens until they expire by themselves.
    pub(super) fn revoke(
        &mut self,
        tokens: impl IntoIterator<Item = TokenId>,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<&Signed<Revocation>, StatementError> {
        self.revoked.retain(|_, expires_at| *expires_at > now);
        self.revoked
            .extend(tokens.into_iter().map(|token| (token, expires_at)));
        if self.revoked.len() > TOKENS_NAMED {
            self.min_epoch += 1;
            self.revoked.clear();
        }
        self.revocation_sequence += 1;
        let statement = Revocation {
            index: self.identity.peer_id(),
            sequence: self.revocation_sequence,
            issued_at: now,
            min_epoch: self.min_epoch,
            tokens: self.revoked.keys().copied().collect(),
        };
        let signed = statement::sign(&statement, &self.identity)?;
        Ok(self.revocation.insert(signed))
    }

    /// What the store must keep.
    #[must_use]
    pub fn snapshot(&self) -> IssuerSnapshot {
        IssuerSnapshot {
            keys: self.keys.clone(),
            key_set: Some(self.key_set.clone()),
            revocation: self.revocation.clone(),
            revoked: self.revoked.clone(),
        }
    }

    fn with_role(&self, role: KeyRole) -> Option<&IssuerKey> {
        self.keys.iter().find(|key| key.role == role)
    }

    fn renew_set(&mut self, settings: &Settings, now: UnixMillis) -> Result<(), StatementError> {
        self.key_set_sequence += 1;
        self.key_set = sign_set(
            &self.identity,
            &mut self.keys,
            self.key_set_sequence,
            settings,
            now,
        )?;
        self.key_set_renewal = now.saturating_add(settings.key_set_lifetime / 2);
        Ok(())
    }
}

impl IssuerKey {
    fn new(role: KeyRole, settings: &Settings, now: UnixMillis, entropy: &mut Entropy) -> Self {
        let keypair = Keypair::from_seed(&entropy.bytes());
        Self {
            peer: keypair.peer_id(),
            keypair: Some(Arc::new(keypair)),
            role,
            not_before: now,
            // Fixed when the key stops signing; until then it is moved on each
            // time that the set is signed.
            not_after: now.saturating_add(settings.key_set_lifetime),
        }
    }
}

/// Signs the set of the keys that are still needed, and forgets the others.
fn sign_set(
    identity: &Keypair,
    keys: &mut Vec<IssuerKey>,
    sequence: u64,
    settings: &Settings,
    now: UnixMillis,
) -> Result<Signed<KeySet>, StatementError> {
    let expires_at = now.saturating_add(settings.key_set_lifetime);
    keys.retain(|key| key.role != KeyRole::Old || key.not_after > now);
    for key in keys.iter_mut().filter(|key| key.role != KeyRole::Old) {
        key.not_after = expires_at.saturating_add(settings.token_lifetime);
    }
    let listed = keys.iter().map(|key| statement::IssuerKey {
        key: key.peer,
        not_before: key.not_before.saturating_sub(CLOCK_SKEW),
        not_after: key.not_after,
    });
    let set = KeySet {
        index: identity.peer_id(),
        sequence,
        issued_at: now,
        expires_at,
        keys: listed.collect(),
    };
    statement::sign(&set, identity)
}
