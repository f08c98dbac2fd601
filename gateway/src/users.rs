//! Users of foreign systems: names, passwords, sessions, and whose word is taken without.
//!
//! - [`policy`]: who may call a dialect, per dialect.
//! - [`pins`]: ids without a password, which belong to whoever used them first.
//!
//! A user belongs to one dialect. Of a password a salted hash is kept, of a session's
//! token a hash; neither is ever logged. A session lives [`SESSION_LIFE`] and survives a
//! restart; the ended ones are swept out whenever somebody logs in.

mod admit;
mod limiter;
mod names;
mod password;
pub mod pins;
pub mod policy;
mod store;

use std::{fmt, net::IpAddr, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Dialect, ErrorCode, Failure,
    port::{
        Principal,
        users::{Credentials, Session, Users},
    },
};
use embermesh_storage::database::{self, NotOpened, Writer};
use sqlx::{Row as _, SqlitePool};
use tokio::sync::Mutex;

pub use self::names::{MAX_NAME, MAX_PASSWORD, MIN_PASSWORD};
use self::{
    limiter::{Limiter, host},
    password::{HASH, Hasher, SALT},
    pins::{PinKind, signed},
    policy::{Belief, Policies, Policy},
    store::failed,
};

/// How long a session lives.
pub const SESSION_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The most sessions of one user; with one more, the one that ends first is ended.
pub const MAX_SESSIONS: i64 = 32;
/// Bytes of a token before it is written as text.
const TOKEN: usize = 32;
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 128;
/// How many log-ins may fail in a row for one name in [`WINDOW`].
const MAX_TRIES_OF_NAME: u32 = 10;
/// How many log-ins one address may begin in [`WINDOW`].
const MAX_TRIES_FROM: u32 = 60;
/// How many users one address may make in [`WINDOW`].
const MAX_MADE_FROM: u32 = 20;
/// The window of the limits.
const WINDOW: Duration = Duration::from_secs(600);

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The users of every dialect, in a database of their own.
pub struct UserStore {
    writer: Mutex<Writer>,
    readers: SqlitePool,
    policies: Policies,
    clock: Clock,
    hasher: Hasher,
    limits: std::sync::Mutex<Limits>,
}

struct Limits {
    logins: Limiter<Option<IpAddr>>,
    names: Limiter<(Dialect, String)>,
    made: Limiter<Option<IpAddr>>,
}

impl fmt::Debug for UserStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserStore")
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

impl UserStore {
    /// Opens the users' database, or makes it.
    ///
    /// # Errors
    /// When the file cannot be opened or is not such a database.
    pub async fn open(path: &Path, policies: Policies, clock: Clock) -> Result<Self, NotOpened> {
        let (writer, readers) = database::open(path, &store::KIND).await?;
        Ok(Self {
            writer: Mutex::new(writer),
            readers,
            policies,
            clock,
            hasher: Hasher::new(),
            limits: std::sync::Mutex::new(Limits {
                logins: Limiter::new(MAX_TRIES_FROM, WINDOW),
                names: Limiter::new(MAX_TRIES_OF_NAME, WINDOW),
                made: Limiter::new(MAX_MADE_FROM, WINDOW),
            }),
        })
    }

    /// Folds the log into the database and closes it.
    ///
    /// # Errors
    /// What SQLite says; nothing that was acknowledged is lost.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        self.readers.close().await;
        self.writer.into_inner().close().await
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is kept of a user's password.
    async fn kept(
        &self,
        dialect: Dialect,
        name: &str,
    ) -> Result<Option<([u8; SALT], [u8; HASH])>, Failure> {
        let row = sqlx::query("SELECT salt, hash FROM users WHERE dialect = ? AND name = ?")
            .bind(dialect.as_str())
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let salt: Vec<u8> = row.try_get(0).map_err(failed)?;
        let hash: Vec<u8> = row.try_get(1).map_err(failed)?;
        match (salt.try_into(), hash.try_into()) {
            (Ok(salt), Ok(hash)) => Ok(Some((salt, hash))),
            _ => {
                let error = sqlx::Error::Decode("a password's hash has another length".into());
                Err(failed(error))
            }
        }
    }

    async fn by_token(&self, dialect: Dialect, token: &str) -> Result<Principal, Failure> {
        let unknown = || {
            let message = "the token is of no session, or its session has ended: log in again";
            Failure::new(ErrorCode::Unauthenticated, message)
        };
        if token.len() > MAX_TOKEN {
            return Err(unknown());
        }
        let name: Option<String> = sqlx::query(
            "SELECT name FROM sessions WHERE hash = ? AND dialect = ? AND expires_at > ?",
        )
        .bind(hash_of(token))
        .bind(dialect.as_str())
        .bind(signed((self.clock)()))
        .fetch_optional(&self.readers)
        .await
        .and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .map_err(failed)?;
        let name = name.ok_or_else(unknown)?;
        Ok(Principal { dialect, name })
    }

