//! Keys of programs that may look at the node. Of each the digest of its secret is kept,
//! and its secret nowhere.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use embermesh_crypto::{digest::Digest, time::UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Call,
        owner::keys::{KeyView, Keys},
    },
};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::{Foreign, Right, secret};
use crate::{foreign::failure, store::KeptKey};

/// Keys of one node.
const MAX_KEYS: usize = 64;
/// The longest name of a key, in characters.
const MAX_NAME: usize = 64;
/// Calls of a key within a minute, where its maker does not say, and at most.
const USUAL_CALLS: u32 = 600;
const MAX_CALLS: u32 = 60_000;
/// What every secret begins with, so that one which is lost is known for what it is.
const MARK: &str = "emk_";
/// How much of a secret is shown of a key.
const PREFIX: usize = MARK.len() + 8;
/// Bytes of an id.
const ID: usize = 8;
/// Over what time calls are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// A key in use.
struct Held {
    kept: KeptKey,
    used: Option<UnixMillis>,
    calls: u64,
    /// When the count began, and how many calls there were since.
    window: Option<(Instant, u32)>,
    /// Ends what follows from the key.
    until: CancellationToken,
}

impl Held {
    fn new(kept: KeptKey) -> Self {
        Self {
            kept,
            used: None,
            calls: 0,
            window: None,
            until: CancellationToken::new(),
        }
    }

    fn view(&self) -> KeyView {
        KeyView {
            id: self.kept.id.clone(),
            name: self.kept.name.clone(),
            prefix: self.kept.prefix.clone(),
            made: self.kept.made,
            used: self.used,
            calls: self.calls,
            per_minute: self.kept.per_minute,
        }
    }
}

/// Every key, by the digest of its secret.
pub(super) struct Keyring {
    held: Mutex<BTreeMap<Digest, Held>>,
    /// Held by whoever makes or ends one, until that is on the disk.
    writing: tokio::sync::Mutex<()>,
}

impl Keyring {
    pub(super) fn new(kept: Vec<KeptKey>) -> Self {
        let held = kept.into_iter().map(|key| (key.digest, Held::new(key)));
        Self {
            held: Mutex::new(held.collect()),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Lets the holder of a secret in, and counts it.
    pub(super) fn show(
        &self,
        digest: &Digest,
        now: Instant,
        at: UnixMillis,
    ) -> Result<CancellationToken, Failure> {
        let mut held = self.held();
        let key = held.get_mut(digest).ok_or_else(|| {
            let message = "what is held out is neither the owner's word of this start of the node nor a key of his";
            Failure::new(ErrorCode::Unauthenticated, message)
        })?;
        let (begun, calls) = match key.window {
            Some((begun, calls)) if now < begun + WINDOW => (begun, calls),
            _ => (now, 0),
        };
        if calls >= key.kept.per_minute {
            let message = format!("this key is good for {calls} calls a minute: wait");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        key.window = Some((begun, calls + 1));
        key.used = Some(at);
        key.calls += 1;
        Ok(key.until.clone())
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Digest, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> Vec<KeyView> {
        let mut views: Vec<KeyView> = self.held().values().map(Held::view).collect();
        views.sort_by(|a, b| (a.made, &a.id).cmp(&(b.made, &b.id)));
        views
    }
}

#[tonic::async_trait]
impl Keys for Foreign {
    async fn keys(&self, call: &Call) -> Result<Vec<KeyView>, Failure> {
        self.entitled(call, Right::Command)?;
        Ok(self.inner.parts.owner.keys.views())
    }

    async fn make_key(
        &self,
        call: &Call,
        name: &str,
        per_minute: u32,
    ) -> Result<(KeyView, String), Failure> {
        self.entitled(call, Right::Command)?;
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control)
        {
            let message = format!("name: give 1 to {MAX_NAME} characters");
            return Err(Failure::invalid(message));
        }
        if per_minute > MAX_CALLS {
            let message = format!("rate_limit_rpm: {MAX_CALLS} at most");
            return Err(Failure::invalid(message));
        }
        let ring = &self.inner.parts.owner.keys;
        let _turn = ring.writing.lock().await;
        if ring.held().len() >= MAX_KEYS {
            let message = format!("there are {MAX_KEYS} keys already: revoke one");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        let secret = format!("{MARK}{}", secret());
        let id: [u8; ID] = rand::random();
        let kept = KeptKey {
            id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            name: name.to_owned(),
            prefix: secret[..PREFIX].to_owned(),
            digest: Digest::of(secret.as_bytes()),
            per_minute: if per_minute == 0 {
                USUAL_CALLS
            } else {
                per_minute
            },
            made: UnixMillis::now(),
        };
        let store = &self.inner.parts.site.store;
        let stored = store.keep_owner_key(&kept).await;
        stored.map_err(|error| failure::store(&error))?;
        tracing::info!(id = kept.id, name, "the owner has made a key");
        let held = Held::new(kept);
        let view = held.view();
        ring.held().insert(held.kept.digest, held);
        Ok((view, secret))
    }

    async fn revoke_key(&self, call: &Call, id: &str) -> Result<(), Failure> {
        self.entitled(call, Right::Command)?;
        let ring = &self.inner.parts.owner.keys;
        let _turn = ring.writing.lock().await;
        let found = ring.held().values().find_map(|held| {
            let is_it = held.kept.id == id;
            is_it.then_some(held.kept.digest)
        });
        let digest = found.ok_or_else(|| Failure::not_found(format!("there is no key {id:?}")))?;
        let store = &self.inner.parts.site.store;
        let forgotten = store.forget_owner_key(id).await;
        forgotten.map_err(|error| failure::store(&error))?;
        if let Some(held) = ring.held().remove(&digest) {
            held.until.cancel();
        }
        tracing::info!(id, "the owner has revoked a key");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lets_in_as_often_as_it_may_within_a_minute() {
        let digest = Digest::of(b"secret");
        let ring = Keyring::new(vec![KeptKey {
            id: "1".to_owned(),
            name: "panel".to_owned(),
            prefix: String::new(),
            digest,
            per_minute: 2,
            made: UnixMillis(1),
        }]);
        let start = Instant::now();
        let show = |digest: &Digest, after: u64| {
            ring.show(
                digest,
                start + Duration::from_secs(after),
                UnixMillis(after),
            )
            .map_err(|refused| refused.code)
            .map(|_| ())
        };
        let unknown = show(&Digest::of(b"guess"), 0);
        assert_eq!(unknown, Err(ErrorCode::Unauthenticated));
        assert_eq!((show(&digest, 0), show(&digest, 59)), (Ok(()), Ok(())));
        assert_eq!(show(&digest, 59), Err(ErrorCode::Exhausted));
        assert_eq!(show(&digest, 60), Ok(()));
        let view = &ring.views()[0];
        assert_eq!((view.calls, view.used), (3, Some(UnixMillis(60))));
    }
}
