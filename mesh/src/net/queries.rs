//! Questions to the DHT: who provides a key, and the announcement that we do.

use std::collections::{BTreeSet, HashMap, VecDeque};

use embermesh_crypto::{digest::Digest, ids::PeerId};
use libp2p::kad::{
    AddProviderError, AddProviderOk, Behaviour, GetProvidersOk, ProgressStep, QueryId, QueryResult,
    RecordKey,
};
use tokio::sync::oneshot;

use super::{MeshError, address, providers::ProviderStore, routing};

/// Providers that are enough of an answer.
pub(crate) const ENOUGH_PROVIDERS: usize = 20;
/// Questions under way at once.
const MAX_QUERIES: usize = 256;
/// Announcements of keys under way at once after a join.
const MAX_ANNOUNCING: usize = 8;
/// Letters of the name of a class.
const MAX_CLASS_NAME: usize = 64;

/// The key of a blob.
pub(crate) fn blob_key(digest: &Digest) -> RecordKey {
    RecordKey::new(&[b"blob/".as_slice(), digest.as_bytes()].concat())
}

/// The key of a class of capability, such as `device/cpu`.
pub(crate) fn class_key(class: &str) -> Result<RecordKey, MeshError> {
    let plain = class
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-._".contains(&b));
    if class.is_empty() || class.len() > MAX_CLASS_NAME || !plain {
        return Err(MeshError::InvalidProtocol(class.to_owned()));
    }
    Ok(RecordKey::new(&[b"class/", class.as_bytes()].concat()))
}

/// The answer to the question who provides a key.
pub(crate) type ProvidersReply = oneshot::Sender<Result<Vec<PeerId>, MeshError>>;
/// The answer to an announcement.
pub(crate) type ProvideReply = oneshot::Sender<Result<(), MeshError>>;

enum Query {
    Providers {
        found: BTreeSet<PeerId>,
        reply: ProvidersReply,
    },
    Provide {
        reply: Option<ProvideReply>,
    },
}

/// The questions under way.
#[derive(Default)]
pub(crate) struct Queries {
    open: HashMap<QueryId, Query>,
    to_announce: VecDeque<RecordKey>,
    announcing: usize,
}

impl Queries {
    /// Asks who provides a key.
    pub(crate) fn providers(
        &mut self,
        kad: &mut Behaviour<ProviderStore>,
        key: RecordKey,
        reply: ProvidersReply,
    ) {
        if self.open.len() >= MAX_QUERIES {
            let _ = reply.send(Err(MeshError::Busy("too many questions to the DHT")));
            return;
        }
        let id = kad.get_providers(key);
        self.open.insert(
            id,
            Query::Providers {
                found: BTreeSet::new(),
                reply,
            },
        );
    }

    /// Announces that this process provides a key, now and from time to time.
    pub(crate) fn provide(
        &mut self,
        kad: &mut Behaviour<ProviderStore>,
        key: RecordKey,
        reply: ProvideReply,
    ) {
        if self.open.len() >= MAX_QUERIES {
            let _ = reply.send(Err(MeshError::Busy("too many questions to the DHT")));
            return;
        }
        match kad.start_providing(key) {
            Ok(id) => {
                self.open.insert(id, Query::Provide { reply: Some(reply) });
            }
            Err(_) => {
                let _ = reply.send(Err(MeshError::Busy("as many keys are provided as may be")));
            }
        }
    }

    /// Announces every provided key again: after a join, when those who heard the
    /// last announcement may be gone.
    pub(crate) fn announce_all(&mut self, kad: &mut Behaviour<ProviderStore>) {
        self.to_announce = kad.store_mut().provided_keys().into();
        self.announce_next(kad);
    }

    fn announce_next(&mut self, kad: &mut Behaviour<ProviderStore>) {
        while self.announcing < MAX_ANNOUNCING {
            let Some(key) = self.to_announce.pop_front() else {
                return;
            };
            if let Ok(id) = kad.start_providing(key) {
                self.announcing += 1;
                self.open.insert(id, Query::Provide { reply: None });
            }
        }
    }

    /// Takes in what a query has found.
    pub(crate) fn progressed(
        &mut self,
        kad: &mut Behaviour<ProviderStore>,
        id: QueryId,
        result: QueryResult,
        step: &ProgressStep,
    ) {
        match result {
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                self.found(kad, id, providers.iter().filter_map(address::ours));
            }
            QueryResult::StartProviding(result) => self.announced(kad, id, &result),
            QueryResult::Bootstrap(_) if routing::is_well_filled(kad) => {
                if let Some(mut query) = kad.query_mut(&id) {
                    query.finish();
                }
            }
            _ => {}
        }
        if step.last {
            self.finish(id);
        }
    }

    fn found(
        &mut self,
        kad: &mut Behaviour<ProviderStore>,
        id: QueryId,
        peers: impl Iterator<Item = PeerId>,
    ) {
        let Some(Query::Providers { found, .. }) = self.open.get_mut(&id) else {
            return;
        };
        found.extend(peers);
        if found.len() >= ENOUGH_PROVIDERS
            && let Some(mut query) = kad.query_mut(&id)
        {
            query.finish();
        }
    }

    fn announced(
        &mut self,
        kad: &mut Behaviour<ProviderStore>,
        id: QueryId,
        result: &Result<AddProviderOk, AddProviderError>,
    ) {
        let Some(Query::Provide { reply }) = self.open.remove(&id) else {
            return;
        };
        match reply {
            // A timeout means that some of the peers nearest to the key were slow;
            // the record is kept here and announced again later.
            Some(reply) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "an announcement did not reach every peer");
                }
                let _ = reply.send(Ok(()));
            }
            None => {
                self.announcing = self.announcing.saturating_sub(1);
                self.announce_next(kad);
            }
        }
    }

    fn finish(&mut self, id: QueryId) {
        if let Some(Query::Providers { found, reply }) = self.open.remove(&id) {
            let _ = reply.send(Ok(found.into_iter().take(ENOUGH_PROVIDERS).collect()));
        }
    }
}
