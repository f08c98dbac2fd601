//! Whose assignments this node believes: the indexes it is registered with, by
//! their signed key sets; its own key; the client keys that its owner allows, by the
//! settings or by a grant; and in open mode every client, for itself.
//!
//! Key sets and revocations are kept on the disk, so that a node that restarts
//! while an index is away still believes what that index has issued, and still
//! refuses what it has taken back.

mod grants;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use embermesh_crypto::{
    ids::{NetworkName, PeerId, TokenId},
    statement::{KeySet, Revocation, Signed, StatementError},
    time::UnixMillis,
    token::{Authority, IssuerTrust, SKEW_S},
};
use embermesh_job::turns::Rank;
use thiserror::Error;

pub(crate) use grants::NotGranted;
use grants::{Grants, Meant};

use crate::store::{Store, StoreError};

/// The most indexes whose statements are held at once.
const MAX_INDEXES: usize = 16;

const KEY_SET: &str = "key_set";
const REVOCATION: &str = "revocation";

/// Why a statement of an index was not taken.
#[derive(Debug, Error)]
pub(crate) enum NotTrusted {
    /// It is no such statement.
    #[error("the index sent a statement that does not hold: {0}")]
    Statement(#[from] StatementError),
    /// It is another index's.
    #[error("the index sent a statement of {0}")]
    OtherIndex(PeerId),
    /// As many indexes as may be are trusted already.
    #[error("statements of {MAX_INDEXES} indexes are held already")]
    TooMany,
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whom the owner lets use the node without an index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// The owner's own keys.
    pub(crate) owners: BTreeSet<PeerId>,
    /// Clients by their keys.
    pub(crate) allow: BTreeSet<PeerId>,
    /// Every client.
    pub(crate) open: bool,
    /// Clients whom neither a grant nor the open door lets in.
    pub(crate) deny: BTreeSet<PeerId>,
    /// The network, which a grant must name.
    pub(crate) network: NetworkName,
}

/// What an index has said.
#[derive(Default)]
struct IndexTrust {
    keys: Option<KeySet>,
    revocation: Option<Revocation>,
}

/// Whom this node believes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Trust {
    inner: Arc<Inner>,
}

struct Inner {
    me: PeerId,
    policy: Policy,
    indexes: RwLock<BTreeMap<PeerId, IndexTrust>>,
    grants: Grants,
    store: Store,
}

