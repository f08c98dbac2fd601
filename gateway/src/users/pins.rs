//! An id without a password belongs to the first key or address that used it.

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{Dialect, ErrorCode, Failure};
use sqlx::Row as _;

use super::{UserStore, names, store::failed};

/// What an id is of. Ids of different kinds have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinKind {
    /// Somebody who submits.
    User,
    /// A node, or a worker.
    Worker,
}

impl PinKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Worker => "worker",
        }
    }
}

/// The most ids of one kind that one holder may have: whoever could take ids without end
/// would fill the disk.
pub const MAX_PINS_OF_HOLDER: i64 = 256;
/// The longest holder, in bytes.
const MAX_HOLDER: usize = 128;

impl UserStore {
    /// Gives an id to a holder, a key or an address as a text, if nobody has it.
    ///
    /// # Errors
    /// `Denied` when somebody else has it, `Invalid` for an id that is no name,
    /// `Exhausted` when the holder has [`MAX_PINS_OF_HOLDER`].
    pub async fn pin(
        &self,
        kind: PinKind,
        dialect: Dialect,
        id: &str,
        holder: &str,
    ) -> Result<(), Failure> {
        names::name(id)?;
        if holder.is_empty() || holder.len() > MAX_HOLDER {
            return Err(Failure::invalid(
                "the holder of an id is a key or an address",
            ));
        }
        match self.holder(kind, dialect, id).await? {
            Some(has) if has == holder => return Ok(()),
            Some(_) => return Err(taken(id)),
            None => {}
        }
        let mut writer = self.writer.lock().await;
        let mut tx = writer.begin().await.map_err(failed)?;
        let count: i64 =
            sqlx::query("SELECT count(*) FROM pins WHERE kind = ? AND dialect = ? AND holder = ?")
                .bind(kind.as_str())
                .bind(dialect.as_str())
                .bind(holder)
                .fetch_one(&mut *tx)
                .await
                .and_then(|row| row.try_get(0))
                .map_err(failed)?;
        if count >= MAX_PINS_OF_HOLDER {
            let message =
                format!("{MAX_PINS_OF_HOLDER} ids are in use from there: use one of them");
            return Err(Failure::new(ErrorCode::Exhausted, message));
        }
        sqlx::query(
            "INSERT INTO pins (kind, dialect, name, holder, pinned_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(kind.as_str())
        .bind(dialect.as_str())
        .bind(id)
        .bind(holder)
        .bind(signed((self.clock)()))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        let has: String =
            sqlx::query("SELECT holder FROM pins WHERE kind = ? AND dialect = ? AND name = ?")
                .bind(kind.as_str())
                .bind(dialect.as_str())
                .bind(id)
                .fetch_one(&mut *tx)
                .await
                .and_then(|row| row.try_get(0))
                .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        if has == holder {
            Ok(())
        } else {
            Err(taken(id))
        }
    }

    /// Whether a name is somebody's, with a password or without.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn exists(&self, dialect: Dialect, name: &str) -> Result<bool, Failure> {
        if self.kept(dialect, name).await?.is_some() {
            return Ok(true);
        }
        let used = self.holder(PinKind::User, dialect, name).await?;
        Ok(used.is_some())
    }

    /// Who has an id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holder(
        &self,
        kind: PinKind,
        dialect: Dialect,
        id: &str,
    ) -> Result<Option<String>, Failure> {
        sqlx::query("SELECT holder FROM pins WHERE kind = ? AND dialect = ? AND name = ?")
            .bind(kind.as_str())
            .bind(dialect.as_str())
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .and_then(|row| row.map(|row| row.try_get(0)).transpose())
            .map_err(failed)
    }

    /// The one id that a holder has; nothing when it has none or several.
    pub(super) async fn only_id(
        &self,
        kind: PinKind,
        dialect: Dialect,
        holder: &str,
    ) -> Result<Option<String>, Failure> {
        let rows = sqlx::query(
            "SELECT name FROM pins WHERE kind = ? AND dialect = ? AND holder = ? LIMIT 2",
        )
        .bind(kind.as_str())
        .bind(dialect.as_str())
        .bind(holder)
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        match rows.as_slice() {
            [row] => row.try_get(0).map(Some).map_err(failed),
            _ => Ok(None),
        }
    }
}

fn taken(id: &str) -> Failure {
    let message = format!("{id:?} is in use from somewhere else: choose another id");
    Failure::new(ErrorCode::Denied, message)
}

/// As SQLite keeps it.
pub(super) fn signed(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}
