//! Reads what is no longer in memory, beside the writer and never in its way.

use std::path::PathBuf;

use bytes::Bytes;
use embermesh_crypto::ids::JobId;
use embermesh_job::lifecycle::JobState;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqlitePool};

use super::{StoreError, body, load};
use crate::state::JobSnapshot;

/// Which jobs a list wants.
#[derive(Clone, Debug)]
pub(crate) struct JobFilter {
    /// In these states; none means in any.
    pub(crate) states: Vec<JobState>,
    /// Only jobs older than this one.
    pub(crate) before: Option<JobId>,
    /// At most so many on a page.
    pub(crate) size: u32,
}

/// The reading end of the database.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    pool: SqlitePool,
}

impl Reader {
    pub(super) fn new(path: PathBuf, pool: SqlitePool) -> Self {
        Self { path, pool }
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) fn failed(&self, source: sqlx::Error) -> StoreError {
        StoreError::from_sqlx(&self.path, source)
    }

    /// A job with its journal and without its spec.
    pub(crate) async fn job(&self, id: JobId) -> Result<Option<JobSnapshot>, StoreError> {
        let failed = |source| StoreError::from_sqlx(&self.path, source);
        let row = sqlx::query("SELECT idempotency, body, latest, finished FROM jobs WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let mut stored = load::stored(&row, &failed)?;
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        stored.job.journal = load::journal(&mut connection, id, &failed).await?;
        Ok(Some(body::snapshot(stored)))
    }

    /// A canonical spec.
    pub(crate) async fn spec(&self, job: JobId) -> Result<Option<Bytes>, StoreError> {
        let failed = |source| StoreError::from_sqlx(&self.path, source);
        let row = sqlx::query("SELECT bytes FROM specs WHERE job = ?")
            .bind(job.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        row.map(|row| {
            row.try_get::<Vec<u8>, _>(0)
                .map(Bytes::from)
                .map_err(failed)
        })
        .transpose()
    }

    /// The newest jobs that a filter lets through, one more than a page holds, so
    /// that it can be told whether there is another; without spec and journal.
    pub(crate) async fn page(&self, filter: &JobFilter) -> Result<Vec<JobSnapshot>, StoreError> {
        let failed = |source| StoreError::from_sqlx(&self.path, source);
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT idempotency, body, latest, finished FROM jobs WHERE 1 = 1",
        );
        if let Some(before) = filter.before {
            query
                .push(" AND id < ")
                .push_bind(before.as_bytes().to_vec());
        }
        if !filter.states.is_empty() {
            query.push(" AND state IN (");
            let mut list = query.separated(", ");
            for state in &filter.states {
                list.push_bind(body::state_number(*state));
            }
            query.push(")");
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(i64::from(filter.size) + 1);
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter()
            .map(|row| load::stored(row, &failed).map(body::snapshot))
            .collect()
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}
