//! The gateway's database: the jobs of clients without a key.
//!
//! - `group`: what is written of jobs, many of them in one transaction.

mod group;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use embermesh_crypto::{UnixMillis, ids::JobId};
use embermesh_dialects::{Dialect, port::Principal};
use embermesh_job::{address::PeerAddress, event::Artifact, lifecycle::JobState};
use embermesh_storage::database::{self, Kind, NotOpened, Writer};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row as _, SqlitePool, migrate::Migrator, sqlite::SqliteRow};
use thiserror::Error;
use tokio::sync::Mutex;

use self::group::{Group, Write};

/// The migrations, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/jobs");

static KIND: Kind = Kind {
    // "EMgw"
    application_id: 0x454d_6777,
    migrations: &MIGRATIONS,
    statements: 50,
    log_pages: 1_000,
    readers: 2,
    reader_idle: Some(Duration::from_secs(30)),
};

/// The database, or a row of it, cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    /// What SQLite said.
    #[error("the database failed: {0}")]
    Sqlite(#[from] sqlx::Error),
    /// The transaction failed that a write was part of.
    #[error("the database failed: {0}")]
    Group(Arc<sqlx::Error>),
    /// The gateway is being stopped.
    #[error("the database is closed")]
    Closed,
    /// A row holds what was never written.
    #[error("a row of the database cannot be read: {0}")]
    Row(String),
    /// A file beside it.
    #[error("a file of a job cannot be used: {0}")]
    Io(#[from] std::io::Error),
}

/// A name and what is noted under it.
type Note = (String, String);

/// Jobs of an owner (1, 2) that have a note (3, 4), or of any note where that is null.
const OF_OWNER: &str = "dialect = ?1 AND owner = ?2 AND id IS NOT NULL AND
    (?3 IS NULL OR EXISTS (SELECT 1 FROM json_each(notes) WHERE key = ?3 AND value = ?4))";

/// A job as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) number: i64,
    pub(crate) owner: Principal,
    /// What its owner calls it; nothing until the index has taken it, where he has not
    /// said.
    pub(crate) id: Option<String>,
    pub(crate) submit_key: [u8; 16],
    pub(crate) job: Option<JobId>,
    pub(crate) spec: Vec<u8>,
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) submitted_at: UnixMillis,
    pub(crate) state: JobState,
    pub(crate) ended: Option<Ended>,
}

/// How a job ended, and what it looked like then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) at: UnixMillis,
    pub(crate) started_at: Option<UnixMillis>,
    pub(crate) progress: f64,
    pub(crate) pass: (u32, u32),
    /// Measures that are numbers; JSON has no others.
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) message: String,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) receipt: Vec<u8>,
    /// Where artifacts are that were not fetched.
    pub(crate) node: Option<PeerAddress>,
    /// The worker that had it, where that was no node.
    #[serde(default)]
    pub(crate) worker: Option<String>,
}

/// The database. One connection writes; a few read.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) writer: Arc<Mutex<Writer>>,
    pub(crate) readers: SqlitePool,
    group: Group,
}

