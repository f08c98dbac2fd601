//! Writes that wait together are one transaction, and so one sync of the disk.
//!
//! Each is answered after the commit. A transaction that fails has failed for all of it:
//! what makes one fail is the disk, not what is written.

use std::sync::Arc;

use embermesh_crypto::ids::JobId;
use embermesh_job::lifecycle::JobState;
use embermesh_storage::database::Writer;
use sqlx::{Row as _, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Kept, StoreError, millis};

/// The most writes of one transaction.
const MOST: usize = 256;
/// Writes that wait; beyond, their callers do.
const QUEUE: usize = 1024;

/// What is written of a job.
#[derive(Debug)]
pub(super) enum Write {
    /// A new one, unless its owner has one of that name.
    Add { job: Box<Kept>, notes: String },
    /// The index has taken it.
    Taken { number: i64, job: JobId, id: String },
    /// It has ended.
    End {
        number: i64,
        state: JobState,
        ended: String,
    },
}

/// The number of a job that was added.
type Added = Option<i64>;

#[derive(Debug)]
struct Waiting {
    write: Write,
    answer: oneshot::Sender<Result<Added, StoreError>>,
}

/// The way to whoever writes.
#[derive(Debug)]
pub(super) struct Group(mpsc::Sender<Waiting>);

impl Group {
    /// Starts the task that writes. It ends once everything is written, when the group is
    /// dropped.
    pub(super) fn start(writer: Arc<Mutex<Writer>>) -> Self {
        let (sender, mut queue) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut group = Vec::with_capacity(MOST);
            while queue.recv_many(&mut group, MOST).await > 0 {
                commit(&writer, group.drain(..)).await;
            }
        });
        Self(sender)
    }

    /// Writes, durably.
    ///
    /// # Errors
    /// What SQLite says of the transaction.
    pub(super) async fn write(&self, write: Write) -> Result<Added, StoreError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { write, answer };
        self.0.send(waiting).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

async fn commit(writer: &Mutex<Writer>, group: impl Iterator<Item = Waiting>) {
    let (writes, answers): (Vec<_>, Vec<_>) =
        group.map(|waiting| (waiting.write, waiting.answer)).unzip();
    let mut writer = writer.lock().await;
    match together(&mut writer, &writes).await {
        Ok(added) => {
            for (answer, added) in answers.into_iter().zip(added) {
                // Whoever asked may have gone.
                let _ = answer.send(Ok(added));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for answer in answers {
                let _ = answer.send(Err(StoreError::Group(Arc::clone(&error))));
            }
        }
    }
}

async fn together(writer: &mut Writer, writes: &[Write]) -> Result<Vec<Added>, sqlx::Error> {
    let mut transaction = writer.begin().await?;
    let mut added = Vec::with_capacity(writes.len());
    for write in writes {
        added.push(apply(&mut transaction, write).await?);
    }
    transaction.commit().await?;
    Ok(added)
}

async fn apply(connection: &mut SqliteConnection, write: &Write) -> Result<Added, sqlx::Error> {
    match write {
        Write::Add { job, notes } => {
            let added = sqlx::query(
                "INSERT INTO jobs (dialect, owner, id, submit_key, spec, notes, submitted_ms, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO NOTHING RETURNING number",
            )
            .bind(job.owner.dialect.as_str())
            .bind(&job.owner.name)
            .bind(&job.id)
            .bind(job.submit_key.as_slice())
            .bind(&job.spec)
            .bind(notes)
            .bind(millis(job.submitted_at))
            .bind(job.state.as_str())
            .fetch_optional(connection)
            .await?;
            added.map(|row| row.try_get(0)).transpose()
        }
        Write::Taken { number, job, id } => {
            sqlx::query("UPDATE jobs SET job = ?2, id = ?3 WHERE number = ?1")
                .bind(number)
                .bind(job.to_string().into_bytes())
                .bind(id)
                .execute(connection)
                .await?;
            Ok(None)
        }
        Write::End {
            number,
            state,
            ended,
        } => {
            sqlx::query("UPDATE jobs SET state = ?2, ended = ?3 WHERE number = ?1")
                .bind(number)
                .bind(state.as_str())
                .bind(ended)
                .execute(connection)
                .await?;
            Ok(None)
        }
    }
}
