//! What is said of reservations, in the database.

use std::collections::BTreeMap;

use embermesh_crypto::UnixMillis;
use embermesh_dialects::port::Principal;
use sqlx::Row as _;

use crate::store::{Store, StoreError};

/// What is said of a reservation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) heard_at: Option<UnixMillis>,
    pub(super) job: Option<String>,
    pub(super) progress: f64,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) done: bool,
    pub(super) jobs_completed: u64,
}

impl Store {
    /// What is said of a reservation; nothing where nobody has said anything.
    pub(super) async fn said(&self, id: u64) -> Result<Said, StoreError> {
        let row = sqlx::query(
            "SELECT *, (SELECT count(*) FROM reservation_jobs WHERE reservation = id) AS completed
             FROM reservations WHERE id = ?1",
        )
        .bind(int(id))
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else {
            return Ok(Said::default());
        };
        let at = |millis: i64| UnixMillis(u64::try_from(millis).unwrap_or_default());
        let metrics: String = row.try_get("metrics")?;
        Ok(Said {
            heard_at: row.try_get::<Option<i64>, _>("heard_ms")?.map(at),
            job: row.try_get("job")?,
            progress: row.try_get("progress")?,
            metrics: serde_json::from_str(&metrics)
                .map_err(|_| StoreError::Row("measures".to_owned()))?,
            done: row.try_get("done")?,
            jobs_completed: u64::try_from(row.try_get::<i64, _>("completed")?).unwrap_or_default(),
        })
    }

    /// Keeps what is said of a reservation, except of its jobs that are over.
    pub(super) async fn say(
        &self,
        who: &Principal,
        id: u64,
        said: &Said,
    ) -> Result<(), StoreError> {
        let metrics = serde_json::to_string(&said.metrics)
            .map_err(|error| StoreError::Row(error.to_string()))?;
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT INTO reservations (id, dialect, owner, heard_ms, job, progress, metrics, done)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET heard_ms = excluded.heard_ms, job = excluded.job,
                 progress = excluded.progress, metrics = excluded.metrics, done = excluded.done",
        )
        .bind(int(id))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(said.heard_at.map(|at| int(at.0)))
        .bind(&said.job)
        .bind(said.progress)
        .bind(metrics)
        .bind(said.done)
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// Counts a job that is over, once.
    pub(super) async fn count_job(&self, id: u64, job: &str) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT INTO reservation_jobs (reservation, job) VALUES (?1, ?2)
             ON CONFLICT DO NOTHING",
        )
        .bind(int(id))
        .bind(job)
        .execute(writer.connection())
        .await?;
        Ok(())
    }
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
