//! What can be wrong with the database, in words that say what to do about it.

use std::path::{Path, PathBuf};

use embermesh_storage::database::{Meaning, NotOpened};
use thiserror::Error;

/// Why the store could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It could not be opened.
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    /// It is the database of an index that runs under another key.
    #[error(
        "the database {} belongs to the index {owner}; run with that key, or choose another data_dir",
        path.display()
    )]
    OtherIndex {
        /// The database file.
        path: PathBuf,
        /// The peer id that the database was made for.
        owner: String,
    },
    /// The disk, or the quota on it, is full.
    #[error(
        "no space left for the database {}; nothing was lost, but nothing new is accepted until space is freed",
        path.display()
    )]
    DiskFull {
        /// The database file.
        path: PathBuf,
    },
    /// A row does not mean anything to this version.
    #[error("the database holds a {table} row that cannot be read: {detail}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What was wrong with the row.
        detail: String,
    },
    /// Anything else that the database said.
    #[error("the database {} failed: {source}", path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Names what SQLite said about the database at `path`.
    pub(super) fn from_sqlx(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match Meaning::of(&source) {
            Meaning::DiskFull => Self::DiskFull { path },
            _ => Self::Sqlite { path, source },
        }
    }

    /// A row that cannot be understood.
    pub(crate) fn bad_row(table: &'static str, detail: impl ToString) -> Self {
        Self::BadRow {
            table,
            detail: detail.to_string(),
        }
    }
}
