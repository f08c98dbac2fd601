//! Opens a database: makes it private, checks that it is whole and of this program,
//! and brings its tables up to date.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, Sqlite, SqliteConnection,
    SqlitePool, Transaction,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use thiserror::Error;

use crate::folder::private_options;

/// How long a reader waits for a lock; the writer never waits for one, since
/// there is only it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a program's databases have in common.
#[derive(Debug)]
pub struct Kind {
    /// Marks a file as this program's, so that another's is never written to.
    pub application_id: u32,
    /// Its tables.
    pub migrations: &'static Migrator,
    /// Statements that the writer keeps prepared.
    pub statements: usize,
    /// How long the log may grow before it is folded into the database, in pages
    /// of 4 KiB.
    pub log_pages: u32,
    /// Connections that only read.
    pub readers: u32,
    /// How long a reader may stand idle before it is closed; `None` for ever.
    pub reader_idle: Option<Duration>,
}

/// Why a database cannot be opened.
#[derive(Debug, Error)]
pub enum NotOpened {
    /// The file is not one that SQLite knows, or its pages contradict each other.
    #[error(
        "the database {} is damaged ({detail}); move it away and restore a copy, or start with an empty data_dir",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found wrong.
        detail: String,
    },
    /// It is a database, but another program's.
    #[error("{} is the database of another program; choose another data_dir", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a later version.
    #[error(
        "the database {} was written by a later version of embermesh; run that version",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error(
        "the database {} can be read by others; run: chmod 600 {}",
        path.display(),
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The disk, or the quota on it, is full.
    #[error("no space left for the database {}; free some on its disk", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be made or opened.
    #[error("cannot use the database {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else that SQLite said.
    #[error("the database {} failed: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: sqlx::Error,
    },
}

/// What an error of SQLite means to whoever runs the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// There is no room for a write.
    DiskFull,
    /// The file is damaged, or none of SQLite's.
    Corrupt,
    /// The operating system refused.
    Io,
    /// Anything else.
    Other,
}

impl Meaning {
    /// Reads SQLite's result code (<https://www.sqlite.org/rescode.html>).
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        const IOERR: u32 = 10;
        const CORRUPT: u32 = 11;
        const FULL: u32 = 13;
        const NOTADB: u32 = 26;
        /// The extended code of a write for which there was no space.
        const IOERR_WRITE: u32 = 778;
        let code = error
            .as_database_error()
            .and_then(|error| error.code())
            .and_then(|code| code.parse::<u32>().ok());
        match code {
            Some(IOERR_WRITE) => Self::DiskFull,
            Some(code) => match code & 0xff {
                FULL => Self::DiskFull,
                CORRUPT | NOTADB => Self::Corrupt,
                IOERR => Self::Io,
                _ => Self::Other,
            },
            None => Self::Other,
        }
    }
}

impl NotOpened {
    fn sqlite(path: &Path, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        match Meaning::of(&source) {
            Meaning::DiskFull => Self::DiskFull { path },
            Meaning::Corrupt => Self::Corrupt {
                path,
                detail: source.to_string(),
            },
            Meaning::Io => Self::Io {
                path,
                source: io::Error::other(source),
            },
            Meaning::Other => Self::Sqlite { path, source },
        }
    }
}

/// The one connection that writes.
#[derive(Debug)]
pub struct Writer {
    connection: SqliteConnection,
    path: PathBuf,
    kind: &'static Kind,
}

impl Writer {
    /// For what needs no transaction.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Begins a transaction that holds the write lock, so that there is nothing to
    /// wait for later.
    ///
    /// SQLite ends a transaction by itself when the disk is full (see "Response To
    /// Errors Within A Transaction", <https://www.sqlite.org/lang_transaction.html>).
    /// The driver then waits for an end that never comes, so the connection is made
    /// anew: otherwise nothing could be written even when there is room again.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
        // A transaction that was dropped ends before the answer to the ping.
        if self.connection.is_in_transaction()
            && (self.connection.ping().await.is_err() || self.connection.is_in_transaction())
        {
            self.connection = writable(&self.path, self.kind).connect().await?;
        }
        self.connection.begin_with("BEGIN IMMEDIATE").await
    }

    /// Folds the log into the database and closes it.
    ///
    /// # Errors
    /// What SQLite says; nothing that was committed is lost.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

/// The one connection that writes, with a log that is synced at every commit, and
/// the ones that only read.
///
/// # Errors
/// When the file is damaged, another program's, readable by others, of a later
/// version, or cannot be made or opened.
pub async fn open(path: &Path, kind: &'static Kind) -> Result<(Writer, SqlitePool), NotOpened> {
    let failed = |source| NotOpened::sqlite(path, source);
    // Looked at before it is written to: setting the journal mode of a stranger's
    // database would change it.
    let new = make_private(path)? || inspect(path, kind).await?;
    let mut connection = writable(path, kind).connect().await.map_err(failed)?;
    if new {
        let id = kind.application_id;
        let sql = AssertSqlSafe(format!("PRAGMA application_id = {id}"));
        sqlx::query(sql)
            .execute(&mut connection)
            .await
            .map_err(failed)?;
    }
    let migrated = kind.migrations.run(&mut connection).await;
    migrated.map_err(|error| match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => NotOpened::TooNew {
            path: path.to_owned(),
        },
        MigrateError::Execute(source) => failed(source),
        other => failed(sqlx::Error::Migrate(Box::new(other))),
    })?;
    let readers = SqlitePoolOptions::new()
        .max_connections(kind.readers)
        .idle_timeout(kind.reader_idle)
        .connect_with(options(path).read_only(true))
        .await
        .map_err(failed)?;
    let writer = Writer {
        connection,
        path: path.to_owned(),
        kind,
    };
    Ok((writer, readers))
}

fn writable(path: &Path, kind: &Kind) -> SqliteConnectOptions {
    options(path)
        .create_if_missing(true)
        .statement_cache_capacity(kind.statements)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", kind.log_pages.to_string())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Makes an empty file that only its owner can read, or checks that the one
/// there is private. SQLite gives its log files the mode of the database.
/// Returns whether the database is new.
fn make_private(path: &Path) -> Result<bool, NotOpened> {
    let io = |source| NotOpened::Io {
        path: path.to_owned(),
        source,
    };
    let file = private_options()
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(NotOpened::Exposed {
                path: path.to_owned(),
            });
        }
    }
    Ok(metadata.len() == 0)
}

/// Refuses a damaged file and another program's. Returns whether the database is
/// still bare: a daemon was stopped before it had made it its own.
async fn inspect(path: &Path, kind: &Kind) -> Result<bool, NotOpened> {
    let failed = |source| NotOpened::sqlite(path, source);
    let mut connection = options(path).connect().await.map_err(failed)?;
    let id: i64 = sqlx::query("PRAGMA application_id")
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    let tables: i64 = sqlx::query("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if id == 0 && tables == 0 {
        connection.close().await.map_err(failed)?;
        return Ok(true);
    }
    if id != i64::from(kind.application_id) {
        return Err(NotOpened::Foreign {
            path: path.to_owned(),
        });
    }
    let verdict: String = sqlx::query("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if verdict != "ok" {
        return Err(NotOpened::Corrupt {
            path: path.to_owned(),
            detail: verdict,
        });
    }
    connection.close().await.map_err(failed)?;
    Ok(false)
}

#[cfg(test)]
mod tests;
