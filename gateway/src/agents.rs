//! Agents of foreign systems, that answer clients at addresses of their own.
//!
//! They are kept over a restart, so that none has to join again. One that was not heard
//! of for [`SILENCE`] is sent nobody; after [`FORGOTTEN`] it is forgotten.

mod choice;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Dialect, ErrorCode, Failure,
    port::{
        Principal,
        agents::{AgentHealth, AgentOffer, AgentView, Agents},
        users::{Credentials, Users as _},
    },
};
use sqlx::Row as _;

use crate::{
    Gateway, StoreError,
    failure::store_failed,
    store::{Store, millis},
    users::pins::PinKind,
};

/// How long an agent may be silent before nobody is sent to it.
const SILENCE: Duration = Duration::from_secs(30);
/// How long an agent that is silent is remembered.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often it is written down that an agent lives.
const KEPT_EVERY: Duration = Duration::from_secs(24 * 3600);
/// The most agents.
const MOST: usize = 10_000;
/// The most models of one.
const MODELS: usize = 256;
/// The longest name of a model, or address, in bytes.
const NAME: usize = 256;

type Key = (Dialect, String);

/// The agents that are known.
#[derive(Default)]
pub(crate) struct Table {
    agents: Mutex<BTreeMap<Key, Known>>,
}

#[derive(Clone)]
struct Known {
    offer: AgentOffer,
    /// Nothing until it has said how it is, in this process.
    health: Option<AgentHealth>,
    heard_at: UnixMillis,
    /// When that it lives was written down last.
    kept_at: UnixMillis,
}

impl Known {
    fn view(&self, now: UnixMillis) -> AgentView {
        let silent = now > self.heard_at.saturating_add(SILENCE);
        AgentView {
            standing: choice::standing(&self.offer, self.health.as_ref(), silent),
            offer: self.offer.clone(),
            health: self.health.unwrap_or_default(),
            heard_at: self.heard_at,
        }
    }
}