impl Trust {
    /// Trust as it was left: statements of the indexes that `known` lets through.
    pub(crate) async fn load(
        store: Store,
        me: PeerId,
        policy: Policy,
        known: impl Fn(&PeerId) -> bool,
    ) -> Result<Self, StoreError> {
        let mut indexes = BTreeMap::<PeerId, IndexTrust>::new();
        for keys in statements::<KeySet>(&store, KEY_SET).await? {
            let index = keys.index;
            if known(&index) {
                indexes.entry(index).or_default().keys = Some(keys);
            }
        }
        for revocation in statements::<Revocation>(&store, REVOCATION).await? {
            if let Some(index) = indexes.get_mut(&revocation.index) {
                index.revocation = Some(revocation);
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                me,
                policy,
                indexes: RwLock::new(indexes),
                grants: Grants::default(),
                store,
            }),
        })
    }

    /// Takes a key set that `index` has sent. An older one changes nothing.
    pub(crate) async fn take_key_set(
        &self,
        index: PeerId,
        bytes: Vec<u8>,
    ) -> Result<(), NotTrusted> {
        let keys = Signed::<KeySet>::from_bytes(bytes)?.open()?;
        if keys.index != index {
            return Err(NotTrusted::OtherIndex(keys.index));
        }
        self.change(index, |held| {
            if held
                .keys
                .as_ref()
                .is_none_or(|old| old.sequence < keys.sequence)
            {
                held.keys = Some((*keys).clone());
            }
        })?;
        let store = &self.inner.store;
        store
            .keep_statement(index, KEY_SET, keys.sequence, keys.bytes())
            .await?;
        Ok(())
    }

    /// Takes a revocation that `index` has sent. An older one changes nothing.
    pub(crate) async fn take_revocation(
        &self,
        index: PeerId,
        bytes: Vec<u8>,
    ) -> Result<(), NotTrusted> {
        let revocation = Signed::<Revocation>::from_bytes(bytes)?.open()?;
        if revocation.index != index {
            return Err(NotTrusted::OtherIndex(revocation.index));
        }
        self.change(index, |held| {
            let newer = |old: &Revocation| old.sequence < revocation.sequence;
            if held.revocation.as_ref().is_none_or(newer) {
                held.revocation = Some((*revocation).clone());
            }
        })?;
        let (sequence, bytes) = (revocation.sequence, revocation.bytes());
        self.inner
            .store
            .keep_statement(index, REVOCATION, sequence, bytes)
            .await?;
        Ok(())
    }

    /// The numbers of the newest key set and revocation of an index; 0 for none.
    pub(crate) fn sequences(&self, index: &PeerId) -> (u64, u64) {
        let indexes = self
            .inner
            .indexes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        indexes.get(index).map_or((0, 0), |held| {
            (
                held.keys.as_ref().map_or(0, |keys| keys.sequence),
                held.revocation
                    .as_ref()
                    .map_or(0, |revocation| revocation.sequence),
            )
        })
    }

    /// Whether an authority is an index, to which attempts are reported.
    pub(crate) fn is_index(&self, identity: &PeerId) -> bool {
        let indexes = self
            .inner
            .indexes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        indexes
            .get(identity)
            .is_some_and(|held| held.keys.is_some())
    }

    /// Whether any index has taken this node.
    pub(crate) fn knows_index(&self) -> bool {
        let indexes = self
            .inner
            .indexes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        indexes.values().any(|held| held.keys.is_some())
    }

    /// Whether the owner lets this client do what a token would let it do.
    pub(crate) fn allows(&self, client: &PeerId) -> bool {
        self.rank(client).is_some()
    }

    /// How near a client is to the owner; `None` for one who needs an index.
    pub(crate) fn rank(&self, client: &PeerId) -> Option<Rank> {
        let policy = &self.inner.policy;
        if *client == self.inner.me || self.owns(client) {
            Some(Rank::Owner)
        } else if policy.allow.contains(client) {
            Some(Rank::Allowed)
        } else if policy.deny.contains(client) {
            None
        } else if self.inner.grants.has(client, UnixMillis::now()) {
            Some(Rank::Allowed)
        } else {
            policy.open.then_some(Rank::Guest)
        }
    }

    /// Takes a grant that a client shows: from then on it is allowed, until that ends.
    pub(crate) fn show_grant(
        &self,
        client: &PeerId,
        bytes: Vec<u8>,
        now: UnixMillis,
    ) -> Result<(), NotGranted> {
        let meant = Meant {
            node: &self.inner.me,
            network: &self.inner.policy.network,
            client,
            is_owner: &|key| self.owns(key),
        };
        self.inner.grants.show(bytes, &meant, now)
    }

    /// Whether this is the owner's key.
    pub(crate) fn owns(&self, key: &PeerId) -> bool {
        self.inner.policy.owners.contains(key)
    }

    fn change(&self, index: PeerId, apply: impl FnOnce(&mut IndexTrust)) -> Result<(), NotTrusted> {
        let mut indexes = self
            .inner
            .indexes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if indexes.len() >= MAX_INDEXES && !indexes.contains_key(&index) {
            return Err(NotTrusted::TooMany);
        }
        apply(indexes.entry(index).or_default());
        Ok(())
    }
}

impl IssuerTrust for Trust {
    fn authority(&self, issuer: &PeerId, now: UnixMillis) -> Option<Authority> {
        let indexes = self
            .inner
            .indexes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        // Two clocks differ by as much for keys as for tokens.
        let skew = std::time::Duration::from_secs(SKEW_S);
        let listed = indexes.iter().find(|(_, held)| {
            held.keys.as_ref().is_some_and(|keys| {
                [now, now.saturating_add(skew), now.saturating_sub(skew)]
                    .into_iter()
                    .any(|at| at < keys.expires_at && keys.valid_key(issuer, at).is_some())
            })
        });
        if let Some((index, held)) = listed {
            return Some(Authority {
                identity: *index,
                min_revocation_epoch: held.revocation.as_ref().map_or(0, |r| r.min_epoch),
            });
        }
        self.allows(issuer).then_some(Authority {
            identity: *issuer,
            min_revocation_epoch: 0,
        })
    }

    fn is_revoked(&self, issuer: &PeerId, token: &TokenId) -> bool {
        let indexes = self
            .inner
            .indexes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        indexes.values().any(|held| {
            let lists = |keys: &KeySet| keys.keys.iter().any(|key| key.key == *issuer);
            held.keys.as_ref().is_some_and(lists)
                && held
                    .revocation
                    .as_ref()
                    .is_some_and(|revocation| revocation.tokens.binary_search(token).is_ok())
        })
    }
}

/// The statements of a kind that still verify. A damaged one is as if it had never
/// been sent: the index sends it again.
async fn statements<T>(store: &Store, kind: &'static str) -> Result<Vec<T>, StoreError>
where
    T: embermesh_crypto::statement::Statement,
{
    let mut found = Vec::new();
    for bytes in store.statements(kind).await? {
        match Signed::<T>::from_bytes(bytes).and_then(|signed| signed.open()) {
            Ok(verified) => found.push((*verified).clone()),
            Err(error) => tracing::warn!(%error, kind, "a kept statement no longer holds"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
