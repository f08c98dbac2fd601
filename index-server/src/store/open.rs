//! Opens the index's database, and sees whose it is.

use std::path::Path;

use embermesh_crypto::ids::PeerId;
use embermesh_storage::database::{self, Kind, Writer};
use sqlx::{Row as _, SqliteConnection, SqlitePool, migrate::Migrator};

use super::{StoreError, rows::STATEMENTS_KEPT};

/// The migrations, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

static KIND: Kind = Kind {
    // "EMix"
    application_id: 0x454d_6978,
    migrations: &MIGRATIONS,
    statements: STATEMENTS_KEPT,
    // Long enough that a page which changes often is copied seldom.
    log_pages: 8_192,
    // They serve lists and ended jobs.
    readers: 2,
    reader_idle: None,
};

/// The one connection that writes, and the ones that only read.
pub(super) async fn open(path: &Path, index: PeerId) -> Result<(Writer, SqlitePool), StoreError> {
    let (mut writer, readers) = database::open(path, &KIND).await?;
    claim(writer.connection(), path, index).await?;
    Ok((writer, readers))
}

/// Writes whose database this is into a new one, and checks it in an old one.
async fn claim(
    writer: &mut SqliteConnection,
    path: &Path,
    index: PeerId,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::from_sqlx(path, source);
    sqlx::query("INSERT OR IGNORE INTO meta (key, value) VALUES ('index', ?)")
        .bind(index.as_bytes().to_vec())
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
    let owner: Vec<u8> = sqlx::query("SELECT value FROM meta WHERE key = 'index'")
        .fetch_one(writer)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if owner.as_slice() == index.as_bytes().as_slice() {
        return Ok(());
    }
    let owner = PeerId::from_public_key(
        owner
            .as_slice()
            .try_into()
            .map_err(|_| StoreError::bad_row("meta", "the owner is not 32 bytes"))?,
    )
    .map_err(|error| StoreError::bad_row("meta", error))?;
    Err(StoreError::OtherIndex {
        path: path.to_owned(),
        owner: owner.to_string(),
    })
}
