//! What the owner of the node asks of its memory: the newest attempts, and the keys of
//! programs that may look.

use embermesh_crypto::{digest::Digest, time::UnixMillis};
use sqlx::Row as _;

use super::{Durability, Store, StoreError, attempts, attempts::Attempt, signed, trust, unsigned};

/// The newest attempt at a task, as its node's owner sees it.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) attempt: Attempt,
    /// The word for its work; empty where it is not known.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) admitted: UnixMillis,
}

/// A key, as it is kept: its secret is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptKey {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) digest: Digest,
    pub(crate) per_minute: u32,
    pub(crate) made: UnixMillis,
}

impl Store {
    /// The newest attempts at the tasks that were admitted last, the newest first: those
    /// of one job, or of all; those that have ended, or all.
    pub(crate) async fn remembered(
        &self,
        job: Option<embermesh_crypto::JobId>,
        ended: bool,
        most: u32,
    ) -> Result<Vec<Remembered>, StoreError> {
        sqlx::query(
            "SELECT job, task, epoch, client, reports_to, spec_digest, end_code, end_message,
                    kind, name, admitted_at
             FROM attempts AS newest
             WHERE (?1 IS NULL OR job = ?1) AND (?2 OR end_code IS NULL)
               AND epoch = (SELECT max(epoch) FROM attempts AS other
                            WHERE other.job = newest.job AND other.task = newest.task)
             ORDER BY admitted_at DESC, job DESC LIMIT ?3",
        )
        .bind(job.map(|job| job.as_bytes().to_vec()))
        .bind(ended)
        .bind(i64::from(most))
        .fetch_all(self.readers())
        .await?
        .iter()
        .map(|row| {
            let text = |column: &str| row.try_get::<Option<String>, _>(column);
            Ok(Remembered {
                attempt: attempts::attempt(row)?,
                kind: text("kind")?.unwrap_or_default(),
                name: text("name")?.unwrap_or_default(),
                admitted: UnixMillis(unsigned(row.try_get("admitted_at")?)),
            })
        })
        .collect()
    }

    /// How many tasks ended well here, of those that are remembered.
    pub(crate) async fn succeeded(&self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query("SELECT count(*) FROM attempts WHERE outcome = 'succeeded'")
            .fetch_one(self.readers())
            .await?
            .try_get(0)?;
        Ok(unsigned(count))
    }

    /// Every key, the oldest first.
    pub(crate) async fn owner_keys(&self) -> Result<Vec<KeptKey>, StoreError> {
        sqlx::query(
            "SELECT id, name, prefix, digest, per_minute, made_at FROM owner_keys
             ORDER BY made_at, id",
        )
        .fetch_all(self.readers())
        .await?
        .iter()
        .map(|row| {
            let per_minute: i64 = row.try_get("per_minute")?;
            Ok(KeptKey {
                id: row.try_get("id")?,
                name: row.try_get("name")?,
                prefix: row.try_get("prefix")?,
                digest: trust::digest(&row.try_get::<Vec<u8>, _>("digest")?)?,
                per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX),
                made: UnixMillis(unsigned(row.try_get("made_at")?)),
            })
        })
        .collect()
    }

    /// Remembers a key.
    pub(crate) async fn keep_owner_key(&self, key: &KeptKey) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Power).await?;
        sqlx::query(
            "INSERT INTO owner_keys (id, name, prefix, digest, per_minute, made_at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&key.id)
        .bind(&key.name)
        .bind(&key.prefix)
        .bind(key.digest.as_bytes().to_vec())
        .bind(i64::from(key.per_minute))
        .bind(signed(key.made.0))
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// Forgets a key.
    pub(crate) async fn forget_owner_key(&self, id: &str) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Power).await?;
        sqlx::query("DELETE FROM owner_keys WHERE id = ?")
            .bind(id)
            .execute(writer.connection())
            .await?;
        Ok(())
    }
}
