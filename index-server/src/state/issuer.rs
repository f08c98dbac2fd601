//! The keys that sign assignments, and the signed set that tells nodes which they
//! are. Tokens that are void before their time are in `revoked`.
//!
//! There is always a *next* key, published before it signs anything, so that a
//! rotation never makes a token that a node cannot know yet. An old key's secret
//! is dropped at once; its public half stays in the set until the last token
//! that it signed has expired.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use embermesh_crypto::{
    ids::{PeerId, TokenId},
    keys::Keypair,
    statement::{self, KeySet, Revocation, Signed, StatementError},
    time::UnixMillis,
    token::{self, Claims},
};

use super::{
    Entropy, Refused, Settings,
    revoked::{RevocationWrites, Revoked, Withdrawn},
    settings::{CLOCK_SKEW, ISSUER_KEYS_KEPT},
};

/// The longest that a token is good for, with the skew that nodes allow.
const LONGEST_TOKEN: Duration =
    Duration::from_secs(token::MAX_LIFETIME_S).saturating_add(CLOCK_SKEW);

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
    /// The tokens that are withdrawn.
    pub revoked: BTreeMap<TokenId, Withdrawn>,
}

/// The keys as they are after a change: there are few, so all are written.
#[derive(Clone, Debug)]
pub struct KeysSnapshot {
    /// Every key of the set.
    pub keys: Vec<IssuerKey>,
    /// The newest key set, as signed.
    pub key_set: Signed<KeySet>,
}

/// The issuer: keys, set and revocation, all of them signed and current.
#[derive(Debug)]
pub struct Issuer {
    identity: Arc<Keypair>,
    keys: Vec<IssuerKey>,
    key_set: Signed<KeySet>,
    key_set_sequence: u64,
    /// When the key set was signed.
    signed_at: UnixMillis,
    key_set_renewal: UnixMillis,
    revoked: Revoked,
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
        let revoked = Revoked::restore(snapshot.revocation, snapshot.revoked)?;
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
            // A set of a time to come is of a clock that was set back since.
            Some((content, signed)) if !made && content.issued_at <= now => {
                (signed, content.sequence, content.issued_at)
            }
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
            signed_at,
            key_set_renewal: signed_at.saturating_add(settings.key_set_lifetime / 2),
            keys,
            revoked,
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
        self.revoked.statement()
    }

    /// The number of the newest revocation, 0 when there is none.
    #[must_use]
    pub fn revocation_sequence(&self) -> u64 {
        self.revoked.sequence()
    }

    /// The revocation epoch that new tokens carry.
    #[must_use]
    pub fn revocation_epoch(&self) -> u64 {
        self.revoked.min_epoch()
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
        self.revoked.expire(now);
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

    /// Brings the keys and their set back to a clock that was set back: nodes
    /// whose clocks are right believe none of a time to come. Returns whether the
    /// set is a new one.
    pub(super) fn set_back(&mut self, settings: &Settings, now: UnixMillis) -> bool {
        self.signed_at > now && self.renew_set(settings, now).is_ok()
    }

    /// Withdraws a client's tokens until they expire by themselves. Returns
    /// whether there is anything new to tell.
    pub(super) fn revoke(
        &mut self,
        client: PeerId,
        tokens: impl IntoIterator<Item = TokenId>,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<bool, Refused> {
        let withdrawn = Withdrawn {
            expires_at,
            client: Some(client),
        };
        self.revoked.add(tokens, withdrawn, &self.identity, now)
    }

    /// What changed about the withdrawn tokens since this was last asked.
    pub(super) fn take_revocation_writes(&mut self) -> Option<RevocationWrites> {
        self.revoked.take_writes()
    }

    /// What the store must keep of the keys.
    pub(super) fn keys_snapshot(&self) -> KeysSnapshot {
        KeysSnapshot {
            keys: self.keys.clone(),
            key_set: self.key_set.clone(),
        }
    }

    /// All that the store keeps.
    #[must_use]
    pub fn snapshot(&self) -> IssuerSnapshot {
        IssuerSnapshot {
            keys: self.keys.clone(),
            key_set: Some(self.key_set.clone()),
            revocation: self.revoked.statement().cloned(),
            revoked: self.revoked.tokens().clone(),
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
        self.signed_at = now;
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
    for key in keys.iter_mut() {
        // Both bounds only matter after the clock was set back: the key is here
        // now, and no token that it signed by this clock lives any longer.
        key.not_before = key.not_before.min(now);
        key.not_after = match key.role {
            KeyRole::Old => key.not_after.min(now.saturating_add(LONGEST_TOKEN)),
            _ => expires_at.saturating_add(settings.token_lifetime),
        };
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