impl Table {
    fn agents(&self) -> MutexGuard<'_, BTreeMap<Key, Known>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was kept by the process before.
    pub(crate) async fn load(store: &Store, now: UnixMillis) -> Result<Self, StoreError> {
        store.forget_agents(now).await?;
        let rows = sqlx::query("SELECT dialect, id, offer, heard_ms FROM agents")
            .fetch_all(&store.readers)
            .await?;
        let mut agents = BTreeMap::new();
        for row in rows {
            let (word, id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let unreadable = |what: String| StoreError::Row(format!("agent {id:?}: {what}"));
            let dialect = Dialect::ALL
                .into_iter()
                .find(|dialect| dialect.as_str() == word)
                .ok_or_else(|| unreadable(word))?;
            let offer: String = row.try_get(2)?;
            let offer =
                serde_json::from_str(&offer).map_err(|error| unreadable(error.to_string()))?;
            let kept_ms: i64 = row.try_get(3)?;
            let known = Known {
                offer,
                health: None,
                heard_at: UnixMillis(u64::try_from(kept_ms).unwrap_or_default()),
                kept_at: UnixMillis(u64::try_from(kept_ms).unwrap_or_default()),
            };
            agents.insert((dialect, id), known);
        }
        Ok(Self {
            agents: Mutex::new(agents),
        })
    }
}

impl Store {
    async fn forget_agents(&self, now: UnixMillis) -> Result<(), StoreError> {
        let since = now
            .0
            .saturating_sub(u64::try_from(FORGOTTEN.as_millis()).unwrap_or(u64::MAX));
        let mut writer = self.writer.lock().await;
        sqlx::query("DELETE FROM agents WHERE heard_ms < ?")
            .bind(millis(UnixMillis(since)))
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    async fn keep_agent(
        &self,
        dialect: Dialect,
        offer: &AgentOffer,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let text =
            serde_json::to_string(offer).map_err(|error| StoreError::Row(error.to_string()))?;
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT INTO agents (dialect, id, offer, heard_ms) VALUES (?, ?, ?, ?)
             ON CONFLICT (dialect, id) DO UPDATE SET offer = excluded.offer, heard_ms = excluded.heard_ms",
        )
        .bind(dialect.as_str())
        .bind(&offer.id)
        .bind(text)
        .bind(millis(now))
        .execute(writer.connection())
        .await?;
        Ok(())
    }
}

/// Refuses what is no offer.
fn checked(offer: &AgentOffer) -> Result<(), Failure> {
    let (host, port) = offer.endpoint.rsplit_once(':').unwrap_or_default();
    let is_address = !host.is_empty()
        && offer.endpoint.len() <= NAME
        && !offer
            .endpoint
            .contains(|c: char| c.is_whitespace() || c == '/')
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    if !is_address {
        let message = format!("endpoint: {:?} is not host:port", offer.endpoint);
        return Err(Failure::invalid(message));
    }
    if offer.models.len() > MODELS || offer.models.iter().any(|name| name.len() > NAME) {
        return Err(Failure::invalid(format!(
            "supported_models: {MODELS} names of {NAME} bytes at most"
        )));
    }
    Ok(())
}

impl Gateway {
    /// Who speaks for an agent, which is his and nobody else's.
    async fn speaks_for(
        &self,
        dialect: Dialect,
        mut credentials: Credentials,
        id: &str,
    ) -> Result<Principal, Failure> {
        if id.is_empty() {
            return Err(Failure::invalid("agent_id is required"));
        }
        credentials.claimed = Some(id.to_owned());
        let who = self.authenticate(dialect, credentials).await?;
        let users = &self.inner.users;
        let holder = format!("user:{}", who.name);
        users.pin(PinKind::Worker, dialect, id, &holder).await?;
        Ok(who)
    }
}

#[tonic::async_trait]
impl Agents for Gateway {
    async fn enroll(
        &self,
        dialect: Dialect,
        credentials: Credentials,
        offer: AgentOffer,
    ) -> Result<(), Failure> {
        checked(&offer)?;
        let who = self.speaks_for(dialect, credentials, &offer.id).await?;
        let table = &self.inner.agents;
        let key = (dialect, offer.id.clone());
        if table.agents().len() >= MOST && !table.agents().contains_key(&key) {
            let message = format!("{MOST} agents are known here: no more are taken");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        let now = UnixMillis::now();
        let kept = self.inner.store.keep_agent(dialect, &offer, now).await;
        kept.map_err(|error| store_failed(&error))?;
        tracing::info!(agent = offer.id, endpoint = offer.endpoint, %who, "an agent has joined");
        let known = Known {
            offer,
            health: None,
            heard_at: now,
            kept_at: now,
        };
        table.agents().insert(key, known);
        Ok(())
    }

    async fn report(
        &self,
        dialect: Dialect,
        credentials: Credentials,
        id: &str,
        health: AgentHealth,
    ) -> Result<(), Failure> {
        self.speaks_for(dialect, credentials, id).await?;
        let now = UnixMillis::now();
        let stale = {
            let mut agents = self.inner.agents.agents();
            let known = agents
                .get_mut(&(dialect, id.to_owned()))
                .ok_or_else(|| Failure::not_found(format!("agent {id} not registered")))?;
            known.health = Some(health);
            known.heard_at = now;
            let stale = now > known.kept_at.saturating_add(KEPT_EVERY);
            if stale {
                known.kept_at = now;
            }
            stale.then(|| known.offer.clone())
        };
        if let Some(offer) = stale {
            let kept = self.inner.store.keep_agent(dialect, &offer, now).await;
            kept.map_err(|error| store_failed(&error))?;
        }
        Ok(())
    }

    async fn agents(&self, dialect: Dialect) -> Result<Vec<AgentView>, Failure> {
        let now = UnixMillis::now();
        let agents = self.inner.agents.agents();
        Ok(agents
            .iter()
            .filter(|((of, _), _)| *of == dialect)
            .map(|(_, known)| known.view(now))
            .collect())
    }

    async fn agent_for(&self, dialect: Dialect, model: &str) -> Result<Option<AgentView>, Failure> {
        Ok(choice::choose(self.agents(dialect).await?, model))
    }
}