impl Store {
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let (writer, readers) = database::open(path, &KIND).await?;
        let writer = Arc::new(Mutex::new(writer));
        Ok(Self {
            group: Group::start(Arc::clone(&writer)),
            writer,
            readers,
        })
    }

    /// Keeps a job before the index hears of it. `None` when its owner has one of that
    /// name already.
    pub(crate) async fn add(&self, job: &Kept) -> Result<Option<i64>, StoreError> {
        let notes = json(&job.notes)?;
        let job = Box::new(job.clone());
        self.group.write(Write::Add { job, notes }).await
    }

    /// The index has taken a job.
    pub(crate) async fn taken(&self, number: i64, job: JobId, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        let write = Write::Taken { number, job, id };
        self.group.write(write).await.map(drop)
    }

    /// A job has ended.
    pub(crate) async fn end(
        &self,
        number: i64,
        state: JobState,
        ended: &Ended,
    ) -> Result<(), StoreError> {
        let ended = json(ended)?;
        let write = Write::End {
            number,
            state,
            ended,
        };
        self.group.write(write).await.map(drop)
    }

    /// Forgets a job.
    pub(crate) async fn remove(&self, number: i64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        for statement in [
            "DELETE FROM tasks WHERE number = ?1",
            "DELETE FROM server_tasks WHERE number = ?1",
            "DELETE FROM jobs WHERE number = ?1",
        ] {
            sqlx::query(statement)
                .bind(number)
                .execute(writer.connection())
                .await?;
        }
        Ok(())
    }

    /// The job that somebody calls so.
    pub(crate) async fn find(&self, who: &Principal, id: &str) -> Result<Option<Kept>, StoreError> {
        let row = sqlx::query("SELECT * FROM jobs WHERE dialect = ?1 AND owner = ?2 AND id = ?3")
            .bind(who.dialect.as_str())
            .bind(&who.name)
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(kept).transpose()
    }

    /// The jobs of one owner before a place, the newest first; with a note, those that
    /// have it.
    pub(crate) async fn page(
        &self,
        who: &Principal,
        note: Option<&Note>,
        before: i64,
        most: usize,
    ) -> Result<Vec<Kept>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT * FROM jobs WHERE {OF_OWNER} AND number < ?5 ORDER BY number DESC LIMIT ?6"
        )))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(note.map(|note| &note.0))
        .bind(note.map(|note| &note.1))
        .bind(before)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(kept).collect()
    }

    /// How many jobs somebody has that have ended, by how they did, and the numbers of
    /// those that have not.
    pub(crate) async fn census(
        &self,
        who: &Principal,
        note: Option<&Note>,
    ) -> Result<(Vec<(JobState, u64)>, Vec<i64>), StoreError> {
        let ended = sqlx::query(AssertSqlSafe(format!(
            "SELECT state, count(*) FROM jobs WHERE {OF_OWNER} AND ended IS NOT NULL GROUP BY state"
        )))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(note.map(|note| &note.0))
        .bind(note.map(|note| &note.1))
        .fetch_all(&self.readers)
        .await?;
        let open = sqlx::query(AssertSqlSafe(format!(
            "SELECT number FROM jobs WHERE {OF_OWNER} AND ended IS NULL ORDER BY number"
        )))
        .bind(who.dialect.as_str())
        .bind(&who.name)
        .bind(note.map(|note| &note.0))
        .bind(note.map(|note| &note.1))
        .fetch_all(&self.readers)
        .await?;
        let ended = ended.iter().map(|row| {
            let many: i64 = row.try_get(1)?;
            Ok((
                state(row.try_get(0)?)?,
                u64::try_from(many).unwrap_or_default(),
            ))
        });
        let open = open.iter().map(|row| Ok(row.try_get(0)?));
        Ok((
            ended.collect::<Result<_, StoreError>>()?,
            open.collect::<Result<_, StoreError>>()?,
        ))
    }

    /// Every job that has not ended, the oldest first.
    pub(crate) async fn open_jobs(&self) -> Result<Vec<Kept>, StoreError> {
        let rows = sqlx::query("SELECT * FROM jobs WHERE ended IS NULL ORDER BY number")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(kept).collect()
    }
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Row(error.to_string()))
}

pub(crate) fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn state(text: String) -> Result<JobState, StoreError> {
    serde_json::from_value(text.into()).map_err(|_| StoreError::Row("a state".to_owned()))
}

fn kept(row: &SqliteRow) -> Result<Kept, StoreError> {
    let wrong = |what: &str| StoreError::Row(what.to_owned());
    let dialect: String = row.try_get("dialect")?;
    let dialect = Dialect::ALL
        .into_iter()
        .find(|known| known.as_str() == dialect)
        .ok_or_else(|| wrong("a dialect"))?;
    let job: Option<Vec<u8>> = row.try_get("job")?;
    let job = job
        .map(|bytes| {
            let text = String::from_utf8(bytes).map_err(|_| wrong("a job's id"))?;
            text.parse().map_err(|_| wrong("a job's id"))
        })
        .transpose()?;
    let notes: String = row.try_get("notes")?;
    let ended: Option<String> = row.try_get("ended")?;
    Ok(Kept {
        number: row.try_get("number")?,
        owner: Principal {
            dialect,
            name: row.try_get("owner")?,
        },
        id: row.try_get("id")?,
        submit_key: row
            .try_get::<Vec<u8>, _>("submit_key")?
            .try_into()
            .map_err(|_| wrong("the key of a submit"))?,
        job,
        spec: row.try_get("spec")?,
        notes: serde_json::from_str(&notes).map_err(|_| wrong("notes"))?,
        submitted_at: UnixMillis(
            u64::try_from(row.try_get::<i64, _>("submitted_ms")?).unwrap_or_default(),
        ),
        state: state(row.try_get("state")?)?,
        ended: ended
            .map(|text| serde_json::from_str(&text).map_err(|_| wrong("an end")))
            .transpose()?,
    })
}

#[cfg(test)]
mod tests;
