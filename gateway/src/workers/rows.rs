//! Workers and their tasks in the database.

use std::{net::SocketAddr, time::Duration};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{Dialect, Profile, port::workers::Offer};
use embermesh_job::event::Artifact;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::book::{Known, Lease, Task, WorkerId};
use crate::store::{Store, StoreError};

/// What a worker says of itself, as it is kept.
#[derive(Serialize, Deserialize)]
struct OfferRow {
    form: Profile,
    host: String,
    port: u16,
    cores: u32,
    memory: u64,
    gpu: Option<String>,
    gpu_memory: u64,
    region: Option<String>,
}

/// A task's row, without what its job says.
pub(crate) struct TaskRow {
    pub(super) number: i64,
    pub(super) package: String,
    pub(super) attempt: u32,
    pub(super) lost: u32,
    pub(super) lease: Option<Lease>,
    pub(super) result: Option<Artifact>,
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn wrong(error: impl std::fmt::Display) -> StoreError {
    StoreError::Row(error.to_string())
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn at(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}

impl Store {
    /// Keeps a worker, or keeps it anew.
    pub(super) async fn keep_worker(&self, id: &WorkerId, known: &Known) -> Result<(), StoreError> {
        let offer = known.offer.clone();
        let offer = OfferRow {
            form: offer.form,
            host: offer.host,
            port: offer.port,
            cores: offer.cores,
            memory: offer.memory,
            gpu: offer.gpu,
            gpu_memory: offer.gpu_memory,
            region: offer.region,
        };
        let offer = serde_json::to_string(&offer).map_err(wrong)?;
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT OR REPLACE INTO workers (dialect, id, owner, address, offer)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(id.0.as_str())
        .bind(&id.1)
        .bind(&known.owner)
        .bind(known.address.to_string())
        .bind(offer)
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// Every worker that is kept; none has been heard of yet.
    pub(super) async fn workers(&self) -> Result<Vec<(WorkerId, Known)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM workers")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(worker).collect()
    }

    /// Keeps how a task stands.
    pub(super) async fn keep_task(&self, number: i64, task: &Task) -> Result<(), StoreError> {
        let result = task.result.as_ref().map(serde_json::to_string);
        let lease = task.lease.as_ref();
        let stopping = lease.and_then(|lease| lease.stopping.as_ref());
        let stopping = stopping.map(serde_json::to_string);
        let mut writer = self.writer.lock().await;
        sqlx::query(
            "INSERT OR REPLACE INTO tasks
                (number, package, attempt, lost, worker, given_ms, paid_ms, stopping, result)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .bind(number)
        .bind(&task.package)
        .bind(task.attempt)
        .bind(task.lost)
        .bind(lease.map(|lease| &lease.worker))
        .bind(lease.map_or(0, |lease| i64::try_from(lease.given.0).unwrap_or(i64::MAX)))
        .bind(lease.map_or(0, |lease| millis(lease.paid)))
        .bind(stopping.transpose().map_err(wrong)?)
        .bind(result.transpose().map_err(wrong)?)
        .execute(writer.connection())
        .await?;
        Ok(())
    }

    /// A task has ended, or is the mesh's now.
    pub(super) async fn drop_task(&self, number: i64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        sqlx::query("DELETE FROM tasks WHERE number = ?1")
            .bind(number)
            .execute(writer.connection())
            .await?;
        Ok(())
    }

    /// Every task that is kept.
    pub(super) async fn tasks(&self) -> Result<Vec<TaskRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM tasks")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(task).collect()
    }
}

fn worker(row: &SqliteRow) -> Result<(WorkerId, Known), StoreError> {
    let dialect: String = row.try_get("dialect")?;
    let dialect = Dialect::ALL
        .into_iter()
        .find(|known| known.as_str() == dialect);
    let dialect = dialect.ok_or_else(|| wrong("a dialect"))?;
    let id: String = row.try_get("id")?;
    let address: String = row.try_get("address")?;
    let offer: OfferRow = serde_json::from_str(row.try_get("offer")?).map_err(wrong)?;
    let known = Known {
        owner: row.try_get("owner")?,
        offer: Offer {
            id: id.clone(),
            form: offer.form,
            host: offer.host,
            port: offer.port,
            cores: offer.cores,
            memory: offer.memory,
            gpu: offer.gpu,
            gpu_memory: offer.gpu_memory,
            region: offer.region,
        },
        address: address.parse::<SocketAddr>().map_err(wrong)?,
        heard: None,
        shunned: None,
    };
    Ok(((dialect, id), known))
}

fn task(row: &SqliteRow) -> Result<TaskRow, StoreError> {
    let worker: Option<String> = row.try_get("worker")?;
    let (given, paid) = (at(row, "given_ms")?, at(row, "paid_ms")?);
    let stopping: Option<String> = row.try_get("stopping")?;
    let stopping = stopping.map(|text| serde_json::from_str(&text).map_err(wrong));
    let stopping = stopping.transpose()?;
    let result: Option<String> = row.try_get("result")?;
    let result = result.map(|text| serde_json::from_str(&text).map_err(wrong));
    Ok(TaskRow {
        number: row.try_get("number")?,
        package: row.try_get("package")?,
        attempt: row.try_get("attempt")?,
        lost: row.try_get("lost")?,
        lease: worker.map(|worker| Lease {
            worker,
            given: UnixMillis(given),
            paid: Duration::from_millis(paid),
            stopping,
        }),
        result: result.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Digest;
    use embermesh_job::lifecycle::JobState;

    use super::super::book::{Stopping, tests as book};
    use super::*;

    #[tokio::test]
    async fn workers_and_tasks_are_as_they_were_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sqlite");
        let id = (Dialect::HiveMind, "w".to_owned());
        let known = book::known("w", "bob", 4, 8);
        let mut kept = book::task(1, None);
        kept.package = "digest".to_owned();
        (kept.attempt, kept.lost) = (3, 1);
        kept.lease = Some(Lease {
            worker: "w".to_owned(),
            given: UnixMillis(7),
            paid: Duration::from_secs(60),
            stopping: Some(Stopping {
                since: UnixMillis(9),
                state: JobState::Cancelled,
                message: "why".to_owned(),
            }),
        });
        kept.result = Some(Artifact {
            name: "result.zip".to_owned(),
            digest: Digest::of(b"zip"),
            size: 3,
        });
        {
            let store = Store::open(&path).await.unwrap();
            store.keep_worker(&id, &known).await.unwrap();
            store.keep_task(1, &book::task(1, None)).await.unwrap();
            store.keep_task(1, &kept).await.unwrap();
            store.keep_task(2, &book::task(1, None)).await.unwrap();
            store.drop_task(2).await.unwrap();
            store.readers.close().await;
        }
        let store = Store::open(&path).await.unwrap();
        let workers = store.workers().await.unwrap();
        assert_eq!(workers.len(), 1);
        assert_eq!((&workers[0].0, &workers[0].1.offer), (&id, &known.offer));
        assert_eq!(workers[0].1.owner, "bob");
        assert_eq!(workers[0].1.heard, None);
        let tasks = store.tasks().await.unwrap();
        assert_eq!(tasks.len(), 1);
        let row = &tasks[0];
        assert_eq!((row.number, row.attempt, row.lost), (1, 3, 1));
        assert_eq!((&row.lease, &row.result), (&kept.lease, &kept.result));
        assert_eq!(row.package, "digest");
    }
}
