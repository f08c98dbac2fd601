//! Why the database cannot be used.

use embermesh_storage::database::{Meaning, NotOpened};
use thiserror::Error;

/// Why the node's database cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It could not be opened.
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    /// It belongs to a node with another key.
    #[error(
        "the data folder belongs to node {owner}; start it with that node's key, or choose another data_dir"
    )]
    OtherNode {
        /// Whose it is.
        owner: String,
    },
    /// The disk has no room.
    #[error("the disk is full; free some space on the disk of data_dir")]
    DiskFull,
    /// SQLite refused.
    #[error("the database failed: {0}")]
    Sqlite(#[source] sqlx::Error),
    /// A row that this program cannot have written.
    #[error("the database has a damaged row in `{table}`: {reason}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match Meaning::of(&error) {
            Meaning::DiskFull => Self::DiskFull,
            _ => Self::Sqlite(error),
        }
    }
}

impl StoreError {
    pub(super) fn bad_row(table: &'static str, reason: impl ToString) -> Self {
        Self::BadRow {
            table,
            reason: reason.to_string(),
        }
    }
}
