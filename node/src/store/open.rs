//! Opens the node's database, and sees whose it is.

use std::{path::Path, time::Duration};

use embermesh_crypto::ids::PeerId;
use embermesh_storage::database::{self, Kind, Writer};
use sqlx::{Row as _, SqliteConnection, SqlitePool, migrate::Migrator};

use super::StoreError;

/// The migrations, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

static KIND: Kind = Kind {
    // "EMno"
    application_id: 0x454d_6e6f,
    migrations: &MIGRATIONS,
    statements: 100,
    log_pages: 1_000,
    // They serve streams which have fallen behind.
    readers: 2,
    reader_idle: Some(Duration::from_secs(30)),
};

pub(super) async fn open(path: &Path, node: PeerId) -> Result<(Writer, SqlitePool), StoreError> {
    let (mut writer, readers) = database::open(path, &KIND).await?;
    claim(writer.connection(), node).await?;
    Ok((writer, readers))
}

/// The database remembers its node as the one that its trust statements name
/// themselves: a row of kind `owner`.
async fn claim(writer: &mut SqliteConnection, node: PeerId) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO statements (index_peer, kind, sequence, body)
         SELECT ?1, 'owner', 0, x'' WHERE NOT EXISTS (SELECT 1 FROM statements WHERE kind = 'owner')",
    )
    .bind(node.as_bytes().to_vec())
    .execute(&mut *writer)
    .await?;
    let owner: Vec<u8> = sqlx::query("SELECT index_peer FROM statements WHERE kind = 'owner'")
        .fetch_one(writer)
        .await?
        .try_get(0)?;
    let owner = super::trust::peer(&owner)?;
    if owner == node {
        return Ok(());
    }
    Err(StoreError::OtherNode {
        owner: owner.to_string(),
    })
}
