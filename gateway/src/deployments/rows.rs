//! Deployments in the database.

use std::time::Duration;

use embermesh_crypto::{Digest, UnixMillis, ids::JobId};
use embermesh_dialects::port::{Principal, deployments::Measure, registry::ModelFormat};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::store::{Store, StoreError};

/// A deployment as it is kept.
#[derive(Clone, Debug)]
pub(super) struct KeptDeployment {
    pub(super) number: i64,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) model: Option<String>,
    pub(super) digest: Digest,
    pub(super) format: ModelFormat,
    pub(super) created_at: UnixMillis,
    pub(super) asked: Measure,
}

impl Store {
    /// Keeps a new deployment. Nothing when its owner has one of that id already, or as
    /// many as he may have.
    pub(super) async fn add_deployment(
        &self,
        who: &Principal,
        deployment: &KeptDeployment,
        most: u64,
    ) -> Result<bool, StoreError> {
        let mut writer = self.writer.lock().await;
        let added = sqlx::query(
            "INSERT INTO deployments (dialect, owner, id, name, model, digest, format, created_ms)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
             WHERE (SELECT count(*) FROM deployments WHERE dialect = ?1 AND owner = ?2) < ?9
             ON CONFLICT DO NOTHING",
        )
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(&deployment.id)
        .bind(&deployment.name)
        .bind(&deployment.model)
        .bind(deployment.digest.to_string())
        .bind(deployment.format.as_str())
        .bind(int(deployment.created_at.0))
        .bind(int(most))
        .execute(writer.connection())
        .await?;
        Ok(added.rows_affected() > 0)
    }

    /// Forgets a deployment and what was measured of it.
    pub(super) async fn remove_deployment(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "DELETE FROM deployment_minutes WHERE deployment IN
             (SELECT number FROM deployments WHERE dialect = ?1 AND owner = ?2 AND id = ?3)",
        )
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(id)
        .execute(writer.connection())
        .await?;
        sqlx::query("DELETE FROM deployments WHERE dialect = ?1 AND owner = ?2 AND id = ?3")
            .bind(who.dialect.as_str())
            .bind(&who.name)
            .bind(id)
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// The deployment that somebody calls so.
    pub(super) async fn find_deployment(
        &self,
        who: &Principal,
        id: &str,
    ) -> Result<Option<KeptDeployment>, StoreError> {
        let row =
            sqlx::query("SELECT * FROM deployments WHERE dialect = ?1 AND owner = ?2 AND id = ?3")
                .bind(who.dialect.as_str())
                .bind(&who.name)
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
        row.as_ref().map(kept).transpose()
    }

    /// Every deployment of an owner, the newest first.
    pub(super) async fn deployments_of(
        &self,
        who: &Principal,
    ) -> Result<Vec<KeptDeployment>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM deployments WHERE dialect = ?1 AND owner = ?2 ORDER BY number DESC",
        )
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(kept).collect()
    }

    /// Counts an ask of the deployment that is this job, if it is one, and lets go what
    /// was counted before `keep_from`.
    pub(super) async fn count_ask(
        &self,
        job: JobId,
        ask: &Measure,
        keep_from: UnixMillis,
    ) -> Result<(), StoreError> {
        let micros = i64::try_from(ask.time.as_micros()).unwrap_or(i64::MAX);
        let mut writer = self.writer.lock().await;
        let counted = sqlx::query(
            "UPDATE deployments SET asks = asks + ?2, failed = failed + ?3, micros = micros + ?4
             WHERE number = (SELECT deployments.number FROM deployments
                             JOIN jobs USING (dialect, owner, id) WHERE jobs.job = ?1)
             RETURNING number",
        )
        .bind(job.to_string().into_bytes())
        .bind(int(ask.asks))
        .bind(int(ask.failed))
        .bind(micros)
        .fetch_optional(writer.connection())
        .await?;
        let Some(row) = counted else {
            return Ok(());
        };
        let number: i64 = row.try_get(0)?;
        sqlx::query(
            "INSERT INTO deployment_minutes (deployment, minute, asks, failed, micros)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET asks = asks + excluded.asks,
                 failed = failed + excluded.failed, micros = micros + excluded.micros",
        )
        .bind(number)
        .bind(minute(ask.at))
        .bind(int(ask.asks))
        .bind(int(ask.failed))
        .bind(micros)
        .execute(writer.connection())
        .await?;
        sqlx::query("DELETE FROM deployment_minutes WHERE deployment = ?1 AND minute < ?2")
            .bind(number)
            .bind(minute(keep_from))
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// What was asked of a deployment from one minute to before another, the oldest
    /// first: the newest `most` minutes of it.
    pub(super) async fn minutes(
        &self,
        number: i64,
        from: UnixMillis,
        to: UnixMillis,
        most: usize,
    ) -> Result<Vec<Measure>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM deployment_minutes
                            WHERE deployment = ?1 AND minute >= ?2 AND minute <= ?3
                            ORDER BY minute DESC LIMIT ?4) ORDER BY minute",
        )
        .bind(number)
        .bind(minute(from))
        .bind(minute(to))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await?;
        let measures = rows.iter().map(|row| {
            let at = count(row, "minute")?.saturating_mul(MINUTE_MS);
            measure(row, UnixMillis(at), Duration::from_millis(MINUTE_MS))
        });
        measures.collect()
    }
}

/// Milliseconds of a minute.
const MINUTE_MS: u64 = 60_000;

fn minute(at: UnixMillis) -> i64 {
    int(at.0 / MINUTE_MS)
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}

fn measure(row: &SqliteRow, at: UnixMillis, span: Duration) -> Result<Measure, StoreError> {
    Ok(Measure {
        at,
        span,
        asks: count(row, "asks")?,
        failed: count(row, "failed")?,
        time: Duration::from_micros(count(row, "micros")?),
    })
}

fn kept(row: &SqliteRow) -> Result<KeptDeployment, StoreError> {
    let wrong = |what: &str| StoreError::Row(what.to_owned());
    let (digest, format): (String, String) = (row.try_get("digest")?, row.try_get("format")?);
    let created_at = UnixMillis(count(row, "created_ms")?);
    Ok(KeptDeployment {
        number: row.try_get("number")?,
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        model: row.try_get("model")?,
        digest: digest.parse().map_err(|_| wrong("a digest"))?,
        format: ModelFormat::ALL
            .into_iter()
            .find(|known| known.as_str() == format)
            .ok_or_else(|| wrong("a format"))?,
        created_at,
        asked: measure(row, created_at, Duration::ZERO)?,
    })
}
