//! The node's durable memory, in one SQLite file.
//!
//! One connection writes, so that a writer never waits for a lock; a few read.
//! What is acknowledged to somebody is written with [`Durability::Power`], which
//! waits for the disk. Running events are written with [`Durability::Process`]:
//! they survive the death of this process, and what a loss of power takes of
//! them, an attempt from the last checkpoint says again under the same numbers.
//!
//! - `open`: the file, private and checked.
//! - `attempts`: admission, once per (job, task, epoch), and how attempts ended.
//! - `events`: the log of each task.
//! - `outbox`: reports that an index has still to hear.
//! - `trust`: the signed statements of indexes.
//! - `kept`: blobs kept for others.
//! - `owner`: what the owner of the node asks, and the keys that he gives away.

mod attempts;
mod error;
mod events;
mod kept;
mod open;
mod outbox;
mod owner;
mod trust;

use std::{path::Path, sync::Arc};

use embermesh_crypto::ids::PeerId;
use embermesh_storage::database;
use sqlx::{SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use attempts::{AttemptEnd, NewAttempt, NotAdmitted};
pub use error::StoreError;
pub(crate) use kept::Kept;
pub(crate) use outbox::{OutboxEntry, ReportKind};
pub(crate) use owner::{KeptKey, Remembered};

/// What a write must survive before it counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of this process.
    Process,
    /// A loss of power.
    Power,
}

/// A handle to the database. Clones are the same.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Mutex<Writer>,
    readers: SqlitePool,
}

struct Writer {
    database: database::Writer,
    durability: Durability,
}

impl Store {
    /// Opens the database of this node, or makes it.
    pub(crate) async fn open(path: &Path, node: PeerId) -> Result<Self, StoreError> {
        let (database, readers) = open::open(path, node).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer: Mutex::new(Writer {
                    database,
                    durability: Durability::Power,
                }),
                readers,
            }),
        })
    }

    fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }

    /// The writer, set to what the next transaction must survive.
    async fn writer(&self, durability: Durability) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut writer = self.inner.writer.lock().await;
        if writer.durability != durability {
            let pragma = match durability {
                Durability::Process => "PRAGMA synchronous = NORMAL",
                Durability::Power => "PRAGMA synchronous = FULL",
            };
            sqlx::query(pragma).execute(writer.connection()).await?;
            writer.durability = durability;
        }
        Ok(writer)
    }

    /// Waits for writes under way and closes the file.
    pub(crate) async fn close(&self) {
        self.inner.readers.close().await;
        let mut writer = self.inner.writer.lock().await;
        // What was committed is on the disk; closing only tidies the log up.
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        if let Err(error) = checkpoint.execute(writer.connection()).await {
            tracing::debug!(%error, "the database's log was not folded in");
        }
    }
}

impl Writer {
    async fn begin(&mut self) -> Result<Transaction<'_, sqlx::Sqlite>, StoreError> {
        Ok(self.database.begin().await?)
    }

    fn connection(&mut self) -> &mut SqliteConnection {
        self.database.connection()
    }
}

/// An unsigned number as SQLite keeps it. Numbers here are counts, times and
/// sizes, all below 2^63; a larger one is kept as the largest.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests;
