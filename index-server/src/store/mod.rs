//! What must outlive the process: SQLite, embedded, with a write-ahead log that
//! is synced at every commit.
//!
//! One connection writes, and only the actor has it, so a transaction never
//! waits for a lock. A small pool reads what is no longer in memory: lists and
//! jobs that ended long ago. Generated rows and SQL stay in here.

mod body;
mod error;
mod issuer;
mod ledger;
mod load;
mod open;
mod reader;
mod reservation;
mod rows;
mod write;

#[cfg(test)]
mod room;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use embermesh_crypto::ids::PeerId;
use embermesh_storage::database::Writer;

pub use self::error::StoreError;
#[cfg(test)]
pub(crate) use self::room::Room;
pub(crate) use self::{
    reader::{JobFilter, Reader},
    reservation::ReservationFilter,
};
use crate::state::{Snapshot, Writes};

/// The writing end of the database.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    writer: Writer,
    reader: Reader,
    #[cfg(test)]
    room: Room,
}

impl Store {
    /// Opens the database at `path`, or makes it, for the index with this key.
    ///
    /// # Errors
    /// When it is damaged, another program's, another index's, readable by
    /// others, of a later version, or cannot be opened.
    pub async fn open(path: &Path, index: PeerId) -> Result<Self, StoreError> {
        let (writer, readers) = open::open(path, index).await?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            reader: Reader::new(path.to_owned(), readers),
            #[cfg(test)]
            room: Room::default(),
        })
    }

    /// The reading end.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Everything that the state machine needs to go on.
    ///
    /// # Errors
    /// When the database cannot be read or a row means nothing.
    pub async fn load(&mut self) -> Result<Snapshot, StoreError> {
        load::load(self.writer.connection(), &self.path).await
    }

    /// Makes `writes` durable, all of them or none.
    ///
    /// # Errors
    /// When they could not be written; nothing of them has been.
    pub async fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let committed = async {
            let mut tx = self.writer.begin().await?;
            #[cfg(test)]
            self.room.bound(&mut tx).await?;
            write::write(&mut tx, writes).await?;
            tx.commit().await
        };
        committed
            .await
            .map_err(|source| StoreError::from_sqlx(&self.path, source))
    }

    /// Finds out whether anything can be written, and leaves nothing behind.
    ///
    /// # Errors
    /// When nothing can be.
    pub(crate) async fn probe(&mut self) -> Result<(), StoreError> {
        let probed = async {
            let mut tx = self.writer.begin().await?;
            #[cfg(test)]
            self.room.bound(&mut tx).await?;
            write::probe(&mut tx).await?;
            tx.commit().await
        };
        probed
            .await
            .map_err(|source| StoreError::from_sqlx(&self.path, source))
    }

    /// Folds the log into the database and closes both.
    pub async fn close(self) {
        self.reader.close().await;
        if let Err(error) = self.writer.close().await {
            tracing::warn!(%error, "the database did not close cleanly; nothing is lost");
        }
    }

    /// The disk, as a test has it.
    #[cfg(test)]
    pub(crate) fn room(&self) -> Room {
        self.room.clone()
    }
}
