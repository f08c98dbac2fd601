//! What an operator does: gives somebody a session, in systems that have no call for it.

use embermesh_dialects::{Dialect, ErrorCode, Failure, port::users::Session};

use super::{
    UserStore, names,
    password::{HASH, SALT},
    pins::{PinKind, signed},
    random,
    store::failed,
};

impl UserStore {
    /// Gives a session to a user, and makes him first where there is none of that name.
    /// He has a password that nobody knows, so that from then on the name is believed
    /// with a token alone.
    ///
    /// # Errors
    /// `Invalid` for what is no name, `Exists` for one that somebody uses without a
    /// token.
    pub async fn admit(&self, dialect: Dialect, name: &str) -> Result<Session, Failure> {
        names::name(name)?;
        if self.kept(dialect, name).await?.is_none() {
            let used = self.holder(PinKind::User, dialect, name).await?;
            if let Some(holder) = used {
                let message = format!(
                    "{name:?} is in use without a token from {holder}: choose another name"
                );
                return Err(Failure::new(ErrorCode::Exists, message));
            }
            // Nothing is known that hashes to these.
            let (salt, hash) = (random::<SALT>()?, random::<HASH>()?);
            let mut writer = self.writer.lock().await;
            sqlx::query(
                "INSERT INTO users (dialect, name, salt, hash, created_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(dialect.as_str())
            .bind(name)
            .bind(salt.to_vec())
            .bind(hash.to_vec())
            .bind(signed((self.clock)()))
            .execute(writer.connection())
            .await
            .map_err(failed)?;
        }
        self.begin_session(dialect, name).await
    }
}