    /// Somebody without a token, where that is allowed: a name that has no password, from
    /// the address that used it first. A call that gives no name at all is by the one name
    /// that its address has.
    async fn by_word(
        &self,
        dialect: Dialect,
        policy: &Policy,
        credentials: Credentials,
    ) -> Result<Principal, Failure> {
        let refused = |message| Failure::new(ErrorCode::Unauthenticated, message);
        if policy.belief == Belief::Strict {
            return Err(refused(
                "log in and send the token as `authorization: Bearer <token>`",
            ));
        }
        let Some(remote) = credentials
            .remote
            .filter(|remote| policy.believes(Some(*remote)))
        else {
            return Err(refused(
                "from this address a token is needed: log in and send it as `authorization: Bearer <token>`",
            ));
        };
        let holder = remote.to_canonical().to_string();
        let name = match credentials.claimed.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => self
                .only_id(PinKind::User, dialect, &holder)
                .await?
                .ok_or_else(|| refused("say who you are: this call gives no name"))?,
        };
        if self.kept(dialect, &name).await?.is_some() {
            return Err(refused(
                "this name has a password: log in and send the token as `authorization: Bearer <token>`",
            ));
        }
        self.pin(PinKind::User, dialect, &name, &holder).await?;
        Ok(Principal { dialect, name })
    }

    async fn begin_session(&self, dialect: Dialect, name: &str) -> Result<Session, Failure> {
        let token = BASE64_URL_SAFE_NO_PAD.encode(random::<TOKEN>()?);
        let now = (self.clock)();
        let expires = now.saturating_add(SESSION_LIFE);
        let mut writer = self.writer.lock().await;
        let mut tx = writer.begin().await.map_err(failed)?;
        sqlx::query("DELETE FROM sessions WHERE expires_at <= ?")
            .bind(signed(now))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        sqlx::query("INSERT INTO sessions (hash, dialect, name, expires_at) VALUES (?, ?, ?, ?)")
            .bind(hash_of(&token))
            .bind(dialect.as_str())
            .bind(name)
            .bind(signed(expires))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        sqlx::query(
            "DELETE FROM sessions WHERE hash IN (
                SELECT hash FROM sessions WHERE dialect = ?1 AND name = ?2
                ORDER BY expires_at DESC LIMIT -1 OFFSET ?3)",
        )
        .bind(dialect.as_str())
        .bind(name)
        .bind(MAX_SESSIONS)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(Session { token, expires })
    }
}

#[tonic::async_trait]
impl Users for UserStore {
    async fn authenticate(
        &self,
        dialect: Dialect,
        credentials: Credentials,
    ) -> Result<Principal, Failure> {
        if let Some(token) = credentials.token.as_ref().filter(|token| !token.is_empty()) {
            return self.by_token(dialect, token).await;
        }
        let policy = self.policies.get(&dialect).cloned().unwrap_or_default();
        self.by_word(dialect, &policy, credentials).await
    }

    async fn register(
        &self,
        dialect: Dialect,
        name: &str,
        password: &str,
        remote: Option<IpAddr>,
    ) -> Result<(), Failure> {
        names::name(name)?;
        names::password(password)?;
        let now = (self.clock)();
        if !self.limits().made.allow(host(remote), now) {
            return Err(too_many("too many users were made from here"));
        }
        let exists = || {
            let message = format!("there is a user {name:?} already: choose another name");
            Failure::new(ErrorCode::Exists, message)
        };
        // A name that is in use without a password may be taken by its user alone.
        let used_from = self.holder(PinKind::User, dialect, name).await?;
        let from = remote.map(|remote| remote.to_canonical().to_string());
        if used_from.is_some() && used_from != from {
            return Err(exists());
        }
        let salt = random::<SALT>()?;
        let hash = self.hasher.hash(password, salt).await?;
        let mut writer = self.writer.lock().await;
        let made = sqlx::query(
            "INSERT INTO users (dialect, name, salt, hash, created_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(dialect.as_str())
        .bind(name)
        .bind(salt.to_vec())
        .bind(hash.to_vec())
        .bind(signed(now))
        .execute(writer.connection())
        .await
        .map_err(failed)?;
        if made.rows_affected() == 0 {
            return Err(exists());
        }
        Ok(())
    }

    async fn login(
        &self,
        dialect: Dialect,
        name: &str,
        password: &str,
        remote: Option<IpAddr>,
    ) -> Result<Session, Failure> {
        names::name(name)?;
        if password.len() > MAX_PASSWORD {
            return Err(wrong_password());
        }
        let key = (dialect, name.to_owned());
        let now = (self.clock)();
        let allowed = {
            let mut limits = self.limits();
            limits.logins.allow(host(remote), now) && limits.names.allow(key.clone(), now)
        };
        if !allowed {
            return Err(too_many("too many tries to log in"));
        }
        let kept = self.kept(dialect, name).await?;
        // The same work for a user who is not there.
        let (salt, expected) = kept.unwrap_or_default();
        let hash = self.hasher.hash(password, salt).await?;
        let right = password::same(&hash, &expected);
        if kept.is_none() {
            let message = format!("there is no user {name:?}: register first");
            return Err(Failure::not_found(message));
        }
        if !right {
            return Err(wrong_password());
        }
        self.limits().names.forgive(&key);
        self.begin_session(dialect, name).await
    }
}

fn wrong_password() -> Failure {
    Failure::new(ErrorCode::Unauthenticated, "the password is wrong")
}

fn too_many(what: &str) -> Failure {
    let minutes = WINDOW.as_secs() / 60;
    let message = format!("{what}: try again in {minutes} minutes");
    Failure::new(ErrorCode::Exhausted, message)
}

/// What is kept of a token. It has 256 random bits, so a plain hash will do.
fn hash_of(token: &str) -> Vec<u8> {
    blake3::hash(token.as_bytes()).as_bytes().to_vec()
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the operating system gives no random bytes");
        Failure::new(ErrorCode::Internal, "no session can be begun now")
    })?;
    Ok(bytes)
}
