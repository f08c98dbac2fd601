//! The log of each task.

use embermesh_crypto::token::TaskRef;
use embermesh_job::{assignment::TaskKey, event::Event};
use sqlx::Row as _;

use super::{Durability, Store, StoreError, signed, unsigned};

impl Store {
    /// Writes events of a task, in order. One that is there already is left.
    pub(crate) async fn append(&self, key: TaskKey, events: &[Event]) -> Result<(), StoreError> {
        let mut writer = self.writer(Durability::Process).await?;
        let mut tx = writer.begin().await?;
        for event in events {
            insert(&mut tx, key, event).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Events after a number, the first `most` of them.
    pub(crate) async fn events(
        &self,
        task: TaskRef,
        after: u64,
        most: u32,
    ) -> Result<Vec<Event>, StoreError> {
        sqlx::query(
            "SELECT body FROM events WHERE job = ? AND task = ? AND seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(task.job.as_bytes().to_vec())
        .bind(i64::from(task.task.0))
        .bind(signed(after))
        .bind(i64::from(most))
        .fetch_all(self.readers())
        .await?
        .iter()
        .map(|row| event(row.try_get(0)?))
        .collect()
    }

    /// The number of the newest event of a task; 0 when there is none.
    pub(crate) async fn last_event(&self, task: TaskRef) -> Result<u64, StoreError> {
        let last: Option<i64> =
            sqlx::query("SELECT max(seq) FROM events WHERE job = ? AND task = ?")
                .bind(task.job.as_bytes().to_vec())
                .bind(i64::from(task.task.0))
                .fetch_one(self.readers())
                .await?
                .try_get(0)?;
        Ok(last.map_or(0, unsigned))
    }

    /// How far the log of a task reaches from its first event without a gap.
    pub(crate) async fn whole_until(&self, task: TaskRef) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT count(*), max(seq) FROM events WHERE job = ? AND task = ?")
            .bind(task.job.as_bytes().to_vec())
            .bind(i64::from(task.task.0))
            .fetch_one(self.readers())
            .await?;
        let (count, last): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        Ok(match last {
            Some(last) if last == count => unsigned(last),
            _ => 0,
        })
    }
}

pub(super) async fn insert(
    tx: &mut sqlx::SqliteConnection,
    key: TaskKey,
    event: &Event,
) -> Result<(), StoreError> {
    let body =
        serde_json::to_string(event).map_err(|error| StoreError::bad_row("events", error))?;
    sqlx::query("INSERT OR IGNORE INTO events (job, task, seq, body) VALUES (?, ?, ?, ?)")
        .bind(key.job.as_bytes().to_vec())
        .bind(i64::from(key.task.0))
        .bind(signed(event.seq))
        .bind(body)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) fn event(body: &str) -> Result<Event, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::bad_row("events", error))
}
